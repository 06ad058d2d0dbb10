"""Runs: resumed, repeated, killed, contended, out of space."""

import errno
import json
import os
import shutil
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from filelock import lock_descriptor, unlock_descriptor

import baicai.run
from baicai.artefact import atomic_folder, read_json
from baicai.config import recipe
from baicai.errors import ArtefactError, ConfigError, MachineError
from baicai.run import Progress, Run, last_metrics, run_stage, run_state


@recipe
class Sizes:
    """A table inside."""

    width: int = 1


@recipe
class Recipe:
    """Recipe of the stages here."""

    text: str = "a"
    steps: int = 3
    sizes: Sizes = Sizes()


def write(config: Recipe, run: Run) -> None:
    """The simplest stage."""
    with atomic_folder(run.out) as part:
        (part / "text").write_text(config.text)


class Counting:
    """A stage that remembers how often it was called."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.calls, self.error = 0, error

    def __call__(self, config: Recipe, run: Run) -> None:
        self.calls += 1
        if self.error is not None:
            run.log({"step": 1})
            raise self.error
        write(config, run)


def tensors(value: float) -> dict[str, torch.Tensor]:
    return {"x": torch.full((3,), value)}


def test_running_a_finished_stage_again_does_nothing(tmp_path: Path) -> None:
    stage = Counting()
    assert run_stage(stage, Recipe(), tmp_path / "out") is True
    before = (tmp_path / "out" / "text").stat().st_mtime_ns
    assert run_stage(stage, Recipe(), tmp_path / "out") is False
    assert stage.calls == 1
    assert (tmp_path / "out" / "text").stat().st_mtime_ns == before


def test_recipe_file_records_what_made_the_artefact(tmp_path: Path) -> None:
    run_stage(write, Recipe(text="b"), tmp_path / "out")
    note = read_json(tmp_path / "out.run" / "recipe.json")
    assert note["recipe"] == {"text": "b", "steps": 3, "sizes": {"width": 1}}
    assert {"baicai", "torch", "python"} <= note["versions"].keys()
    assert note["commit"] is None or len(note["commit"]) == 40


def test_a_removed_artefact_is_made_again(tmp_path: Path) -> None:
    stage = Counting()
    run_stage(stage, Recipe(), tmp_path / "out")
    (tmp_path / "out" / "text").unlink()
    (tmp_path / "out").rmdir()
    assert run_stage(stage, Recipe(), tmp_path / "out") is True
    assert stage.calls == 2


@pytest.mark.parametrize(
    ("other", "key"),
    [
        (Recipe(text="b"), "text"),
        (Recipe(text="b", steps=4), "steps"),
        (Recipe(sizes=Sizes(width=2)), r"sizes\.width"),
    ],
)
def test_a_changed_recipe_is_rejected_by_its_key(tmp_path: Path, other: Recipe, key: str) -> None:
    stage = Counting(KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        run_stage(stage, Recipe(), tmp_path / "out")
    for _ in range(2):  # the refusal lets go of the lock
        with pytest.raises(ArtefactError, match=f"was begun with another '{key}': choose another --out, or remove"):
            run_stage(stage, other, tmp_path / "out")
    assert stage.calls == 1
    stage.error = None
    assert run_stage(stage, Recipe(), tmp_path / "out") is True


@pytest.mark.parametrize("kind", ["folder", "file"])
def test_an_artefact_made_by_something_else_is_rejected(tmp_path: Path, kind: str) -> None:
    out, stage = tmp_path / "out", Counting()
    out.mkdir() if kind == "folder" else out.write_text("mine")
    for _ in range(2):
        with pytest.raises(ArtefactError, match="out already exists: remove it or choose another --out"):
            run_stage(stage, Recipe(), out)
    assert stage.calls == 0
    assert [entry.name for entry in tmp_path.iterdir()] == ["out"], "nothing else is left"


@pytest.mark.parametrize("out", ["file/out", "file/deep/out", "x" * 252])
def test_an_invalid_out_is_a_one_line_error(tmp_path: Path, out: str) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(MachineError, match=r"cannot write .*; choose another --out"):
        run_stage(write, Recipe(), tmp_path / out)


def test_a_kill_between_rename_and_done_is_repaired(tmp_path: Path) -> None:
    stage = Counting()
    run_stage(stage, Recipe(), tmp_path / "out")
    (tmp_path / "out.run" / "done").unlink()
    (tmp_path / "out.run" / "checkpoint-000000003").mkdir()
    assert run_stage(stage, Recipe(), tmp_path / "out") is True
    assert stage.calls == 1, "the artefact is complete and not made again"
    assert (tmp_path / "out.run" / "done").exists()
    assert not list((tmp_path / "out.run").glob("checkpoint-*"))


def test_partial_writes_of_a_kill_are_removed(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        run_stage(Counting(KeyboardInterrupt()), Recipe(), tmp_path / "out")
    (tmp_path / ".out.0123abcd.part").mkdir()
    (tmp_path / ".out.0123abcd.part" / "large").write_text("")
    (tmp_path / ".outer.0123abcd.part").mkdir()  # another run's
    (tmp_path / "out.run" / ".inputs.json.0123abcd.part").write_text("{")
    run_stage(write, Recipe(), tmp_path / "out")
    assert sorted(entry.name for entry in tmp_path.iterdir()) == [".outer.0123abcd.part", "out", "out.run"]
    assert not list((tmp_path / "out.run").glob(".*"))


def test_a_damaged_recipe_file_is_a_one_line_error(tmp_path: Path) -> None:
    (tmp_path / "out.run").mkdir()
    (tmp_path / "out.run" / "metrics.jsonl").write_text('{"step": 1}\n')
    for content, message in (("{", "cannot be read"), ("{}", "begun with another 'recipe'")):
        (tmp_path / "out.run" / "recipe.json").write_text(content)
        with pytest.raises(ArtefactError, match=message):
            Run(tmp_path / "out", Recipe())


HOLD = """
import sys, time
from pathlib import Path
from baicai.config import recipe
from baicai.run import Run

@recipe
class Recipe:
    text: str = "a"

with Run(Path(sys.argv[1]), Recipe()):
    print("held", flush=True)
    time.sleep(60)
"""


def test_two_processes_at_once_are_one_clear_error(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", HOLD, tmp_path / "out"], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        with pytest.raises(
            ArtefactError, match=r"another process is at work on .*out: wait for it, or choose another --out"
        ):
            run_stage(write, Recipe(), tmp_path / "out")
        process.kill()
    assert run_stage(write, Recipe(), tmp_path / "out")  # a killed process lets go


def test_a_checkpoint_is_restored_and_replaces_the_older_one(tmp_path: Path) -> None:
    with Run(tmp_path / "out", Recipe()) as run:
        assert run.resume() is None
        run.save_checkpoint(5, tensors(5), {"batches": {"drawn": [1]}})
        run.save_checkpoint(10, tensors(10), {"batches": {"drawn": [2]}})
        run.save_checkpoint(10, tensors(10), {"batches": {"drawn": [2]}})
    with Run(tmp_path / "out", Recipe()) as run:
        assert [entry.name for entry in run.folder.glob("checkpoint-*")] == ["checkpoint-000000010"]
        checkpoint = run.resume()
        assert checkpoint is not None
        assert torch.equal(checkpoint.tensors["x"], torch.full((3,), 10.0))
        assert (checkpoint.state["step"], checkpoint.state["batches"]) == (10, {"drawn": [2]})


def test_the_newest_checkpoint_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Run(tmp_path / "out", Recipe()) as run:
        run.save_checkpoint(999_999, tensors(1), {})
        monkeypatch.setattr(shutil, "rmtree", lambda *_, **__: None)  # killed before the older one is gone
        run.save_checkpoint(1_000_000, tensors(2), {})
        monkeypatch.undo()
        checkpoint = run.resume()
        assert checkpoint is not None
        assert checkpoint.state["step"] == 1_000_000


def test_metrics_are_cut_back_to_the_checkpoint(tmp_path: Path) -> None:
    with Run(tmp_path / "out", Recipe()) as run:
        for step in range(1, 7):
            run.log({"step": step, "loss": 1 / step})
            if step == 4:
                run.save_checkpoint(step, tensors(4), {})
        assert [line["step"] for line in run.metrics()] == [1, 2, 3, 4, 5, 6]
    with Run(tmp_path / "out", Recipe()) as run:
        run.resume()
        assert [line["step"] for line in run.metrics()] == [1, 2, 3, 4]
        assert run.metrics()[2] == {"step": 3, "loss": 1 / 3}
    with Run(tmp_path / "new", Recipe()) as run:
        run.log({"step": 1})
        run.resume()
        assert run.metrics() == []


def test_a_line_cut_off_by_a_kill_is_dropped(tmp_path: Path) -> None:
    with Run(tmp_path / "out", Recipe()) as run:
        run.log({"step": 1})
    metrics = tmp_path / "out.run" / "metrics.jsonl"
    for half in ('{"step": 2, "lo', '{"step": 2}'):
        metrics.write_text(f'{{"step": 1}}\n{half}')
        assert last_metrics(tmp_path / "out") == {"step": 1}
        with Run(tmp_path / "out", Recipe()) as run:
            assert run.metrics() == [{"step": 1}]
            run.log({"step": 2})
        with Run(tmp_path / "out", Recipe()) as run:
            assert run.metrics() == [{"step": 1}, {"step": 2}]
    assert last_metrics(tmp_path / "nothing") == {}


def test_metrics_are_one_line_each_whatever_their_text(tmp_path: Path) -> None:
    with Run(tmp_path / "out", Recipe()) as run:
        run.log({"domain": "a\u2028b\nc", "step": 0})
        assert run.metrics() == [{"domain": "a\u2028b\nc", "step": 0}]


@pytest.mark.parametrize("function", ["write_tensors", "write_json"])
def test_a_full_disk_keeps_the_older_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, function: str) -> None:
    def full(path: Path, _: Any) -> None:
        path.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    with Run(tmp_path / "out", Recipe()) as run:
        run.save_checkpoint(5, tensors(5), {})
        monkeypatch.setattr(baicai.run, function, full)
        with pytest.raises(MachineError, match=r"no space left while writing .*checkpoint-000000010: free some"):
            run.save_checkpoint(10, tensors(10), {})
        monkeypatch.undo()
    with Run(tmp_path / "out", Recipe()) as run:
        checkpoint = run.resume()
        assert checkpoint is not None
        assert checkpoint.state["step"] == 5
        assert torch.equal(checkpoint.tensors["x"], torch.full((3,), 5.0))
        assert sorted(entry.name for entry in run.folder.iterdir()) == [
            "checkpoint-000000005",
            "lock",
            "metrics.jsonl",
            "recipe.json",
        ]


def test_a_full_disk_while_logging_is_a_one_line_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with Run(tmp_path / "out", Recipe()) as run:
        monkeypatch.setattr(Path, "open", full)
        with pytest.raises(MachineError, match=r"no space left while writing .*metrics\.jsonl"):
            run.log({"step": 1})
        monkeypatch.undo()


def test_reading_the_state_of_a_run_does_not_prevent_it_from_starting(tmp_path: Path) -> None:
    Run(tmp_path / "out", Recipe()).close()
    with (tmp_path / "out.run" / "lock").open() as lock:
        assert lock_descriptor(lock.fileno(), blocking=False)  # as `run_state` does, for a moment
        timer = threading.Timer(0.03, lambda: unlock_descriptor(lock.fileno()))
        timer.start()
        with Run(tmp_path / "out", Recipe()) as run:
            assert run_state(run.folder) == "running"
        timer.join()
    assert run_state(run.folder) == "stopped"


def test_concurrent_readers_of_the_state_do_not_see_a_run(tmp_path: Path) -> None:
    folder = tmp_path / "out.run"
    Run(tmp_path / "out", Recipe()).close()
    with ThreadPoolExecutor(2) as pool:
        states = set(pool.map(lambda _: run_state(folder), range(50)))
    assert states == {"stopped"}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_does_not_release_the_run(tmp_path: Path) -> None:
    with Run(tmp_path / "out", Recipe()) as run:
        child = os.fork()
        if child == 0:
            run.close()
            os._exit(0)
        os.waitpid(child, 0)
        assert run_state(run.folder) == "running"
    assert run_state(run.folder) == "stopped"


def test_a_partial_checkpoint_is_removed(tmp_path: Path) -> None:
    with Run(tmp_path / "out", Recipe()) as run:
        run.save_checkpoint(5, tensors(5), {})
        (run.folder / ".checkpoint-000000010.0123abcd.part").mkdir()
        (run.folder / ".metrics.jsonl.0123abcd.part").write_text("")
        checkpoint = run.resume()
        assert checkpoint is not None
        assert checkpoint.state["step"] == 5
        assert not list(run.folder.glob(".*.part"))


@pytest.mark.parametrize("damage", ["state.json", "state.safetensors"])
def test_a_damaged_checkpoint_is_a_one_line_error(tmp_path: Path, damage: str) -> None:
    with Run(tmp_path / "out", Recipe()) as run:
        run.save_checkpoint(5, tensors(5), {})
        (run.folder / "checkpoint-000000005" / damage).write_bytes(b"{")
        with pytest.raises(ArtefactError, match=damage):
            run.resume()


def test_a_changed_bit_in_a_checkpoint_is_detected(tmp_path: Path) -> None:
    with Run(tmp_path / "out", Recipe()) as run:
        run.save_checkpoint(5, tensors(5), {})
        file = run.folder / "checkpoint-000000005" / "state.safetensors"
        content = bytearray(file.read_bytes())
        content[-1] ^= 1
        file.write_bytes(content)
        with pytest.raises(ArtefactError, match=r"state\.safetensors is damaged"):
            run.resume()


def test_inputs_may_not_change_once_the_run_has_made_progress(tmp_path: Path) -> None:
    with Run(tmp_path / "out", Recipe()) as run:
        run.record_inputs({"trunk": "a", "data law": "b"})
        (run.scratch() / "stream").write_text("of trunk a")
        run.record_inputs({"trunk": "c", "data law": "b"})
        assert not list(run.scratch().iterdir()), "nothing was trained yet, only what the old trunk said is dropped"
        (run.scratch() / "stream").write_text("of trunk c")
        run.save_checkpoint(1, tensors(1), {})
        run.record_inputs({"trunk": "c", "data law": "b"})
        with pytest.raises(ArtefactError, match=r"begun with another 'data law' at the same path"):
            run.record_inputs({"trunk": "c", "data law": "d"})
        assert (run.scratch() / "stream").exists()
        run.finish()
        assert not (run.folder / "scratch").exists()


def test_progress_is_printed_in_lines_unless_quiet(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def tell() -> str:
        with Progress("leaf law", 20, every_seconds=1000) as progress:
            progress.update(10, {"loss": 3.0})
            progress.update(20, {"loss": 2.34567, "step": 20})
        return capsys.readouterr().err

    assert tell() == ""
    monkeypatch.setenv("BAICAI_QUIET", "0")
    assert tell() == "leaf law loss=2.346 step=20\n"


def test_metrics_keep_full_precision(tmp_path: Path) -> None:
    with Run(tmp_path / "out", Recipe()) as run:
        run.log({"step": 1, "loss": 0.1 + 0.2})
        assert json.loads((run.folder / "metrics.jsonl").read_text())["loss"] == 0.1 + 0.2


def test_a_run_that_failed_early_accepts_a_corrected_recipe(tmp_path: Path) -> None:
    def refuse(config: Recipe, run: Run) -> None:
        (run.folder / "activations").mkdir()
        (run.folder / "activations" / "0.stream").write_text("of other text")
        raise ConfigError("cannot be")

    with pytest.raises(ConfigError, match="cannot be"):
        run_stage(refuse, Recipe(), tmp_path / "out")
    assert run_stage(write, Recipe(text="mended"), tmp_path / "out")
    assert not (tmp_path / "out.run" / "activations").exists(), "what belonged to the other recipe is gone"
    assert read_json(tmp_path / "out.run" / "recipe.json")["recipe"]["text"] == "mended"
