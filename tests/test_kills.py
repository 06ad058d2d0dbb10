"""SIGKILL at any moment of any stage: run again, it makes what it would have made. (`grow` has its own test.)"""

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


def bring_back(shop: Workshop) -> tuple[Callable[..., None], Any]:
    stage, recipe = export(shop)
    run_stage(stage, recipe, shop.folder / "exported")
    return import_checkpoint, ImportRecipe(source=shop.path("exported"), public=[shop.text("public")])


def contents(folder: Path) -> dict[str, str]:
    return {str(file.relative_to(folder)): file_hash(file) for file in sorted(folder.rglob("*")) if file.is_file()}


@pytest.mark.parametrize("make", [tokenizer, trunk, join, peel, calibrate, evaluate, distill, export, bring_back])
def test_killed_and_run_again_is_as_if_never_killed(
    workshop: Workshop, tmp_path: Path, make: Callable[[Workshop], tuple[Callable[..., None], Any]]
) -> None:
    stage, recipe = make(workshop)

    def start(place: str) -> BaseProcess:
        (tmp_path / place).mkdir(exist_ok=True)
        return start_stage(stage, recipe, tmp_path / place / "out")

    start("warm").join()  # what is tokenized or drawn for the first time is kept
    begun = time.monotonic()
    whole = start("whole")
    whole.join()
    assert whole.exitcode == 0
    duration = time.monotonic() - begun
    draw = random.Random(make.__name__)
    for _ in range(KILLS):
        process = start("broken")
        time.sleep(draw.random() * duration)
        process.kill()
        process.join()
        if process.exitcode == 0:  # it was done before the kill
            shutil.rmtree(tmp_path / "broken")
    last = start("broken")
    last.join()
    assert last.exitcode == 0
    assert contents(tmp_path / "broken" / "out") == contents(tmp_path / "whole" / "out")
    assert not list(tmp_path.rglob(".*.part"))
