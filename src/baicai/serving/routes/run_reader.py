"""Runs on disk, as whoever follows them is told: what lies there is read, never written, and may be damaged."""

import json
import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any

from baicai.artefact import read_json
from baicai.config import from_table
from baicai.errors import ArtefactError, ConfigError
from baicai.evaluation.formatting import printable
from baicai.evaluation.results import EvaluationResults
from baicai.run import SUFFIX, run_state
from baicai.serving.errors import ApiError
from baicai.training.config import TrainConfig

MAX_DEPTH, MAX_FOLDERS, MAX_RUNS = 5, 10_000, 1000
"""How deep runs are looked for, in how many folders, and how many are told."""
MAX_NOTE_BYTES, MAX_RESULTS_BYTES, MAX_METRICS_BYTES = 2**20, 2**24, 2**24
MAX_COLUMNS = 64
LAST_BYTES = 2**16
"""What is read of a log to learn how it ends; more, if that does not reach back far enough."""
LAST_STEP = 2**53
Line = dict[str, Any]
Rows = dict[str, dict[str, float]]
"""Bits per byte by domain and by what was measured on it: the trunk, leaves, the joined model."""


def list_runs(root: str) -> list[dict[str, Any]]:
    """Return the runs under a folder, the newest first; no link is followed, and where no folder is named are none."""
    found = [_summary(name, folder) for name, folder in _runs(root)]
    return sorted(found, key=lambda run: (-run["updated"], run["id"]))


def show_run(root: str, name: str, after: int, points: int) -> dict[str, Any]:
    """Return a run with its recipe, what it logged after a step, at most so many points of it, and its quality.

    Raises: ApiError if there is none of that name.
    """
    folder = next((folder for one, folder in _runs(root) if one == name), None)
    if folder is None:
        raise ApiError(f"There is no run '{name}' here.", code="run_not_found", status=404)
    note, lines = _read(folder / "recipe.json", MAX_NOTE_BYTES), _lines(folder / "metrics.jsonl", after)
    out = folder.parent / folder.name.removesuffix(SUFFIX)
    results = _results(out)
    return {
        **_summary(name, folder),
        **{key: note.get(key) for key in ("recipe", "commit", "versions")},
        "metrics": _columns([line for line in lines if _step(line) > after], points),
        "bits_per_byte": results.get("bits_per_byte") or _of_card(out) or _so_far(lines),
        "routing": results.get("routing"),
        "summary": results.get("summary"),
    }


def _runs(root: str) -> Iterator[tuple[str, Path]]:
    """Yield name and folder of each run: its path under the root, without the ending."""
    return islice(_named(root), MAX_RUNS)


def _named(root: str) -> Iterator[tuple[str, Path]]:
    for at, names, _ in islice(os.walk(root), MAX_FOLDERS):
        folder = Path(at)
        for name in sorted(names):
            told = (folder / name).relative_to(root).as_posix().removesuffix(SUFFIX)
            if name.endswith(SUFFIX) and told.isprintable() and not (folder / name).is_symlink():
                yield told, folder / name
        deeper = len(folder.relative_to(root).parts) < MAX_DEPTH
        names[:] = [name for name in names if deeper and not name.endswith(SUFFIX)]


def _summary(name: str, folder: Path) -> dict[str, Any]:
    note, last = _read(folder / "recipe.json", MAX_NOTE_BYTES), _lines(folder / "metrics.jsonl", LAST_STEP)[-1:]
    recipe = note.get("recipe")
    return {
        "id": name,
        "object": "run",
        "stage": str(note.get("stage", "")),
        "state": run_state(folder),
        "created": _changed(folder / "recipe.json"),
        "updated": max(_changed(folder / file) for file in ("recipe.json", "metrics.jsonl", "done")),
        "steps": _steps(recipe.get("train")) if isinstance(recipe, dict) else None,
        "last": _numbers(last[0] if last else {}),
    }


def _steps(train: object) -> int | None:
    try:
        return from_table(TrainConfig, train, "train").steps
    except ConfigError:  # not a training, or one of another version
        return None


def _changed(path: Path) -> int:
    try:
        return int(path.lstat().st_mtime)
    except OSError:
        return 0


def _read(path: Path, most: int) -> dict[str, Any]:
    """Return what a file says; nothing if it is missing, damaged, too large or a link."""
    try:
        return read_json(path) if 0 < _size(path) <= most else {}
    except ArtefactError:
        return {}


def _size(path: Path) -> int:
    """Return the bytes of a file, 0 if it is none."""
    try:
        about = path.lstat()
    except OSError:
        return 0
    return about.st_size if stat.S_ISREG(about.st_mode) else 0


def _lines(path: Path, after: int) -> list[Line]:
    """Return the lines of a log, from about a step on; of a long one its beginning is left out."""
    size, most = min(_size(path), MAX_METRICS_BYTES), LAST_BYTES if after else MAX_METRICS_BYTES
    while True:
        found = list(_tail(path, most)) if size else []
        if most >= size or (found and _step(found[0]) <= after):
            return found
        most *= 8


def _tail(path: Path, most: int) -> Iterator[Line]:
    lines, cut = list[bytes](), False
    with suppress(OSError), path.open("rb") as file:  # it may have gone since
        cut = file.seek(0, os.SEEK_END) > most
        file.seek(-most if cut else 0, os.SEEK_END if cut else os.SEEK_SET)
        lines = file.read(most).splitlines(keepends=True)
    for line in lines[cut:]:
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):  # a kill cut it off, or it is being written
            continue
        if isinstance(value, dict):
            yield value


def _step(line: Mapping[str, Any]) -> int:
    step = line.get("step")
    return step if type(step) is int and 0 <= step < LAST_STEP else -1


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) < 1e300


def _numbers(values: Mapping[str, Any]) -> dict[str, float]:
    return {printable(name): value for name, value in values.items() if _is_number(value)}


def _columns(lines: Sequence[Line], points: int) -> dict[str, list[float | None]]:
    """Return what was logged as columns, one value a line, evenly thinned; the last line stays."""
    kept = lines[::-1][:: -(-len(lines) // points) or 1][::-1]
    every = [_numbers(line) for line in kept]
    names = list(dict.fromkeys(name for values in every for name in values))[:MAX_COLUMNS]
    return {name: [values.get(name) for values in every] for name in names}


def _results(out: Path) -> dict[str, Any]:
    """Return what an evaluation found, if that is what the run made."""
    results = {} if out.is_symlink() else _read(out / "results.json", MAX_RESULTS_BYTES)
    try:
        EvaluationResults.parse(results)
    except ArtefactError:
        return {}
    return results


def _of_card(out: Path) -> Rows:
    """Return what the card of a leaf says, if that is what the run made."""
    metrics = ({} if out.is_symlink() else _read(out / "leaf.json", MAX_RESULTS_BYTES)).get("metrics")
    rows = metrics.items() if isinstance(metrics, dict) else ()
    return {domain: _numbers(row) for domain, row in rows if isinstance(row, dict)}


def _so_far(lines: Sequence[Line]) -> Rows:
    """Return what an evaluation that goes on has logged."""
    rows: Rows = {}
    for line in lines:
        if "domain" in line:
            row = rows.setdefault(printable(str(line["domain"])), {})
            row |= _numbers({str(line.get("column")): line.get("bits_per_byte")})
    return rows
