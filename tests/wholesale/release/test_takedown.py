"""Requests to take documents back."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from baicai.errors import ConfigError, DataError
from baicai.wholesale.release.manifest import Takedown
from baicai.wholesale.release.takedown import TakedownRecipe, take_down
from tests.wholesale.test_release import Shop, address, text_of, write_pages

NOW = datetime(2026, 11, 25, tzinfo=UTC)


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    made = Shop(tmp_path)
    write_pages(tmp_path / "books", range(12))
    write_pages(tmp_path / "more", range(20, 25))
    made.gather(tmp_path / "books")
    made.gather(tmp_path / "more", url="https://sub.other.example/q")
    return made


def ask(shop: Shop, **what: str) -> Takedown:
    return take_down(TakedownRecipe(warehouse=str(shop.warehouse), reason="asked", **what), NOW)


def test_by_address_id_and_host(shop: Shop) -> None:
    assert ask(shop, url="https://books.example/p/003.txt").documents == [address(3)]
    assert ask(shop, id=address(4)).documents == [address(4)]
    assert len(ask(shop, host="other.example").documents) == 5, "hosts below it count"
    manifest = shop.publish()
    assert sum(shard.documents for shard in manifest.shards) == 10
    assert [len(one.documents) for one in manifest.takedowns] == [1, 1, 5]
    assert manifest.takedowns[0].deadline == "2026-12-25T00:00:00+00:00"


def test_by_a_text_that_is_nearly_the_same(shop: Shop, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text(text_of(7).replace("river", "lake"))
    assert ask(shop, text=str(tmp_path / "mine.txt")).documents == [address(7)]
    (tmp_path / "mine.txt").write_text(text_of(22))
    (found,) = ask(shop, text=str(tmp_path / "mine.txt")).documents
    assert found not in {address(number) for number in range(12)}


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ({}, "give one of url, host, id and text, not none"),
        ({"url": "x", "host": "y"}, "give one of url, host, id and text, not url and host"),
        ({"text": "nowhere.txt"}, "text nowhere.txt cannot be read"),
    ],
)
def test_what_is_not_said_is_told(shop: Shop, what: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ask(shop, **what)


@pytest.mark.parametrize("what", [{"url": "https://books.example/"}, {"host": "example"}, {"id": "0" * 32}])
def test_what_is_not_there_is_told(shop: Shop, what: dict[str, str]) -> None:
    with pytest.raises(DataError, match=r"no document here has that .*; nothing was taken back"):
        ask(shop, **what)
    assert shop.publish().takedowns == []


def test_a_warehouse_that_is_none_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is no warehouse: gather something first"):
        take_down(TakedownRecipe(warehouse=str(tmp_path), url="x"))
