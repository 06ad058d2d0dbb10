"""Peak memory of the wholesale commands and duration of a takedown in a large warehouse, for `wholesale.py`.

The corpus and everything derived from it, 40 GB, are stored in the temporary folder (set TMPDIR to choose the disk).
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
    """Measure the peak memory of gather, publish and pull, each as a command, on 1 and on 10 GB of pages."""
    large_corpus(FOLDER / "pages", max(GIGABYTES))
    results: dict[str, Any] = {"memory": {}}
    for gigabytes in GIGABYTES:
        results["memory"][f"{gigabytes} GB"] = steps = _run_chain(gigabytes)
        results[f"peak_memory_mb_{gigabytes}gb"] = max(step["all_mb"] for step in steps.values())
    return results | {"peak_memory_mb": max(results[f"peak_memory_mb_{gigabytes}gb"] for gigabytes in GIGABYTES)}


def measure_takedown() -> dict[str, Any]:
    """Measure the time from a takedown request to the affected leaf, in a warehouse of a million documents.

    The leaf is a card with the receipt of everything that was pulled. Each step is a command, including its start-up.
    The leaf is flagged twice: immediately, for the documents of the request, and after the next release and pull.
    """
    folder = FOLDER / f"{max(GIGABYTES)}gb"
    warehouse, release, subscription = (folder / name for name in ("warehouse", "release", "subscription"))
    missing = DOCUMENTS - _documents(warehouse)
    if missing > 0:
        add(folder, range(missing))
        _run_timed("publish", f"warehouse={warehouse}", "--out", str(release))
        _run_timed("pull", f"source={release}", "--out", str(subscription))
    receipt = read_json(subscription / "documents" / RECEIPT_FILE)
    write_json(folder / "leaf" / "leaf.json", {"kind": "leaf", "hash": "0" * 64, "data": [{"receipt": receipt}]})
    affected = ("affected", f"subscription={subscription}", f'artefacts=["{folder / "leaf"}"]')
    first = warehouse / "documents" / Warehouse(warehouse).gathered_files()[0].task / "documents.parquet"
    rows = pq.ParquetFile(first).read_row_group(0, columns=["url", "host", "text"]).to_pylist()
    (folder / "text.txt").write_text(rows[1]["text"])
    steps_by_key: dict[str, Any] = {}
    criteria = {
        "url": f"url={rows[0]['url']}",
        "text": f"text_file={folder / 'text.txt'}",
        "host": f"host={rows[2]['host']}",
    }
    for key, criterion in criteria.items():
        _, takedown = _run_timed("takedown", f"warehouse={warehouse}", criterion)
        ids = Warehouse(warehouse).takedowns()[-1].documents
        before, affected_seconds = _run_timed(*affected, f"document_ids={json.dumps(ids)}")
        _, published = _run_timed("publish", f"warehouse={warehouse}", "--out", str(release))
        _, pulled = _run_timed("pull", f"source={release}", "--out", str(subscription))
        after, affected_later = _run_timed(*affected)
        assert len(before["trained"]) == len(after["trained"]) == 1, "the leaf was trained on it"
        steps_by_key[key] = {
            "taken_back": len(ids),
            "takedown": takedown,
            "affected": affected_seconds,
            "publish": published,
            "pull": pulled,
            "affected_later": affected_later,
        }
        print(f"takedown by {key}: {steps_by_key[key]}", flush=True)
    immediate = max(steps["takedown"] + steps["affected"] for steps in steps_by_key.values())
    chain = ("takedown", "publish", "pull", "affected_later")
    released = max(sum(steps[name] for name in chain) for steps in steps_by_key.values())
    steps_by_key["documents"] = _documents(warehouse)
    return {"takedown": steps_by_key, "takedown_seconds": immediate, "takedown_released_seconds": released}


def _documents(warehouse: Path) -> int:
    reports = [warehouse / "documents" / file.task / "report.json" for file in Warehouse(warehouse).gathered_files()]
    return sum(int(read_json(report)["documents"]) for report in reports)


def _run_timed(*words: str) -> tuple[dict[str, Any], float]:
    """Run a command and return its JSON output and its duration in seconds."""
    start = time.perf_counter()
    command = [sys.executable, "-m", "baicai", "data", *words, "--json"]
    output = subprocess.run(command, env=_environment(), stdout=subprocess.PIPE, check=True).stdout
    return json.loads(output), round(time.perf_counter() - start, 2)


def _environment() -> dict[str, str]:
    return os.environ | {"BAICAI_HOME": str(FOLDER / "home"), "BAICAI_QUIET": "1"}


def _run_chain(gigabytes: int) -> dict[str, dict[str, float]]:
    """Gather, publish and pull the first files of the corpus and return the peak memory of each step."""
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
    peaks = {}
    for name, words in steps.items():
        peak = peak_of("data", *words)
        print(f"{gigabytes} GB, {name}: {peak}", flush=True)
        peaks[name] = peak._asdict()
    return peaks


class Peak(NamedTuple):
    """Peak memory of a command in megabytes (10^6 bytes), sampled five times per second."""

    all_mb: float
    """All its processes together; shared pages count once."""
    resident_mb: float
    """All its processes together; shared pages count in each process."""
    one_mb: float
    """The largest process, as reported by the kernel."""
    seconds: float


def peak_of(*words: str) -> Peak:
    """Run a baicai command and return its peak memory."""
    start = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-m", "baicai", *words], env=_environment())
    total, resident, largest = 0, 0, 0
    while process.poll() is None:
        processes = [_memory(pid) for pid in _process_tree(process.pid)]
        total = max(total, sum(fields.get("Pss", 0) for fields in processes))
        resident = max(resident, sum(fields.get("Rss", 0) for fields in processes))
        largest = max([largest, *(fields.get("VmHWM", 0) for fields in processes)])
        time.sleep(POLL_SECONDS)
    if process.returncode:
        raise SystemExit(f"baicai {' '.join(words)} failed")
    megabytes = (round(kibibytes * 1024 / 1e6, 1) for kibibytes in (total, resident, largest))
    return Peak(*megabytes, round(time.perf_counter() - start, 1))


def _process_tree(pid: int) -> list[int]:
    """Return the ids of a process and all its descendants."""
    pids = [pid]
    for parent in pids:
        for children in Path(f"/proc/{parent}/task").glob("*/children"):
            with contextlib.suppress(OSError):
                pids += [int(child) for child in children.read_text().split()]
    return pids


def _memory(pid: int) -> dict[str, int]:
    """Return the memory fields of a process in KiB; empty if it has exited."""
    fields: dict[str, int] = {}
    with contextlib.suppress(OSError):
        for name in ("status", "smaps_rollup"):
            lines = (line.split() for line in Path(f"/proc/{pid}/{name}").read_text().splitlines())
            fields |= {line[0].rstrip(":"): int(line[1]) for line in lines if line[-1:] == ["kB"]}
    return fields
