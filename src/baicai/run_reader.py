"""Reads the state, metrics and results of runs for display. Files may be damaged or incomplete."""

import json
import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any, TypedDict

from baicai.artefact import read_json
from baicai.config import from_table
from baicai.errors import ArtefactError, ConfigError
from baicai.evaluation.formatting import printable
from baicai.evaluation.results import EvaluationResults
from baicai.run import SUFFIX, run_state
from baicai.training.config import TrainConfig

MAX_DEPTH, MAX_FOLDERS, MAX_RUNS = 5, 10_000, 1000
"""Limits of the search for runs: depth, number of folders, and number of runs."""
MAX_RECIPE_BYTES, MAX_RESULTS_BYTES, MAX_METRICS_BYTES = 2**20, 2**24, 2**24
MAX_COLUMNS = 64
TAIL_BYTES = 2**16
"""Bytes read first from the end of a log; more are read if they do not reach back far enough."""
LAST_STEP = 2**53
Line = dict[str, Any]
"""A line of `metrics.jsonl`."""
BitsPerByte = dict[str, dict[str, float]]
"""Bits per byte by domain and by what was measured on it: the trunk, leaves, the joined model."""


class RunSummary(TypedDict):
    """A run in the list of runs."""

    id: str
    """Path under the root, without `.run`."""
    object: str
    stage: str
    state: str
    created: int
    updated: int
    steps: int | None
    """Number of training steps; None if the run is not a training."""
    last: dict[str, float]
    """Numbers in the last line of its log."""


class RunDetails(RunSummary):
    """A run with its recipe, its metrics and its results."""

    recipe: object
    commit: object
    versions: object
    metrics: dict[str, list[float | None]]
    """Columns of the log, all of the same length."""
    bits_per_byte: BitsPerByte
    routing: object
    summary: object


def list_runs(root: str) -> list[RunSummary]:
    """List the runs under a folder, newest first. Links are not followed; an empty `root` has no runs."""
    summaries = [_summarize(name, folder) for name, folder in _find_runs(root)]
    return sorted(summaries, key=lambda run: (-run["updated"], run["id"]))


def read_run(root: str, name: str, after_step: int, max_points: int) -> RunDetails:
    """Read a run.

    Args:
        root: folder that contains the run.
        name: path of the run under `root`, without `.run`.
        after_step: only metrics after this step are returned.
        max_points: maximum number of points of metrics.

    Raises: ArtefactError if the run does not exist.
    """
    folder = next((folder for run_name, folder in _find_runs(root) if run_name == name), None)
    if folder is None:
        raise ArtefactError(f"run '{name}' not found in {root}")
    recipe_file = _read_json(folder / "recipe.json", MAX_RECIPE_BYTES)
    lines = _read_log(folder / "metrics.jsonl", after_step)
    artefact = folder.parent / folder.name.removesuffix(SUFFIX)
    results = _read_results(artefact)
    return {
        **_summarize(name, folder),
        "recipe": recipe_file.get("recipe"),
        "commit": recipe_file.get("commit"),
        "versions": recipe_file.get("versions"),
        "metrics": _to_columns([line for line in lines if _step(line) > after_step], max_points),
        "bits_per_byte": results.get("bits_per_byte") or _leaf_quality(artefact) or _logged_quality(lines),
        "routing": results.get("routing"),
        "summary": results.get("summary"),
    }


def _find_runs(root: str) -> Iterator[tuple[str, Path]]:
    """Yield name and folder of each run, up to the limits; the name is its path under the root without the suffix."""
    return islice(_walk(root), MAX_RUNS)


def _walk(root: str) -> Iterator[tuple[str, Path]]:
    for path, names, _ in islice(os.walk(root), MAX_FOLDERS):
        parent = Path(path)
        for name in sorted(names):
            run_name = (parent / name).relative_to(root).as_posix().removesuffix(SUFFIX)
            if name.endswith(SUFFIX) and run_name.isprintable() and not (parent / name).is_symlink():
                yield run_name, parent / name
        descend = len(parent.relative_to(root).parts) < MAX_DEPTH
        names[:] = [name for name in names if descend and not name.endswith(SUFFIX)]


def _summarize(name: str, folder: Path) -> RunSummary:
    recipe_file = _read_json(folder / "recipe.json", MAX_RECIPE_BYTES)
    last_lines = _read_log(folder / "metrics.jsonl", LAST_STEP)[-1:]
    recipe = recipe_file.get("recipe")
    return {
        "id": name,
        "object": "run",
        "stage": str(recipe_file.get("stage", "")),
        "state": run_state(folder),
        "created": _modified(folder / "recipe.json"),
        "updated": max(_modified(folder / file) for file in ("recipe.json", "metrics.jsonl", "done")),
        "steps": _num_steps(recipe.get("train")) if isinstance(recipe, dict) else None,
        "last": _numbers(last_lines[0] if last_lines else {}),
    }


def _num_steps(train: object) -> int | None:
    try:
        return from_table(TrainConfig, train, "train").steps
    except ConfigError:  # The run is not a training, or was made by another version.
        return None


def _modified(path: Path) -> int:
    try:
        return int(path.lstat().st_mtime)
    except OSError:
        return 0


def _read_json(path: Path, max_bytes: int) -> dict[str, Any]:
    """Read a JSON file; empty if it is missing, damaged, too large or a link."""
    try:
        return read_json(path) if 0 < _size(path) <= max_bytes else {}
    except ArtefactError:
        return {}


def _size(path: Path) -> int:
    """Return the size of a regular file in bytes, 0 for anything else."""
    try:
        status = path.lstat()
    except OSError:
        return 0
    return status.st_size if stat.S_ISREG(status.st_mode) else 0


def _read_log(path: Path, after_step: int) -> list[Line]:
    """Read the lines of a log from about `after_step` on; the beginning of a long log is left out."""
    size, num_bytes = min(_size(path), MAX_METRICS_BYTES), TAIL_BYTES if after_step else MAX_METRICS_BYTES
    while True:
        lines = list(_read_tail(path, num_bytes)) if size else []
        if num_bytes >= size or (lines and _step(lines[0]) <= after_step):
            return lines
        num_bytes *= 8


def _read_tail(path: Path, num_bytes: int) -> Iterator[Line]:
    lines, truncated = list[bytes](), False
    with suppress(OSError), path.open("rb") as file:  # The file may have been removed.
        truncated = file.seek(0, os.SEEK_END) > num_bytes
        file.seek(-num_bytes if truncated else 0, os.SEEK_END if truncated else os.SEEK_SET)
        lines = file.read(num_bytes).splitlines(keepends=True)
    for line in lines[truncated:]:
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):  # The line was cut off by a kill, or is being written.
            continue
        if isinstance(value, dict):
            yield value


def _step(line: Line) -> int:
    step = line.get("step")
    return step if type(step) is int and 0 <= step < LAST_STEP else -1


def _is_number(value: object) -> bool:
    return type(value) in (int, float) and abs(value) < 1e300  # type: ignore[arg-type]


def _numbers(values: Mapping[str, Any]) -> dict[str, float]:
    return {printable(name): value for name, value in values.items() if _is_number(value)}


def _to_columns(lines: Sequence[Line], max_points: int) -> dict[str, list[float | None]]:
    """Convert a log to columns with one value per line, evenly thinned; the last line is kept."""
    thinned = lines[::-1][:: -(-len(lines) // max_points) or 1][::-1]
    rows = [_numbers(line) for line in thinned]
    names = list(dict.fromkeys(name for row in rows for name in row))[:MAX_COLUMNS]
    return {name: [row.get(name) for row in rows] for name in names}


def _read_results(artefact: Path) -> dict[str, Any]:
    """Read the results of an evaluation; empty if the run made something else."""
    results = {} if artefact.is_symlink() else _read_json(artefact / "results.json", MAX_RESULTS_BYTES)
    try:
        EvaluationResults.parse(results)
    except ArtefactError:
        return {}
    return results


def _leaf_quality(artefact: Path) -> BitsPerByte:
    """Read the quality from the card of a leaf; empty if the run made something else."""
    card = {} if artefact.is_symlink() else _read_json(artefact / "leaf.json", MAX_RESULTS_BYTES)
    metrics = card.get("metrics")
    rows = metrics.items() if isinstance(metrics, dict) else ()
    return {domain: _numbers(row) for domain, row in rows if isinstance(row, dict)}


def _logged_quality(lines: Sequence[Line]) -> BitsPerByte:
    """Collect what an unfinished evaluation has logged so far."""
    rows: BitsPerByte = {}
    for line in lines:
        if "domain" in line:
            row = rows.setdefault(printable(str(line["domain"])), {})
            row |= _numbers({str(line.get("column")): line.get("bits_per_byte")})
    return rows
