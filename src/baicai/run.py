"""A run: the folder `OUT.run` next to the artefact OUT, with everything needed to resume or repeat it.

recipe.json    the stage, the resolved recipe, versions and commit
metrics.jsonl  one line per logged step
inputs.json    hashes of the inputs that the recipe names by path
checkpoint-N   the training state after step N (safetensors and JSON)
scratch        files that the stage can make again; removed at the end
lock           held by the process at work
done           written when the artefact is in place
"""

import contextlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal, NamedTuple

import rich.progress
from filelock import lock_descriptor
from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeRemainingColumn

import baicai
from baicai.artefact import (
    atomic_folder,
    explain_disk_errors,
    file_hash,
    read_json,
    read_tensors,
    remove_leftovers,
    write_atomic,
    write_json,
    write_tensors,
)
from baicai.config import to_table
from baicai.errors import ArtefactError

if TYPE_CHECKING:
    import torch

SUFFIX = ".run"
RECIPE_FILE, METRICS_FILE, DONE_FILE = "recipe.json", "metrics.jsonl", "done"
LogLine = dict[str, Any]
"""One line of metrics.jsonl: numbers by name, and texts that say what was measured."""
console = Console(stderr=True, highlight=False)


class Checkpoint(NamedTuple):
    """A saved training state."""

    tensors: dict[str, "torch.Tensor"]
    state: dict[str, Any]
    """Plain values; `step` is among them."""


def notify(sentence: str) -> None:
    """Print a message for the user, unless `BAICAI_QUIET=1`."""
    if os.environ.get("BAICAI_QUIET") != "1":
        console.print(sentence, soft_wrap=True)


def run_folder(out: Path) -> Path:
    """Return the run folder of the artefact `out`."""
    return out.parent / f"{out.name}{SUFFIX}"


def artefact_path(folder: Path) -> Path:
    """Return the path of the artefact that the run in a folder makes."""
    return folder.parent / folder.name.removesuffix(SUFFIX)


def run_stage(stage: Callable[[Any, "Run"], None], recipe: object, out: Path) -> bool:
    """Run a stage to its end, resuming from its newest checkpoint.

    Example:
        run_stage(grow_leaf, GrowRecipe(name="law", trunk="out/trunk", data=sources), Path("out/law"))

    Returns: False if the artefact was already there, else True.
    Raises: ArtefactError if something else made `out`; whatever the stage raises.
    """
    with Run(out, recipe) as run:
        if run.done:
            return False
        if not out.exists():  # otherwise a kill came between writing the artefact and marking the run as done
            stage(recipe, run)
        run.finish()
        return True


class Run:
    """A stage at work on the artefact `out`, held by one process at a time. Close it, or use it as a context."""

    def __init__(self, out: Path, recipe: object) -> None:
        """Open or resume the run.

        Raises: ArtefactError if something else made `out`, if the run was begun with another recipe, or if another
        process is at work on it.
        """
        self.out = out
        self.folder = run_folder(out)
        with explain_disk_errors(self.folder):
            if out.exists() and not (self.folder / RECIPE_FILE).exists():
                raise ArtefactError(f"{out} already exists: remove it or choose another --out")
            self.folder.mkdir(parents=True, exist_ok=True)
            self._lock = (self.folder / "lock").open("w")
        try:
            if not _acquire(self._lock):
                raise ArtefactError(f"another process is at work on {out}: wait for it, or choose another --out")
            self._begin(recipe)
        except BaseException:
            self.close()
            raise

    def _begin(self, recipe: object) -> None:
        table, recipe_file = to_table(recipe), self.folder / RECIPE_FILE
        self._remove_partial_writes()
        if not recipe_file.exists():
            import torch

            versions = {"baicai": baicai.__version__, "torch": torch.__version__, "python": sys.version.split()[0]}
            stage = type(recipe).__name__.removesuffix("Recipe").lower()
            write_json(recipe_file, {"stage": stage, "recipe": table, "commit": _commit(), "versions": versions})
            return
        changed = _first_difference(read_json(recipe_file).get("recipe"), table)
        if changed and not self._has_progress():
            for entry in self.folder.iterdir():  # it failed before it began: a corrected recipe loses nothing
                if entry.name != "lock":
                    _remove(entry)
            return self._begin(recipe)
        if changed:
            raise ArtefactError(
                f"{self.folder} was begun with another '{changed}': choose another --out, or remove that folder"
            )
        remove_leftovers(self.out)
        metrics = self.folder / METRICS_FILE
        if metrics.exists() and not metrics.read_bytes().endswith(b"\n"):  # a kill cut the last line off
            write_atomic(metrics, b"".join(metrics.read_bytes().splitlines(keepends=True)[:-1]))

    def _remove_partial_writes(self) -> None:
        """Remove what a kill left half-written. We hold the lock, so no process is writing it."""
        for part in self.folder.glob(".*.part"):
            _remove(part)

    def __enter__(self) -> "Run":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Release the run for other processes."""
        # Closing releases the lock only with its last descriptor; an explicit unlock in a forked child would release
        # it for the parent, too.
        self._lock.close()

    @property
    def done(self) -> bool:
        """Whether the artefact is in place."""
        return (self.folder / DONE_FILE).exists() and self.out.exists()

    def _has_progress(self) -> bool:
        """Return whether the run, or a run inside its folder, has logged, saved or made something."""
        logged = (file.stat().st_size > 0 for file in self.folder.rglob(METRICS_FILE))
        return self.out.exists() or any(logged) or any(self.folder.rglob("checkpoint-*"))

    def record_inputs(self, inputs: Mapping[str, str]) -> None:
        """Record the hashes of the inputs that the recipe names by path.

        If they differ from those recorded before, scratch files are removed.

        Raises: ArtefactError if they differ and the run has already made progress.
        """
        file = self.folder / "inputs.json"
        changed = _first_difference(read_json(file), dict(inputs)) if file.exists() else None
        if changed and self._has_progress():
            raise ArtefactError(
                f"{self.folder} was begun with another '{changed}' at the same path: choose another --out, or remove "
                "that folder"
            )
        if changed:
            shutil.rmtree(self.folder / "scratch", ignore_errors=True)
        write_json(file, dict(inputs))

    def scratch(self) -> Path:
        """Return the folder for files that can be made again, creating it if needed."""
        folder = self.folder / "scratch"
        with explain_disk_errors(folder):
            folder.mkdir(exist_ok=True)
        return folder

    def log(self, metrics: Mapping[str, Any]) -> None:
        """Append a line to metrics.jsonl."""
        path = self.folder / METRICS_FILE
        with explain_disk_errors(path), path.open("a") as file:
            file.write(json.dumps(metrics) + "\n")

    def metrics(self) -> list[LogLine]:
        """Return the lines logged so far, without a last line that a kill cut off."""
        return _read_lines(self.folder / METRICS_FILE)

    def save_checkpoint(self, step: int, tensors: Mapping[str, "torch.Tensor"], state: Mapping[str, Any]) -> None:
        """Write a checkpoint, then remove the older ones.

        Raises: MachineError if the disk is full; the older checkpoint stays.
        """
        path = self.folder / f"checkpoint-{step:09d}"
        older = [entry for entry in self._checkpoints() if entry != path]
        if not path.exists():
            with atomic_folder(path) as part:
                write_tensors(part / "state.safetensors", tensors)
                digest = file_hash(part / "state.safetensors")
                write_json(part / "state.json", {"step": step, "sha256": digest, **state})
        for entry in older:
            shutil.rmtree(entry)

    def resume(self) -> Checkpoint | None:
        """Return the newest checkpoint, if any, and cut metrics.jsonl back to its step.

        Raises: ArtefactError if the checkpoint is damaged.
        """
        self._remove_partial_writes()
        checkpoint = self.load_checkpoint()
        step = checkpoint.state["step"] if checkpoint else 0
        lines = [json.dumps(line) + "\n" for line in self.metrics() if line.get("step", 0) <= step]
        write_atomic(self.folder / METRICS_FILE, "".join(lines).encode())
        return checkpoint

    def load_checkpoint(self) -> Checkpoint | None:
        """Return the newest checkpoint, if any.

        Raises: ArtefactError if it is damaged.
        """
        checkpoints = self._checkpoints()
        if not checkpoints:
            return None
        tensors, state = checkpoints[-1] / "state.safetensors", read_json(checkpoints[-1] / "state.json")
        if tensors.exists() and file_hash(tensors) != state.get("sha256"):
            raise ArtefactError(f"{tensors} is damaged: remove {self.folder} and begin again")
        return Checkpoint(read_tensors(tensors), state)

    def finish(self) -> None:
        """Mark the artefact as made, and remove checkpoints and scratch files."""
        write_atomic(self.folder / DONE_FILE, b"")
        for entry in (*self._checkpoints(), self.folder / "scratch"):
            shutil.rmtree(entry, ignore_errors=True)

    def _checkpoints(self) -> list[Path]:
        return sorted(self.folder.glob("checkpoint-*"))


def last_metrics(out: Path) -> LogLine:
    """Return the newest metrics of the run that makes `out`, also while another process holds it."""
    lines = _read_lines(run_folder(out) / METRICS_FILE)
    return lines[-1] if lines else {}


def run_state(folder: Path) -> Literal["running", "done", "stopped"]:
    """Return the state of the run in a folder, without disturbing a process that holds it."""
    if (folder / DONE_FILE).exists() and artefact_path(folder).exists():
        return "done"
    with contextlib.suppress(OSError), open(folder / "lock", opener=_open_nonblocking) as lock:
        if not _acquire(lock, pause_seconds=0.05):
            return "running"
    return "stopped"


def _open_nonblocking(path: str, flags: int) -> int:
    """Open a file without waiting for a writer, should it be a named pipe."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def _acquire(lock: IO[str], pause_seconds: float = 0.1) -> bool:
    """Lock a file; it is tried twice, since `run_state` of another process holds the lock for an instant."""
    for pause in (pause_seconds, 0):
        with contextlib.suppress(OSError):
            if lock_descriptor(lock.fileno(), blocking=False):
                return True
        time.sleep(pause)
    return False


def _first_difference(before: Any, now: Any, key: str = "") -> str | None:
    """Return the first key, with dots, in which two recipes differ."""
    if not (isinstance(before, dict) and isinstance(now, dict)):
        return None if before == now else key or "recipe"
    names = sorted(before.keys() | now.keys())
    changed = (_first_difference(before.get(name), now.get(name), f"{key}.{name}" if key else name) for name in names)
    return next((name for name in changed if name), None)


def _remove(path: Path) -> None:
    shutil.rmtree(path) if path.is_dir() else path.unlink()


def _read_lines(path: Path) -> list[LogLine]:
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    return [json.loads(line) for line in lines if line.endswith("\n")]


def _commit() -> str | None:
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        command = ["git", "rev-parse", "HEAD"]
        here = Path(__file__).parent
        result = subprocess.run(command, cwd=here, capture_output=True, text=True, timeout=5, check=True)
        return result.stdout.strip()
    return None


def _shows_bars() -> bool:
    """Whether a bar can be drawn: on a terminal, or in a notebook that has widgets."""
    return console.is_terminal or (console.is_jupyter and importlib.util.find_spec("ipywidgets") is not None)


class Progress:
    """Progress of a loop: a bar on a terminal or in a notebook, else a line from time to time.

    `BAICAI_QUIET=1` turns it off.

    Use it as a context manager, so that the bar is removed when the loop ends:

        with Progress("evaluate", total=8) as progress:
            progress.update(1, {"loss": 2.3})

    Args:
        title: short description of the loop.
        total: steps to the end; None if unknown.
        completed: steps that were done before.
        every_seconds: least time between two lines without a terminal.
    """

    def __init__(self, title: str, total: int | None, completed: int = 0, every_seconds: float = 15.0) -> None:
        self.title, self.total, self.every_seconds = title, total, every_seconds
        self._quiet = os.environ.get("BAICAI_QUIET") == "1"
        self._last = time.monotonic()
        self._ended = False
        self._bar: rich.progress.Progress | None = None
        if not self._quiet and _shows_bars():
            columns = TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[metrics]}")
            self._bar = rich.progress.Progress(*columns, TimeRemainingColumn(), console=console, transient=True)
            self._task = self._bar.add_task(title, total=total, completed=completed, metrics="")

    def __enter__(self) -> "Progress":
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def update(self, step: int, metrics: Mapping[str, Any]) -> None:
        """Show the newest metrics; `step` counts from the beginning of the loop."""
        text = " ".join(
            f"{key}={value:.4g}" if isinstance(value, float) else f"{key}={value}" for key, value in metrics.items()
        )
        if self._bar is not None:
            self._bar.update(self._task, completed=step, metrics=text)
            return
        now, ended = time.monotonic(), step == self.total
        if not self._quiet and (now - self._last >= self.every_seconds or ended > self._ended):
            self._last, self._ended = now, ended
            console.print(f"{self.title} {text}", soft_wrap=True)
