"""Training a trunk on two processes with torchrun: the same losses as on one, replicated or sharded, killed or not."""

import dataclasses
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import tomli_w
import torch

from baicai.artefact import file_hash, read_tensors
from baicai.cli.main import cli, main
from baicai.config import to_table
from baicai.errors import MachineError
from baicai.leaves.train_trunk import TrunkRecipe, train_trunk
from baicai.leaves.trunk import open_trunk
from baicai.run import run_stage
from baicai.training import distributed, optimizer
from tests.conftest import SIZES, TRAIN, WORDS, Workshop
from tests.training.processes import precise

STEPS = 6
SHARDINGS = ["replicate", "shard"]
OFTEN = {"checkpoint_seconds": 0.0}


def recipe(workshop: Workshop, **train: Any) -> TrunkRecipe:
    settings = {"tokens": STEPS * TRAIN.step_tokens, "learning_rate": 5e-3, "log_steps": 1}
    return TrunkRecipe(
        tokenizer=workshop.path("tokenizer"),
        data=[workshop.text(domain) for domain in WORDS],
        model=dataclasses.replace(SIZES, mtp=True),
        train=dataclasses.replace(TRAIN, **settings | train),
        replay_tokens=500,
    )


def torchrun(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "-m", *words]
    return subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=600)


def write_jobs(path: Path, *jobs: tuple[str, TrunkRecipe, bool, str]) -> str:
    names = ("out", "recipe", "precise", "end")
    rows = [(str(path.parent / out), to_table(config), exact, end) for out, config, exact, end in jobs]
    path.write_text(json.dumps([dict(zip(names, row, strict=True)) for row in rows]))
    return str(path)


def lines(out: Path) -> list[dict[str, float]]:
    text = (out.parent / f"{out.name}.run" / "metrics.jsonl").read_text()
    return [{k: v for k, v in json.loads(line).items() if k != "tokens_per_second"} for line in text.splitlines()]


@pytest.fixture(scope="module")
def folder(workshop: Workshop, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results of two processes: with each sharding, with a batch that cannot be split, and with one process killed."""
    folder = tmp_path_factory.mktemp("processes")
    jobs = [(sharding, recipe(workshop, sharding=sharding), True, "") for sharding in SHARDINGS]
    jobs.append(("stopped", recipe(workshop, **OFTEN), True, "stop"))
    jobs.append(("odd", recipe(workshop, batch_sequences=7), True, ""))
    jobs.append(("whole", recipe(workshop, sharding="shard", **OFTEN), False, ""))
    jobs.append(("killed", recipe(workshop, sharding="shard", **OFTEN), False, "die"))
    done = torchrun("tests.training.processes", write_jobs(folder / "jobs.json", *jobs))
    assert done.returncode != 0
    assert "Signal 9" in done.stderr
    return folder


@pytest.fixture
def alone(workshop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The result of one process."""
    monkeypatch.setattr(optimizer, "orthogonalize", precise)
    run_stage(train_trunk, recipe(workshop), tmp_path / "alone")
    return tmp_path / "alone"


def assert_same_losses(actual: list[dict[str, float]], expected: list[dict[str, float]]) -> None:
    assert [line["step"] for line in expected] == list(range(1, STEPS + 1))
    for ours, theirs in zip(actual, expected, strict=True):
        assert ours == pytest.approx(theirs, rel=1e-5)
    assert expected[-1]["loss"] < 0.95 * expected[0]["loss"]


@pytest.mark.parametrize("sharding", SHARDINGS)
def test_two_processes_give_the_losses_and_weights_of_one(folder: Path, alone: Path, sharding: str) -> None:
    assert_same_losses(lines(folder / sharding), lines(alone))
    ours, theirs = (read_tensors(out / "trunk.safetensors") for out in (folder / sharding, alone))
    assert ours.keys() == theirs.keys()
    for name, tensor in theirs.items():
        torch.testing.assert_close(ours[name].float(), tensor.float(), atol=1e-3, rtol=1e-2, msg=name)
    assert open_trunk(folder / sharding).replay().hash == open_trunk(alone).replay().hash


def test_sharding_halves_the_parameters_and_replication_copies_them(folder: Path, alone: Path) -> None:
    held = {s: [int((folder / f"{s}.held-{rank}").read_text()) for rank in (0, 1)] for s in SHARDINGS}
    probes = 2 * 3 * SIZES.dim  # two layers, three sources: the odd row is process 0's
    every = sum(tensor.numel() for tensor in read_tensors(alone / "trunk.safetensors").values()) + probes
    assert held["replicate"] == [every, every]
    assert sum(held["shard"]) == every
    assert held["shard"][0] - held["shard"][1] == 2 * SIZES.dim


def test_rows_of_a_batch_are_split_over_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distributed, "world_size", lambda: 4)
    actual = []
    for rank in range(4):
        monkeypatch.setattr(distributed, "rank", lambda rank=rank: rank)
        actual.append(distributed.local_rows(torch.arange(8)).tolist())
    assert actual == [[0, 1], [2, 3], [4, 5], [6, 7]]


def test_one_process_can_finish_what_two_began(folder: Path, alone: Path, workshop: Workshop) -> None:
    out = folder / "stopped"
    assert [line["step"] for line in lines(out)] == [1, 2, 3]
    run_stage(train_trunk, recipe(workshop, **OFTEN), out)
    assert_same_losses(lines(out), lines(alone))


def test_a_batch_that_cannot_be_split_is_a_one_line_error(folder: Path) -> None:
    for rank in (0, 1):
        assert (folder / f"odd.error-{rank}").read_text() == (
            "train.batch_sequences is 7, which 2 processes cannot share evenly: make it a multiple of 2"
        )
    assert not (folder / "odd").exists()


def test_restart_after_a_killed_process_gives_the_same_result(folder: Path, workshop: Workshop, tmp_path: Path) -> None:
    out, table = folder / "killed", to_table(recipe(workshop, sharding="shard", **OFTEN))
    assert [path.name for path in folder.glob("killed.run/checkpoint-*")] == ["checkpoint-000000003"]
    table["data"] = [{key: value for key, value in source.items() if value is not None} for source in table["data"]]
    (tmp_path / "trunk.toml").write_text(tomli_w.dumps(table))
    resumed = torchrun("baicai", "trunk", str(tmp_path / "trunk.toml"), "--out", str(out), "--json")
    assert resumed.returncode == 0, resumed.stderr
    assert json.loads(resumed.stdout)["hash"] == open_trunk(folder / "whole").hash, "process 0 alone tells, and once"
    assert lines(out) == lines(folder / "whole")
    for name in ("trunk.safetensors", "config.json"):
        assert file_hash(out / name) == file_hash(folder / "whole" / name)


def test_other_verbs_reject_torchrun(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    waits: list[float] = []
    monkeypatch.setattr(time, "sleep", waits.append)
    for rank in ("0", "1"):
        monkeypatch.setenv("RANK", rank)
        with pytest.raises(SystemExit):
            main(lambda **options: cli.main(["grow", "name=x", "--out", "/nowhere/leaf"], **options))
        assert capsys.readouterr().err == "error: grow runs in one process: start it without torchrun\n"
        assert len(waits) == int(rank), "torchrun has the time to end the second, so that the error is printed once"


def test_more_processes_than_gpus_are_rejected(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, workshop: Workshop
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "4")
    monkeypatch.setenv("LOCAL_RANK", "2")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(MachineError, match="has 2 GPUs, one for each process: lower --nproc-per-node to 2"):
        distributed.run_stage_on_all_ranks(train_trunk, recipe(workshop), tmp_path / "out")
