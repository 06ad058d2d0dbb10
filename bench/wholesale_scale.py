"""How much memory `wholesale.py`'s commands take, and how long a takedown does, in a large warehouse.

A folder in the temporary one (set TMPDIR to choose the disk) gets the corpus and all that is made of it: 40 GB.
"""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow.parquet as pq

from baicai.artefact import read_json, write_json
from baicai.data.manifest import RECEIPT_FILE
from baicai.wholesale.release.warehouse import Warehouse
from wholesale_pages import add, large_corpus

FOLDER = Path(tempfile.gettempdir()) / "wholesale"
GIGABYTES = (1, 10)
DOCUMENTS = 1_000_000
POLL_SECONDS = 0.2


def measure_memory() -> dict[str, Any]:
    """The most memory of gather, publish and pull, each a command of its own, of pages of 1 and of 10 GB."""
    large_corpus(FOLDER / "pages", max(GIGABYTES))
    found: dict[str, Any] = {"memory": {}}
    for gigabytes in GIGABYTES:
        found["memory"][f"{gigabytes} GB"] = steps = _chain(gigabytes)
        found[f"peak_memory_mb_{gigabytes}gb"] = max(step["all_mb"] for step in steps.values())
    return found | {"peak_memory_mb": max(found[f"peak_memory_mb_{gigabytes}gb"] for gigabytes in GIGABYTES)}


def measure_takedown() -> dict[str, Any]:
    """From a request to the leaf that saw the text, in a warehouse of a million documents.

    The leaf is a card with the receipt of all that was pulled. Each step is a command, its start included. The leaf is
    flagged twice: at once, for the documents that the request names, and after the next release and a pull.
    """
    folder = FOLDER / f"{max(GIGABYTES)}gb"
    warehouse, release, subscription = (folder / name for name in ("warehouse", "release", "subscription"))
    missing = DOCUMENTS - _documents(warehouse)
    if missing > 0:
        add(folder, range(missing))
        _told("publish", f"warehouse={warehouse}", "--out", str(release))
        _told("pull", f"source={release}", "--out", str(subscription))
    receipt = read_json(subscription / "documents" / RECEIPT_FILE)
    write_json(folder / "leaf" / "leaf.json", {"kind": "leaf", "hash": "0" * 64, "data": [{"receipt": receipt}]})
    ask = ("affected", f"subscription={subscription}", f'artefacts=["{folder / "leaf"}"]')
    first = warehouse / "documents" / Warehouse(warehouse).gathered_files()[0].task / "documents.parquet"
    rows = pq.ParquetFile(first).read_row_group(0, columns=["url", "host", "text"]).to_pylist()
    (folder / "text.txt").write_text(rows[1]["text"])
    found: dict[str, Any] = {}
    for key, value in (("url", rows[0]["url"]), ("text", folder / "text.txt"), ("host", rows[2]["host"])):
        _, noted = _told("takedown", f"warehouse={warehouse}", f"{key}={value}")
        ids = Warehouse(warehouse).takedowns()[-1].documents
        at_once, flagged = _told(*ask, f"documents={json.dumps(ids)}")
        _, published = _told("publish", f"warehouse={warehouse}", "--out", str(release))
        _, pulled = _told("pull", f"source={release}", "--out", str(subscription))
        later, again = _told(*ask)
        assert len(at_once["trained"]) == len(later["trained"]) == 1, "the leaf saw it"
        steps = {"takedown": noted, "affected": flagged, "publish": published, "pull": pulled, "affected_later": again}
        found[key] = {"taken_back": len(ids), **steps}
        print(f"takedown by {key}: {found[key]}", flush=True)
    soon = max(one["takedown"] + one["affected"] for one in found.values())
    whole = max(sum(one[name] for name in ("takedown", "publish", "pull", "affected_later")) for one in found.values())
    found["documents"] = _documents(warehouse)
    return {"takedown": found, "takedown_seconds": soon, "takedown_released_seconds": whole}


def _documents(warehouse: Path) -> int:
    reports = [warehouse / "documents" / batch.task / "report.json" for batch in Warehouse(warehouse).gathered_files()]
    return sum(int(read_json(report)["documents"]) for report in reports)


def _told(*words: str) -> tuple[dict[str, Any], float]:
    """Return what a command says and how many seconds it took."""
    begun = time.perf_counter()
    command = [sys.executable, "-m", "baicai", "data", *words, "--json"]
    told = subprocess.run(command, env=_environment(), stdout=subprocess.PIPE, check=True).stdout
    return json.loads(told), round(time.perf_counter() - begun, 2)


def _environment() -> dict[str, str]:
    return os.environ | {"BAICAI_HOME": str(FOLDER / "home"), "BAICAI_QUIET": "1"}


def _chain(gigabytes: int) -> dict[str, dict[str, float]]:
    """Gather, publish and pull the first gigabytes, and return what each step took."""
    folder = FOLDER / f"{gigabytes}gb"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    files = sorted((FOLDER / "pages").iterdir())[:gigabytes]
    tables = [
        f'[[sources]]\npath = "{file}"\nclean = {{ domain = "{file.stem}", licence = "MIT" }}\n' for file in files
    ]
    (folder / "gather.toml").write_text("\n".join(tables))
    warehouse, release = str(folder / "warehouse"), str(folder / "release")
    steps = {
        "gather": ("gather", str(folder / "gather.toml"), "--out", warehouse),
        "publish": ("publish", f"warehouse={warehouse}", "--out", release),
        "pull": ("pull", f"source={release}", "--out", str(folder / "subscription")),
    }
    found = {}
    for name, words in steps.items():
        peak = peak_of("data", *words)
        print(f"{gigabytes} GB, {name}: {peak}", flush=True)
        found[name] = peak._asdict()
    return found


class Peak(NamedTuple):
    """The most memory that a command took, in megabytes (10^6 bytes), looked at five times a second."""

    all_mb: float
    """Of all its processes together; what they share counts once."""
    resident_mb: float
    """The same, but what they share counts in each."""
    one_mb: float
    """Of the process that took the most, as the system keeps count."""
    seconds: float


def peak_of(*words: str) -> Peak:
    """Carry out a command of baicai and return what memory it took."""
    begun = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-m", "baicai", *words], env=_environment())
    most, resident, one = 0, 0, 0
    while process.poll() is None:
        found = [_memory(number) for number in _family(process.pid)]
        most = max(most, sum(fields.get("Pss", 0) for fields in found))
        resident = max(resident, sum(fields.get("Rss", 0) for fields in found))
        one = max([one, *(fields.get("VmHWM", 0) for fields in found)])
        time.sleep(POLL_SECONDS)
    if process.returncode:
        raise SystemExit(f"baicai {' '.join(words)} failed")
    megabytes = (round(kibibytes * 1024 / 1e6, 1) for kibibytes in (most, resident, one))
    return Peak(*megabytes, round(time.perf_counter() - begun, 1))


def _family(number: int) -> list[int]:
    """Return a process and those that it started, and so on."""
    found = [number]
    for one in found:
        for children in Path(f"/proc/{one}/task").glob("*/children"):
            with contextlib.suppress(OSError):
                found += [int(child) for child in children.read_text().split()]
    return found


def _memory(number: int) -> dict[str, int]:
    """Return what the system tells of a process's memory, in KiB; nothing if it is gone."""
    fields: dict[str, int] = {}
    with contextlib.suppress(OSError):
        for name in ("status", "smaps_rollup"):
            lines = (line.split() for line in Path(f"/proc/{number}/{name}").read_text().splitlines())
            fields |= {line[0].rstrip(":"): int(line[1]) for line in lines if line[-1:] == ["kB"]}
    return fields
