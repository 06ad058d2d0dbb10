"""Takedown requests."""

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
    shop = Shop(tmp_path)
    write_pages(tmp_path / "books", range(12))
    write_pages(tmp_path / "more", range(20, 25))
    shop.gather(tmp_path / "books")
    shop.gather(tmp_path / "more", url="https://sub.other.example/q")
    return shop


def request(shop: Shop, **criteria: str) -> Takedown:
    return take_down(TakedownRecipe(warehouse=str(shop.warehouse), reason="requested by the author", **criteria), NOW)


def test_by_address_id_and_host(shop: Shop) -> None:
    assert request(shop, url="https://books.example/p/003.txt").documents == [address(3)]
    assert request(shop, id=address(4)).documents == [address(4)]
    assert len(request(shop, host="other.example").documents) == 5, "subdomains are included"
    manifest = shop.publish()
    assert sum(shard.documents for shard in manifest.shards) == 10
    assert [len(takedown.documents) for takedown in manifest.takedowns] == [1, 1, 5]
    assert manifest.takedowns[0].deadline == "2026-12-25T00:00:00+00:00"


def test_by_a_near_duplicate_text(shop: Shop, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text(text_of(7).replace("river", "lake"))
    assert request(shop, text_file=str(tmp_path / "mine.txt")).documents == [address(7)]
    (tmp_path / "mine.txt").write_text(text_of(22))
    (removed,) = request(shop, text_file=str(tmp_path / "mine.txt")).documents
    assert removed not in {address(number) for number in range(12)}


@pytest.mark.parametrize(
    ("criteria", "message"),
    [
        ({}, "give one of url, host, id and text_file, not none"),
        ({"url": "x", "host": "y"}, "give one of url, host, id and text_file, not url and host"),
        ({"text_file": "nowhere.txt"}, "text_file nowhere.txt cannot be read"),
    ],
)
def test_exactly_one_criterion_is_required(shop: Shop, criteria: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        request(shop, **criteria)


@pytest.mark.parametrize("criteria", [{"url": "https://books.example/"}, {"host": "example"}, {"id": "0" * 32}])
def test_a_criterion_without_documents_is_an_error(shop: Shop, criteria: dict[str, str]) -> None:
    with pytest.raises(DataError, match=r"no document matches this .*; nothing was removed"):
        request(shop, **criteria)
    assert shop.publish().takedowns == []


def test_a_folder_that_is_not_a_warehouse_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is not a warehouse: gather text into it first"):
        take_down(TakedownRecipe(warehouse=str(tmp_path), url="x"))
