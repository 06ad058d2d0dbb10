"""Tests of tasks on a Ray cluster."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from baicai.config import read_recipe
from baicai.errors import MachineError
from baicai.wholesale.gather import GatherRecipe, gather
from baicai.wholesale.jobs import Task, run_tasks
from baicai.wholesale.release.publish import PublishRecipe, publish
from tests.wholesale.test_jobs import work
from tests.wholesale.test_release import NOW, write_pages

pytest.importorskip("ray", reason="ray is not installed")
ROOT = Path(__file__).parents[2]
SOURCES = 6


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sources")
    text = "workers = 1\n"
    for number in range(SOURCES):
        write_pages(
            folder / str(number), range(number * 10, number * 10 + 12)
        )  # two pages are in the next source as well
        text += f'[[sources]]\npath = "{folder / str(number)}"\nbase_url = "https://books.example/{number}"\n'
    (folder / "recipe.toml").write_text(text)
    return folder / "recipe.toml"


@pytest.fixture(scope="module")
def local_release(recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("local")
    gather(read_recipe(GatherRecipe, recipe), folder / "warehouse")
    return released(folder)


def released(folder: Path) -> dict[str, bytes]:
    """Publish a warehouse and return the files of its release."""
    publish(PublishRecipe(warehouse=str(folder / "warehouse")), folder / "release", NOW)
    files = sorted(path for path in (folder / "release").rglob("*") if path.is_file())
    return {str(path.relative_to(folder / "release")): path.read_bytes() for path in files}


def on_cluster(recipe: Path, folder: Path, *words: str) -> Any:
    program = [sys.executable, "-m", "tests.wholesale.ray_cluster", str(recipe), str(folder / "warehouse"), *words]
    completed = subprocess.run(program, cwd=ROOT, capture_output=True, text=True, timeout=200)
    assert completed.returncode == 0, completed.stderr
    return json.loads(completed.stdout.splitlines()[-1])


def test_cluster_makes_the_same_release_as_one_process(
    recipe: Path, local_release: dict[str, bytes], tmp_path: Path
) -> None:
    report = on_cluster(recipe, tmp_path)
    assert (report["machines"], report["tries"]) == (2, SOURCES)
    assert released(tmp_path) == local_release


def test_losing_a_machine_loses_no_document(recipe: Path, local_release: dict[str, bytes], tmp_path: Path) -> None:
    report = on_cluster(recipe, tmp_path, "kill")
    assert report["tries"] == SOURCES + 1, "one task started twice"
    assert released(tmp_path) == local_release


def test_missing_cluster_is_reported(tmp_path: Path) -> None:
    with pytest.raises(MachineError, match=r"no Ray cluster at nowhere.*: start one \(ray start --head\)"):
        run_tasks("work", [Task(work, ("x",), tmp_path / "x")], 1, "nowhere")
