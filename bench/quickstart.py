"""From a fresh clone to a model: how long `make quickstart` takes in a new folder and a new environment.

    python bench/quickstart.py

Clones the last commit, runs the command with nothing of an earlier run at hand (pip's own cache may be warm), and
writes `quickstart_seconds` into `bench/results/quality.json`.
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
    """Measure and write the figure."""
    with tempfile.TemporaryDirectory() as place:
        clone = Path(place) / "baicai"
        subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
        begun = time.monotonic()
        home = {"BAICAI_HOME": str(Path(place) / "home")}
        subprocess.run(["make", "quickstart"], cwd=clone, env=os.environ | home, check=True)
        seconds = time.monotonic() - begun
    print(f"quickstart_seconds {seconds:.0f}")
    write_json(RESULTS, read_json(RESULTS) | {"quickstart_seconds": round(seconds)})


if __name__ == "__main__":
    main()
