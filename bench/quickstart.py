"""Benchmark of `make quickstart`: seconds from a fresh clone to a model, in a new environment.

    python bench/quickstart.py

Clones the last commit, runs the command without the results of earlier runs (pip's own cache may be warm), and writes
`quickstart_seconds` to `bench/results/quality.json`.
"""

import os
import subprocess
import tempfile
import time
from pathlib import Path

from baicai.artefact import read_json, write_json

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "bench" / "results" / "quality.json"


def main() -> None:
    """Measure the duration and write it."""
    with tempfile.TemporaryDirectory() as folder:
        clone = Path(folder) / "baicai"
        subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
        start = time.monotonic()
        home = {"BAICAI_HOME": str(Path(folder) / "home")}
        subprocess.run(["make", "quickstart"], cwd=clone, env=os.environ | home, check=True)
        seconds = time.monotonic() - start
    print(f"quickstart_seconds {seconds:.0f}")
    write_json(RESULTS, read_json(RESULTS) | {"quickstart_seconds": round(seconds)})


if __name__ == "__main__":
    main()
