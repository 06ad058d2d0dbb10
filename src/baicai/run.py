"""A run: the folder `OUT.run` beside the artefact OUT, with all that is needed to resume it or to repeat it.

recipe.json    the stage, the resolved recipe, seed, versions and commit
metrics.jsonl  one line per logged step
inputs.json    hashes of what the recipe names by path
checkpoint-N   the state after step N (safetensors and JSON)
scratch        what the stage can make again; dropped at the end
done           written when the artefact is in place
"""

import contextlib
import fcntl
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal

import rich.progress
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
console = Console(stderr=True, highlight=False)


def notify(sentence: str) -> None:
    """Tell the user something, unless `BAICAI_QUIET=1`."""
    if os.environ.get("BAICAI_QUIET") != "1":
        console.print(sentence, soft_wrap=True)


def run_stage(stage: Callable[[Any, "Run"], None], recipe: object, out: Path) -> bool:
    """Run a stage to its end, from where it was left; False if its artefact was there already.

    Raises: ArtefactError if `out` was made by something else.
    """
    with Run(out, recipe) as run:
        if run.done:
            return False
        if not out.exists():  # else the last try was killed between writing it and saying so
            stage(recipe, run)
        run.finish()
        return True


class Run:
    """A stage at work on the artefact `out`. Only one process may hold it; close it, or use it as a context."""

    def __init__(self, out: Path, recipe: object) -> None:
        """Open or resume the run.

        Raises: ArtefactError if `out` was made by something else, the run was begun with another recipe, or another
        process is at work on it.
        """
        self.out = out
        self.folder = _folder(out)
        note = self.folder / "recipe.json"
        with explain_disk_errors(self.folder):
            if out.exists() and not note.exists():
                raise ArtefactError(f"{out} exists already: remove it or choose another --out")
            self.folder.mkdir(parents=True, exist_ok=True)
            self._lock = (self.folder / "lock").open("w")
        try:
            if not _taken(self._lock):
                raise ArtefactError(f"another process is at work on {out}: wait for it, or choose another --out")
            self._begin(recipe, note)
        except BaseException:
            self.close()
            raise

    def _begin(self, recipe: object, note: Path) -> None:
        table = to_table(recipe)
        for part in self.folder.glob(".*.part"):  # a kill left it: the lock is ours, so nobody is writing it
            shutil.rmtree(part) if part.is_dir() else part.unlink()
        if not note.exists():
            import torch

            versions = {"baicai": baicai.__version__, "torch": torch.__version__, "python": sys.version.split()[0]}
            stage = type(recipe).__name__.removesuffix("Recipe").lower()
            write_json(note, {"stage": stage, "recipe": table, "commit": _commit(), "versions": versions})
            return
        changed = _changed(read_json(note).get("recipe"), table)
        if changed and not self._begun():
            for entry in self.folder.iterdir():  # it failed before it began: nothing is lost by a mended recipe
                if entry.name != "lock":
                    shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
            return self._begin(recipe, note)
        if changed:
            raise ArtefactError(
                f"{self.folder} was begun with another '{changed}': choose another --out, or remove that folder"
            )
        remove_leftovers(self.out)
        metrics = self.folder / "metrics.jsonl"
        if metrics.exists() and not metrics.read_bytes().endswith(b"\n"):  # a kill cut the last line off
            write_atomic(metrics, b"".join(metrics.read_bytes().splitlines(keepends=True)[:-1]))

    def __enter__(self) -> "Run":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let another process have it."""
        self._lock.close()

    @property
    def done(self) -> bool:
        """Whether the artefact is in place."""
        return (self.folder / "done").exists() and self.out.exists()

    def _begun(self) -> bool:
        """Return whether it, or a run inside it, has made something already."""
        logged = (file.stat().st_size > 0 for file in self.folder.rglob("metrics.jsonl"))
        return self.out.exists() or any(logged) or any(self.folder.rglob("checkpoint-*"))

    def record_inputs(self, inputs: Mapping[str, str]) -> None:
        """Note the hashes of what the recipe names by path.

        Raises: ArtefactError if the run was begun with other content.
        """
        note = self.folder / "inputs.json"
        changed = _changed(read_json(note), dict(inputs)) if note.exists() else None
        if changed and self._begun():
            raise ArtefactError(
                f"{self.folder} was begun with another '{changed}' at the same path: choose another --out, or remove "
                "that folder"
            )
        if changed:
            shutil.rmtree(self.folder / "scratch", ignore_errors=True)
        write_json(note, dict(inputs))

    def scratch(self) -> Path:
        """Return a folder for what can be made again."""
        folder = self.folder / "scratch"
        with explain_disk_errors(folder):
            folder.mkdir(exist_ok=True)
        return folder

    def log(self, metrics: Mapping[str, Any]) -> None:
        """Append a line to metrics.jsonl."""
        path = self.folder / "metrics.jsonl"
        with explain_disk_errors(path), path.open("a") as file:
            file.write(json.dumps(metrics) + "\n")

    def metrics(self) -> list[dict[str, Any]]:
        """Return what was logged so far; a last line cut off by a kill is left out."""
        return _read_lines(self.folder / "metrics.jsonl")

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

    def resume(self) -> tuple[dict[str, "torch.Tensor"], dict[str, Any]] | None:
        """Return the newest checkpoint and cut metrics.jsonl back to it; None at the very beginning.

        Raises: ArtefactError if it is damaged.
        """
        for part in self.folder.glob(".*.part"):  # what a kill left half-written
            shutil.rmtree(part) if part.is_dir() else part.unlink()
        found = self.load_checkpoint()
        step = found[1]["step"] if found else 0
        kept = [json.dumps(line) + "\n" for line in self.metrics() if line.get("step", 0) <= step]
        write_atomic(self.folder / "metrics.jsonl", "".join(kept).encode())
        return found

    def load_checkpoint(self) -> tuple[dict[str, "torch.Tensor"], dict[str, Any]] | None:
        """Return the newest checkpoint.

        Raises: ArtefactError if it is damaged.
        """
        found = self._checkpoints()
        if not found:
            return None
        tensors, state = found[-1] / "state.safetensors", read_json(found[-1] / "state.json")
        if tensors.exists() and file_hash(tensors) != state.get("sha256"):
            raise ArtefactError(f"{tensors} is damaged: remove {self.folder} and begin again")
        return read_tensors(tensors), state

    def finish(self) -> None:
        """Mark the artefact as made and drop what was kept to resume."""
        write_atomic(self.folder / "done", b"")
        for entry in (*self._checkpoints(), self.folder / "scratch"):
            shutil.rmtree(entry, ignore_errors=True)

    def _checkpoints(self) -> list[Path]:
        return sorted(self.folder.glob("checkpoint-*"))


def last_metrics(out: Path) -> dict[str, Any]:
    """Return the newest metrics of the run that makes `out`, also while another process holds it."""
    lines = _read_lines(_folder(out) / "metrics.jsonl")
    return lines[-1] if lines else {}


def run_state(folder: Path) -> Literal["running", "done", "stopped"]:
    """Return how it stands with the run in a folder; whoever works on it is not disturbed."""
    if (folder / "done").exists() and (folder.parent / folder.name.removesuffix(SUFFIX)).exists():
        return "done"
    with contextlib.suppress(OSError), open(folder / "lock", opener=_at_once) as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return "running"
    return "stopped"


def _at_once(path: str, flags: int) -> int:
    """Open a file; a pipe of that name would else be waited for."""
    return os.open(path, flags | os.O_NONBLOCK)


def _changed(before: Any, now: Any, key: str = "") -> str | None:
    """Return the first key, with dots, in which two recipes differ."""
    if not (isinstance(before, dict) and isinstance(now, dict)):
        return None if before == now else key or "recipe"
    names = sorted(before.keys() | now.keys())
    found = (_changed(before.get(name), now.get(name), f"{key}.{name}" if key else name) for name in names)
    return next((one for one in found if one), None)


def _folder(out: Path) -> Path:
    return out.parent / f"{out.name}{SUFFIX}"


def _taken(lock: IO[str]) -> bool:
    """Take a lock, unless another process holds it for longer than `run_state` does."""
    for pause_seconds in (0.1, 0):
        with contextlib.suppress(OSError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        time.sleep(pause_seconds)
    return False


def _read_lines(path: Path) -> list[dict[str, Any]]:
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    return [json.loads(line) for line in lines if line.endswith("\n")]


def _commit() -> str | None:
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        here = Path(__file__).parent
        asked = subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=here, capture_output=True, text=True, timeout=5, check=True
        )
        return asked.stdout.strip()
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
        title: what the loop does, in a word or two.
        total: steps to the end; None if unknown.
        completed: steps that were done before.
        every_seconds: least time between two lines where there is no terminal.
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
