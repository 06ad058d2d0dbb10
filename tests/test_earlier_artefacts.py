"""Artefacts written by earlier commits still open, with the hashes that they had."""

import json
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import torch

from baicai.artefact import read_json
from baicai.data.readers import read_documents
from baicai.data.shards import TokenShards
from baicai.data.sources import SourceConfig
from baicai.distillation.report.results import DistillationResults
from baicai.distillation.teacher.cache import CacheConfig, write_cache
from baicai.distillation.teacher.models import open_teacher
from baicai.evaluation.results import EvaluationResults
from baicai.leaves.grow import GrowRecipe, grow_leaf
from baicai.leaves.join import JoinRecipe, PeelRecipe, join_leaves, peel_leaves
from baicai.leaves.leaf import open_leaf
from baicai.leaves.model import open_model
from baicai.leaves.trunk import open_trunk
from baicai.run import run_stage, run_state
from baicai.wholesale.pull import PullRecipe, pull
from baicai.wholesale.release.publish import PublishRecipe, publish, read_release

COMMITS = sorted(path.name for path in (Path(__file__).parent / "artefacts").iterdir() if path.is_dir())


@pytest.fixture(params=COMMITS)
def folder(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the artefacts of one commit, as the working directory: recipes in it name relative paths."""
    copy = tmp_path / "artefacts"
    shutil.copytree(Path(__file__).parent / "artefacts" / request.param, copy)
    monkeypatch.chdir(copy)
    return copy


@pytest.fixture
def expected(folder: Path) -> dict[str, Any]:
    values: dict[str, Any] = json.loads((folder / "expected.json").read_text())
    return values


def test_trunk_leaves_and_model_keep_their_hashes(folder: Path, expected: dict[str, Any]) -> None:
    trunk = open_trunk(folder / "trunk")
    assert trunk.hash == expected["trunk"]
    for name, digest in expected["leaves"].items():
        assert open_leaf(folder / name, trunk).hash == digest
    model = open_model(folder / "model")
    assert model.hash == expected["model"]
    with torch.inference_mode():
        logits = model.network(torch.arange(1, 33)[None])
    assert logits[0, -1, :8].tolist() == pytest.approx(expected["logits"], abs=1e-3)


def test_the_student_of_a_distillation_keeps_its_hash(folder: Path, expected: dict[str, Any]) -> None:
    assert open_model(folder / "student").hash == expected["student"]


def test_joining_and_peeling_the_parts_gives_the_same_hashes(folder: Path, expected: dict[str, Any]) -> None:
    recipe = JoinRecipe(trunk="trunk", leaves=["metal", "fruit"], max_firing=1.0, max_harm=10.0)
    run_stage(join_leaves, recipe, folder / "joined")
    assert open_model(folder / "joined").hash == expected["model"]
    run_stage(peel_leaves, PeelRecipe(model="model", leaves=["fruit"]), folder / "peeled")
    assert list(open_model(folder / "peeled").leaves) == ["metal"]


def test_the_teachers_cache_is_complete_for_its_teacher_and_corpus(folder: Path, expected: dict[str, Any]) -> None:
    model = open_model(folder / "model")
    teacher, shards = (
        open_teacher(folder / "model", model.tokenizer, torch.device("cpu")),
        TokenShards.open(folder / "shards"),
    )
    assert (teacher.hash, shards.hash) == (expected["teacher"], expected["shards"])
    before = (folder / "cache" / "samples-00000.bin").stat().st_mtime_ns
    cache = write_cache(folder / "cache", teacher, shards, CacheConfig(samples=4, sequence_tokens=32))
    assert cache.window(0)["samples"][0].tolist() == expected["cache_first_samples"]
    assert (folder / "cache" / "samples-00000.bin").stat().st_mtime_ns == before, "nothing is computed again"


def test_release_and_subscription_are_current(folder: Path, expected: dict[str, Any]) -> None:
    manifest = read_release(folder / "release")
    assert manifest.hash == expected["release"]
    pulled = pull(PullRecipe(source="release"), folder / "subscription", datetime(2026, 11, 30, 13, tzinfo=UTC))
    assert pulled.documents == 12
    assert len(list(read_documents(folder / "subscription" / "documents"))) == 12


def test_the_warehouse_publishes_the_same_shards(folder: Path) -> None:
    publish(PublishRecipe(warehouse="warehouse"), folder / "again", datetime(2026, 11, 30, 13, tzinfo=UTC))
    before, after = ({path.name for path in (folder / name / "shards").iterdir()} for name in ("release", "again"))
    assert before == after


def test_results_of_evaluation_and_distillation_are_read(folder: Path) -> None:
    assert EvaluationResults.read(folder / "evaluation" / "results.json")
    assert DistillationResults.read(folder / "student.run" / "report" / "results.json")


def test_a_finished_run_is_recognised_and_not_repeated(folder: Path) -> None:
    assert run_state(folder / "fruit.run") == "done"
    stored = read_json(folder / "fruit.run" / "recipe.json")["recipe"]
    recipe = GrowRecipe(**stored | {"data": [SourceConfig(**source) for source in stored["data"]]})
    assert run_stage(grow_leaf, recipe, folder / "fruit") is False
