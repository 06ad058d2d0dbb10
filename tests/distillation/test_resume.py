"""A distillation killed at any point resumes to the same result without repeating finished work."""

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import pytest

from baicai.artefact import read_json, read_tensors, tensors_hash
from baicai.data.batches import Batch, Batches
from baicai.distillation import distill
from baicai.distillation.config import DistillRecipe, TeachConfig
from baicai.distillation.distill import distill_model
from baicai.distillation.sizing import Target
from baicai.distillation.teacher import cache
from baicai.errors import ArtefactError, ConfigError
from baicai.leaves.model import open_model
from baicai.run import run_stage
from tests.distillation.distilling import QUICK, SLICES, Distillery, contents, results_of

EVERY_STEP = dataclasses.replace(QUICK, checkpoint_seconds=0)


class KilledError(Exception):
    """Stands for a kill; no source code catches it."""


def run_until(monkeypatch: pytest.MonkeyPatch, batch: int, recipe: DistillRecipe, out: Path) -> None:
    """Run a recipe and kill it at its `batch`-th batch."""
    count, next_batch = 0, Batches.next

    def counted(self: Batches) -> Batch:
        nonlocal count
        count += 1
        if count == batch:
            raise KilledError
        return next_batch(self)

    with monkeypatch.context() as patch:
        patch.setattr(Batches, "next", counted)
        with pytest.raises(KilledError):
            run_stage(distill_model, recipe, out)


def deterministic_results(out: Path) -> dict[str, Any]:
    """Return the results without measured times."""
    return {key: value for key, value in results_of(out).items() if key != "speed"}


def run_folder(out: Path) -> Path:
    return out.with_name(f"{out.name}.run")


RECIPES: dict[str, dict[str, Any]] = {
    "dense, from a cache": {},
    "leaves, on policy": {
        "start": "pruned",
        "target": Target(parameters=58_000),
        "teach": TeachConfig(signal="online", on_policy=0.3, gate="token"),
    },
}


@pytest.mark.parametrize("changes", RECIPES.values(), ids=RECIPES)
def test_law_8_kills_change_no_bit(
    distilled: Distillery, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any]
) -> None:
    recipe = distilled.recipe(train=EVERY_STEP, **changes)
    run_stage(distill_model, recipe, tmp_path / "whole" / "student")
    broken = tmp_path / "broken" / "student"
    run_until(monkeypatch, 1, recipe, broken)
    run_until(monkeypatch, 13, recipe, broken)
    run_until(monkeypatch, 5, recipe, broken)
    run_until(monkeypatch, (QUICK.steps - 12 - 4) + 9, recipe, broken)  # nine steps into the twin
    scratch = run_folder(broken) / "scratch"
    assert (scratch / "student").exists(), "the student is trained"
    assert (scratch / "untaught.run" / "checkpoint-000000008").exists()
    assert not broken.exists()
    assert run_stage(distill_model, recipe, broken)
    assert deterministic_results(broken) == deterministic_results(tmp_path / "whole" / "student")
    files = sorted(file.relative_to(broken) for file in broken.rglob("*.safetensors"))
    assert files
    for file in files:
        first, second = (read_tensors(tmp_path / folder / "student" / file) for folder in ("whole", "broken"))
        assert tensors_hash(first) == tensors_hash(second)
    assert not scratch.exists()
    assert not run_stage(distill_model, recipe, broken), "it exists already"


def test_report_exists_once_the_student_does(
    distilled: Distillery, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise KilledError

    recipe = distilled.recipe(untaught=False)
    with monkeypatch.context() as patch:
        patch.setattr(distill, "write_report", fail)
        with pytest.raises(KilledError):
            run_stage(distill_model, recipe, tmp_path / "student")
    assert not (tmp_path / "student").exists()
    assert not list(tmp_path.glob(".*.part"))
    with monkeypatch.context() as patch:
        patch.setattr(Batches, "next", fail)  # nothing is trained again
        run_stage(distill_model, recipe, tmp_path / "student")
    assert results_of(tmp_path / "student")["student"]["hash"] == open_model(tmp_path / "student").trunk.hash


def test_diverging_twin_does_not_stop_the_student(
    distilled: Distillery, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = distill._train

    def train(name: str, *rest: Any) -> Any:
        if name == "untaught":
            raise ConfigError("untaught: the loss is nan at step 3: lower learning_rate")
        return original(name, *rest)

    monkeypatch.setattr(distill, "_train", train)
    train_config = dataclasses.replace(QUICK, tokens=QUICK.step_tokens)
    run_stage(distill_model, distilled.recipe(train=train_config), tmp_path / "student")
    results = results_of(tmp_path / "student")
    assert results["flops"]["untaught"] is None
    assert {row["untaught"] for row in results["quality"].values()} == {None}


def test_second_student_reuses_the_cache(
    distilled: Distillery, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "cache"
    teach, train = TeachConfig(cache=str(folder)), dataclasses.replace(QUICK, tokens=2 * QUICK.step_tokens)
    run_stage(distill_model, distilled.recipe(teach=teach, train=train, untaught=False), tmp_path / "first")
    assert sorted(path.name for path in folder.iterdir() if path.is_dir()) == ["fruit", "metal"]
    before = contents(folder)
    monkeypatch.setattr(cache, "sample_teacher_logits", lambda *_: pytest.fail("the teacher ran again"))
    other = dataclasses.replace(train, seed=1, learning_rate=1e-3)
    second = distilled.recipe(teach=teach, train=other, untaught=False, start="slices", target=SLICES)
    run_stage(distill_model, second, tmp_path / "second")
    assert contents(folder) == before
    assert results_of(tmp_path / "first")["cache"] == results_of(tmp_path / "second")["cache"]


def test_default_cache_is_in_the_home_folder(
    distilled: Distillery, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    distilled.distil("dense")
    monkeypatch.setattr(cache, "sample_teacher_logits", lambda *_: pytest.fail("the teacher ran again"))
    train = dataclasses.replace(QUICK, tokens=QUICK.step_tokens)
    run_stage(distill_model, distilled.recipe(train=train, untaught=False), tmp_path / "student")


@pytest.mark.parametrize(
    ("changes", "batch", "checkpoint"),
    [
        ({}, 9, "scratch/student.run/checkpoint-000000008"),
        (
            {"start": "slices", "target": SLICES, "reinforce": ["fruit"]},
            9,
            "leaves/fruit-more.run/checkpoint-000000008",
        ),
    ],
    ids=["while it trains", "while a leaf grows"],
)
def test_changed_recipe_is_rejected_and_nothing_is_lost(
    distilled: Distillery,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    changes: dict[str, Any],
    batch: int,
    checkpoint: str,
) -> None:
    recipe = distilled.recipe(train=EVERY_STEP, reinforce_train=EVERY_STEP, untaught=False, **changes)
    out = tmp_path / "student"
    run_until(monkeypatch, batch, recipe, out)
    before = contents(run_folder(out))
    assert f"{checkpoint}/state.safetensors" in before
    for key, value in {"max_tokens": 400, "train": dataclasses.replace(EVERY_STEP, seed=1)}.items():
        with pytest.raises(
            ArtefactError, match=rf"student\.run was begun with another '{key}.*': choose another --out"
        ):
            run_stage(distill_model, dataclasses.replace(recipe, **{key: value}), out)
    assert contents(run_folder(out)) == before
    run_stage(distill_model, recipe, out)
    assert results_of(out)["student"]["start"] == recipe.start


def test_changed_text_at_the_same_path_is_rejected(
    distilled: Distillery, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = tmp_path / "fruit.txt"
    shutil.copy(distilled.source("own", "fruit").path, text)
    data = [dataclasses.replace(distilled.source("own", "fruit"), path=str(text))]
    recipe = distilled.recipe(data=data, train=EVERY_STEP, untaught=False)
    run_until(monkeypatch, 3, recipe, tmp_path / "student")
    text.write_text(text.read_text() + "\napple.")
    with pytest.raises(ArtefactError, match="was begun with another 'data fruit' at the same path"):
        run_stage(distill_model, recipe, tmp_path / "student")


def test_invalid_recipe_can_be_corrected(distilled: Distillery, tmp_path: Path) -> None:
    train = dataclasses.replace(QUICK, tokens=QUICK.step_tokens)
    recipe = distilled.recipe(train=train, untaught=False)
    with pytest.raises(ConfigError, match="leaf 'law'"):
        run_stage(distill_model, dataclasses.replace(recipe, leaves=["law"]), tmp_path / "student")
    run_stage(distill_model, recipe, tmp_path / "student")
    assert read_json(run_folder(tmp_path / "student") / "recipe.json")["recipe"]["leaves"] == []
