"""Growing alone: what it leaves untouched, what it holds, and that it can be killed at any moment."""

import dataclasses
import errno
import os
import random
import shutil
import signal
import time
from pathlib import Path

import pytest
import torch

from baicai.artefact import file_hash
from baicai.data.sources import SourceConfig
from baicai.errors import ArtefactError, ConfigError, DataError, MachineError
from baicai.leaves.grow import grow_leaf
from baicai.leaves.leaf import open_leaf
from baicai.leaves.trunk import open_trunk
from baicai.run import Run, run_stage
from tests.conftest import LEAF, TRAIN, Workshop, grow_recipe, start_stage


def assert_same_bits(left: Path, right: Path) -> None:
    assert file_hash(left / "leaf.safetensors") == file_hash(right / "leaf.safetensors")


def test_law_5_growing_leaves_the_trunks_bytes_untouched(workshop: Workshop, tmp_path: Path) -> None:
    files = [file for file in sorted(Path(workshop.path("trunk")).rglob("*")) if file.is_file()]
    before = [(file.name, file_hash(file), file.stat().st_mtime_ns) for file in files]
    recipe = grow_recipe(workshop, "fruit")
    run_stage(grow_leaf, recipe, tmp_path / "leaf")
    assert before == [(file.name, file_hash(file), file.stat().st_mtime_ns) for file in files]


def test_same_recipe_gives_same_bits_and_another_seed_does_not(workshop: Workshop, tmp_path: Path) -> None:
    recipe = grow_recipe(workshop, "fruit")
    run_stage(grow_leaf, recipe, tmp_path / "leaf")
    assert_same_bits(tmp_path / "leaf", workshop.folder / "fruit")
    other_seed = grow_recipe(workshop, "fruit", train=dataclasses.replace(TRAIN, seed=1))
    run_stage(grow_leaf, other_seed, tmp_path / "other")
    assert file_hash(tmp_path / "other" / "leaf.safetensors") != file_hash(tmp_path / "leaf" / "leaf.safetensors")


def test_cached_activations_change_no_bit(workshop: Workshop, tmp_path: Path) -> None:
    recipe = grow_recipe(workshop, "fruit", cache_activations=True)
    run_stage(grow_leaf, recipe, tmp_path / "leaf")
    assert_same_bits(tmp_path / "leaf", workshop.folder / "fruit")


def test_disk_space_for_cached_activations_is_allocated_at_once(
    workshop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(MachineError, match="no space left while writing"):
        run_stage(grow_leaf, grow_recipe(workshop, "fruit", cache_activations=True), tmp_path / "leaf")


def test_a_half_grown_leaf_does_not_resume_on_another_trunk(workshop: Workshop, tmp_path: Path) -> None:
    trunk = tmp_path / "trunk"
    shutil.copytree(workshop.path("trunk"), trunk)
    recipe = grow_recipe(workshop, "fruit", trunk=str(trunk))
    with Run(tmp_path / "leaf", recipe) as run:  # as a kill leaves it
        run.record_inputs({"trunk": "of other weights", "data fruit": "x"})
        run.log({"step": 1})
    with pytest.raises(ArtefactError, match="begun with another 'data fruit'"):
        run_stage(grow_leaf, recipe, tmp_path / "leaf")


def test_only_the_leaf_is_trained(workshop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import baicai.leaves.grow as grow

    seen: dict[str, object] = {}

    def spy(
        title: str,
        parameters: dict[str, torch.nn.Parameter],
        batches: object,
        loss_of: object,
        *_: object,
        **__: object,
    ) -> dict[str, object]:
        loss, _parts = loss_of(batches.next())  # type: ignore[operator, attr-defined]
        loss.backward()
        seen.update(parameters=parameters)
        return {}

    monkeypatch.setattr(grow, "train", spy)
    recipe = grow_recipe(workshop, "fruit")
    run_stage(grow_leaf, recipe, tmp_path / "leaf")
    parameters = seen["parameters"]
    assert isinstance(parameters, dict)
    assert {name.split(".")[0] for name in parameters} == {"layers"}
    assert {name.split(".")[1] for name in parameters} == {"1", "2"}
    assert sum(p.numel() for p in parameters.values()) == 2 * 4 * (3 * 16 * 32 + 32)
    assert all(p.grad is not None for name, p in parameters.items() if "down" in name or "router" in name)


def test_a_leaf_helps_its_own_text(workshop: Workshop) -> None:
    from baicai.data.sources import open_source
    from baicai.evaluation.bits_per_byte import bits_per_byte, held_out_windows, token_nats

    trunk = open_trunk(workshop.path("trunk"))
    own = open_source(workshop.text("fruit"), trunk.tokenizer)
    before = bits_per_byte(token_nats(trunk.network), held_out_windows(own, 32), trunk.tokenizer).bits_per_byte
    leaf = open_leaf(workshop.path("fruit"), trunk)
    trunk.network.join(leaf.name, leaf.experts)
    after = bits_per_byte(token_nats(trunk.network), held_out_windows(own, 32), trunk.tokenizer).bits_per_byte
    assert after < 0.9 * before


def test_law_8_twenty_kills_change_no_bit(workshop: Workshop, tmp_path: Path) -> None:
    train = dataclasses.replace(TRAIN, tokens=1500 * TRAIN.step_tokens, checkpoint_seconds=0.1)
    recipe = grow_recipe(workshop, "fruit", train=train)
    uninterrupted, killed = tmp_path / "whole", tmp_path / "broken"

    start_stage(grow_leaf, recipe, uninterrupted).join()
    draw = random.Random(0)
    for kill in range(20):
        before = set(tmp_path.glob("broken.run/checkpoint-*"))
        process = start_stage(grow_leaf, recipe, killed)
        while kill > 2 and process.is_alive() and set(tmp_path.glob("broken.run/checkpoint-*")) == before:
            time.sleep(0.001)  # the first three may die while starting; the others get somewhere first
        time.sleep(draw.random() * 0.1)
        assert process.is_alive(), f"it ended before kill {kill}: give it more steps"
        assert process.pid is not None
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        assert not killed.exists()
    last = start_stage(grow_leaf, recipe, killed)
    last.join()
    assert last.exitcode == 0
    assert_same_bits(uninterrupted, killed)
    assert not list(tmp_path.rglob(".*.part"))


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"trunk": "/nowhere"}, ArtefactError, "does not exist"),
        ({"data": []}, ConfigError, "data is empty"),
        ({"held_out": [SourceConfig(path="x", domain="public")]}, ConfigError, "has the domain 'public'"),
        ({"name": "../up"}, ConfigError, "cannot name a leaf"),
        ({"leaf": dataclasses.replace(LEAF, first_layer=3)}, ConfigError, "last layer is 2"),
    ],
)
def test_invalid_recipes_are_one_line_errors(
    workshop: Workshop, tmp_path: Path, changes: dict[str, object], error: type[Exception], message: str
) -> None:
    def act() -> None:
        run_stage(grow_leaf, grow_recipe(workshop, "fruit", **changes), tmp_path / "leaf")

    with pytest.raises(error, match=message):
        act()
    assert not (tmp_path / "leaf").exists()


def test_text_smaller_than_its_share_of_a_batch_is_refused(workshop: Workshop, tmp_path: Path) -> None:
    (tmp_path / "short.txt").write_text("apple pear")
    source = SourceConfig(path=str(tmp_path / "short.txt"))
    recipe = grow_recipe(workshop, "fruit", data=[source])
    with pytest.raises(DataError, match=r"has \d+ tokens, but its share of one batch needs 97"):
        run_stage(grow_leaf, recipe, tmp_path / "leaf")
