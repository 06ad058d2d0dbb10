"""What quickstart stands on: the starter trunk in the package, and text that every machine has."""

import pytest

from baicai.cli import quickstart
from baicai.cli.inspect import look_up
from baicai.data.readers import read_documents
from baicai.leaves.trunk import open_trunk
from baicai.model.config import LeafConfig


def test_the_starter_is_a_small_and_sound_trunk_with_its_card() -> None:
    trunk = open_trunk(quickstart.STARTER)
    assert trunk.replay().num_tokens > 100_000
    assert sum(file.stat().st_size for file in quickstart.STARTER.rglob("*")) < 10e6
    card = (quickstart.STARTER / "README.md").read_text()
    assert trunk.hash in card
    assert all(one["domain"] in card and set(one["licences"]) != {"unknown"} for one in trunk.card["data"])
    assert "loss, nats a token" in card


@pytest.mark.parametrize("name", quickstart.PRIVATE)
def test_held_out_text_is_none_of_what_a_leaf_grows_on(name: str) -> None:
    part = "documents=200"
    own = {d.id for d in read_documents(f"{quickstart.PRIVATE[name]}{part}")}
    held_out = {d.id for d in read_documents(f"{quickstart.PRIVATE[name]}{part}&split=valid")}
    assert own
    assert held_out
    assert not own & held_out


def test_a_leaf_grown_with_the_default_sizes_fits_beside_those_of_quickstart() -> None:
    assert LeafConfig() == quickstart.LEAF, "its last line tells the user to grow one"


def test_once_opened_the_starter_is_found_by_its_hash() -> None:
    trunk = open_trunk(quickstart.STARTER)
    assert look_up(trunk.hash[:8])["verified"] is True
