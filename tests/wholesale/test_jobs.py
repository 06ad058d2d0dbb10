"""Tests of the task pool: completed tasks are skipped, tasks of dead workers run again."""

import os
import signal
from pathlib import Path

import pytest

from baicai.artefact import atomic_folder
from baicai.errors import DataError
from baicai.wholesale.jobs import Task, run_tasks


def work(text: str, out: Path) -> None:
    with atomic_folder(out) as part:
        (part / "text").write_text(text)


def die_once(text: str, out: Path) -> None:
    marker = out.with_suffix(".died")
    if not marker.exists():
        marker.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    work(text, out)


def die(text: str, out: Path) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def fail(text: str, out: Path) -> None:
    raise DataError(f"{text} is wrong")


@pytest.mark.parametrize("workers", [1, 2])
def test_completed_tasks_are_skipped(tmp_path: Path, workers: int) -> None:
    tasks = [Task(work, (str(number),), tmp_path / str(number)) for number in range(5)]
    run_tasks("work", tasks[:2], workers)
    before = (tmp_path / "0" / "text").stat().st_mtime_ns
    run_tasks("work", tasks, workers)
    assert [(task.out / "text").read_text() for task in tasks] == list("01234")
    assert (tmp_path / "0" / "text").stat().st_mtime_ns == before


def test_task_of_a_dead_worker_runs_again(tmp_path: Path) -> None:
    tasks = [Task(die_once if number == 1 else work, (str(number),), tmp_path / str(number)) for number in range(4)]
    run_tasks("work", tasks, 2)
    assert [(task.out / "text").read_text() for task in tasks] == list("0123")


def test_error_names_the_task_that_kills_its_workers(tmp_path: Path) -> None:
    tasks = [Task(work, ("fine",), tmp_path / "fine"), Task(die, ("deadly",), tmp_path / "deadly")]
    with pytest.raises(DataError, match="work: processes died 3 times at deadly: leave it out"):
        run_tasks("work", tasks, 2)
    assert (tmp_path / "fine").exists()


@pytest.mark.parametrize("workers", [1, 2])
def test_error_of_a_task_is_raised_unchanged(tmp_path: Path, workers: int) -> None:
    tasks = [Task(fail, (name,), tmp_path / name) for name in ("this", "that")]
    with pytest.raises(DataError, match=r"th.. is wrong"):
        run_tasks("work", tasks, workers)
