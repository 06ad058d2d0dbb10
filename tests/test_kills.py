"""A stage that was killed at any moment gives the same artefact when run again. (`grow` has its own test.)"""

import dataclasses
import random
import shutil
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest

from baicai.artefact import file_hash
from baicai.convert.exporter import ExportRecipe, export_model
from baicai.convert.importer import ImportRecipe, import_checkpoint
from baicai.distillation.config import DistillRecipe
from baicai.distillation.distill import distill_model
from baicai.distillation.sizing import Target
from baicai.leaves.calibrate import CalibrateRecipe, calibrate_model
from baicai.leaves.evaluate import EvaluateRecipe, evaluate_model
from baicai.leaves.join import JoinRecipe, PeelRecipe, join_leaves, peel_leaves
from baicai.leaves.train_tokenizer import TokenizerRecipe, make_tokenizer
from baicai.leaves.train_trunk import TrunkRecipe, train_trunk
from baicai.run import run_stage
from tests.conftest import SIZES, TRAIN, Workshop, start_stage

KILLS = 6
QUICK = dataclasses.replace(TRAIN, tokens=40 * TRAIN.step_tokens, checkpoint_seconds=0.02)


def tokenizer(shop: Workshop) -> tuple[Callable[..., None], Any]:
    return make_tokenizer, TokenizerRecipe(data=[shop.text("fruit"), shop.text("metal")], vocab_size=320)


def trunk(shop: Workshop) -> tuple[Callable[..., None], Any]:
    return train_trunk, TrunkRecipe(
        tokenizer=shop.path("tokenizer"), data=[shop.text("public")], model=SIZES, train=QUICK, replay_tokens=2000
    )


def join(shop: Workshop) -> tuple[Callable[..., None], Any]:
    leaves = [shop.path("fruit"), shop.path("metal")]
    return join_leaves, JoinRecipe(trunk=shop.path("trunk"), leaves=leaves, topk_group=2)


def peel(shop: Workshop) -> tuple[Callable[..., None], Any]:
    return peel_leaves, PeelRecipe(model=shop.path("model"), leaves=["metal"])


def calibrate(shop: Workshop) -> tuple[Callable[..., None], Any]:
    return calibrate_model, CalibrateRecipe(model=shop.path("model"), train=QUICK)


def evaluate(shop: Workshop) -> tuple[Callable[..., None], Any]:
    data = [shop.text("fruit"), shop.text("metal")]
    return evaluate_model, EvaluateRecipe(model=shop.path("model"), data=data, sequence_tokens=32, max_tokens=2000)


def export(shop: Workshop) -> tuple[Callable[..., None], Any]:
    return export_model, ExportRecipe(model=shop.path("model"), max_shard_bytes=100_000)


def distill(shop: Workshop) -> tuple[Callable[..., None], Any]:
    text, short = [shop.text("fruit")], dataclasses.replace(QUICK, tokens=10 * TRAIN.step_tokens)
    return distill_model, DistillRecipe(
        teacher=shop.path("model"),
        data=text,
        held_out=[*text, shop.text("metal")],
        start="pruned",
        target=Target(parameters=55_000),
        reinforce=["fruit"],
        reinforce_train=short,
        untaught=False,
        max_tokens=700,
        train=short,
    )


def import_again(shop: Workshop) -> tuple[Callable[..., None], Any]:
    stage, recipe = export(shop)
    run_stage(stage, recipe, shop.folder / "exported")
    return import_checkpoint, ImportRecipe(source=shop.path("exported"), public=[shop.text("public")])


def contents(folder: Path) -> dict[str, str]:
    return {str(file.relative_to(folder)): file_hash(file) for file in sorted(folder.rglob("*")) if file.is_file()}


@pytest.mark.parametrize("make", [tokenizer, trunk, join, peel, calibrate, evaluate, distill, export, import_again])
def test_a_killed_stage_resumes_to_the_same_artefact(
    workshop: Workshop, tmp_path: Path, make: Callable[[Workshop], tuple[Callable[..., None], Any]]
) -> None:
    stage, recipe = make(workshop)

    def start(name: str) -> BaseProcess:
        (tmp_path / name).mkdir(exist_ok=True)
        return start_stage(stage, recipe, tmp_path / name / "out")

    start("warm").join()  # caches what is tokenized or generated the first time
    start_time = time.monotonic()
    uninterrupted = start("whole")
    uninterrupted.join()
    assert uninterrupted.exitcode == 0
    duration = time.monotonic() - start_time
    draw = random.Random(make.__name__)
    for _ in range(KILLS):
        process = start("broken")
        time.sleep(draw.random() * duration)
        process.kill()
        process.join()
        if process.exitcode == 0:  # it finished before the kill
            shutil.rmtree(tmp_path / "broken")
    last = start("broken")
    last.join()
    assert last.exitcode == 0
    assert contents(tmp_path / "broken" / "out") == contents(tmp_path / "whole" / "out")
    assert not list(tmp_path.rglob(".*.part"))
