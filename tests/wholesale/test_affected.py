"""From a takedown request to the leaf that was trained on the text, and to the model without that leaf."""

import dataclasses
from datetime import UTC, datetime
from pathlib import Path

import pytest

from baicai.artefact import home_folder, read_json
from baicai.errors import ArtefactError, DataError
from baicai.leaves.grow import grow_leaf
from baicai.leaves.join import JoinRecipe, PeelRecipe, join_leaves, peel_leaves
from baicai.leaves.model import open_model
from baicai.run import run_stage
from baicai.wholesale.affected import AffectedRecipe, affected
from baicai.wholesale.gather import GatherRecipe, GatherSourceConfig, gather
from baicai.wholesale.processing.clean import CleanConfig
from baicai.wholesale.pull import PullRecipe, pull
from baicai.wholesale.release.publish import PublishRecipe, publish
from baicai.wholesale.release.takedown import TakedownRecipe, take_down
from tests.conftest import Workshop, grow_recipe, write_domain


def test_a_takedown_finds_the_leaf_trained_on_the_text(workshop: Workshop, tmp_path: Path) -> None:
    (tmp_path / "texts").mkdir()
    for number in range(8):
        write_domain(tmp_path / "texts", "metal", 60, seed=number).rename(tmp_path / "texts" / f"{number}.txt")
    source = GatherSourceConfig(
        path=str(tmp_path / "texts"),
        base_url="https://metal.example",
        clean=CleanConfig(domain="metal", licence="CC0-1.0"),
    )
    warehouse, release, subscription = (str(tmp_path / name) for name in ("warehouse", "release", "subscription"))
    gather(GatherRecipe(sources=[source], workers=1), Path(warehouse))
    publish(PublishRecipe(warehouse=warehouse, keep_duplicates=True), Path(release))
    pull(PullRecipe(source=release), Path(subscription))
    text = dataclasses.replace(workshop.text("metal"), path=f"{subscription}/documents")
    run_stage(grow_leaf, grow_recipe(workshop, "metal", data=[text]), tmp_path / "metal")
    receipt = read_json(tmp_path / "metal" / "leaf.json")["data"][0]["receipt"]
    assert receipt["shards"]
    join = JoinRecipe(
        trunk=workshop.path("trunk"), leaves=[workshop.path("fruit"), str(tmp_path / "metal")], max_harm=9.0
    )
    run_stage(join_leaves, join, tmp_path / "model")
    assert affected(AffectedRecipe(subscription=subscription)).trained == []

    request = take_down(TakedownRecipe(warehouse=warehouse, url="https://metal.example/3.txt", reason="requested"))
    publish(PublishRecipe(warehouse=warehouse, keep_duplicates=True), Path(release))
    tokens = [path for path in (home_folder() / "shards").glob("*/manifest.json") if "receipt" in read_json(path)]
    assert pull(PullRecipe(source=release), Path(subscription), datetime.now(UTC)).purged == 1
    assert tokens
    assert not any(path.exists() for path in tokens), "its token shards are deleted, too"

    result = affected(AffectedRecipe(subscription=subscription))
    assert (result.documents, [artefact.path for artefact in result.trained]) == (1, [str(tmp_path / "metal")])
    assert [(model.path, model.peel) for model in result.models] == [(str(tmp_path / "model"), ["metal"])]
    assert affected(AffectedRecipe(subscription=subscription, document_ids=request.documents)).trained
    assert not affected(AffectedRecipe(subscription=subscription, document_ids=["00" * 16])).trained
    with pytest.raises(ArtefactError, match="'metal' is not a document id, which has 32 hex digits"):
        affected(AffectedRecipe(subscription=subscription, document_ids=["metal"]))
    run_stage(peel_leaves, PeelRecipe(model=str(tmp_path / "model"), leaves=["metal"]), tmp_path / "peeled")
    assert list(open_model(tmp_path / "peeled").leaves) == ["fruit"]


def test_a_folder_that_is_not_a_subscription_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is not a subscription: pull a release into it first"):
        affected(AffectedRecipe(subscription=str(tmp_path)))
