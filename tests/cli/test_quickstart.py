"""The starter trunk in the package, and the text of quickstart."""

import pytest

from baicai.cli import quickstart
from baicai.cli.inspect import look_up
from baicai.data.readers import read_documents
from baicai.leaves.trunk import open_trunk
from baicai.model.config import LeafConfig


def test_the_starter_is_a_small_valid_trunk_with_a_card() -> None:
    trunk = open_trunk(quickstart.STARTER)
    assert trunk.replay().num_tokens > 100_000
    assert sum(file.stat().st_size for file in quickstart.STARTER.rglob("*")) < 10e6
    card = (quickstart.STARTER / "README.md").read_text()
    assert trunk.hash in card
    assert all(entry["domain"] in card and set(entry["licences"]) != {"unknown"} for entry in trunk.card["data"])
    assert "loss, nats a token" in card


@pytest.mark.parametrize("name", quickstart.PRIVATE)
def test_held_out_text_is_not_in_the_training_text(name: str) -> None:
    part = "documents=200"
    own = {d.id for d in read_documents(f"{quickstart.PRIVATE[name]}{part}")}
    held_out = {d.id for d in read_documents(f"{quickstart.PRIVATE[name]}{part}&split=valid")}
    assert own
    assert held_out
    assert not own & held_out


def test_default_leaf_sizes_match_those_of_quickstart() -> None:
    assert LeafConfig() == quickstart.LEAF, "its last line suggests to grow one"


def test_an_opened_starter_can_be_looked_up_by_hash() -> None:
    trunk = open_trunk(quickstart.STARTER)
    assert look_up(trunk.hash[:8])["verified"] is True
