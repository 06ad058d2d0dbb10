"""Tests of the pool that trains several runs at once."""

import os
import signal
import time
from pathlib import Path

import pytest

from baicai.artefact import atomic_folder
from baicai.config import recipe
from baicai.errors import ArtefactError, MachineError
from baicai.run import Run
from baicai.training.job_pool import Job, run_jobs


@recipe
class Recipe:
    """What `act` does."""

    act: str = "write"
    seconds: float = 0.0


def act(config: Recipe, run: Run) -> None:
    """Run a stage that the worker processes import."""
    import torch

    if config.act == "fail":
        raise ArtefactError("leaf 'law' was grown on another trunk: grow it again")
    if config.act == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if config.act == "measure":
        run.log({"step": 1, "held_out": 2.0})
    time.sleep(config.seconds)
    run.log({"step": 2, "loss": 1.5, "tokens_per_second": 10})
    with atomic_folder(run.out) as part:
        (part / "threads").write_text(f"{torch.get_num_threads()} {os.environ['BAICAI_QUIET']}")


def jobs(folder: Path, *recipes: Recipe) -> list[Job]:
    return [Job(act, config, folder / str(number), steps=2) for number, config in enumerate(recipes)]


def test_all_jobs_finish_and_share_the_cores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("BAICAI_QUIET", "0")
    two = jobs(tmp_path, Recipe(), Recipe(seconds=0.01))
    run_jobs("leaves", two, workers=2)
    share = max(1, (os.cpu_count() or 1) // 2)
    assert [(job.out / "threads").read_text() for job in two] == [f"{share} 1"] * 2
    assert all((tmp_path / f"{job.out.name}.run" / "done").exists() for job in two)
    assert capsys.readouterr().err.endswith("leaves ready=2/2\n")


def test_run_whose_newest_metrics_are_not_a_step_is_awaited(tmp_path: Path) -> None:
    (job,) = jobs(tmp_path, Recipe(act="measure", seconds=1.2))
    run_jobs("jobs", [job], workers=1)
    assert job.out.exists()


def test_error_of_a_job_is_raised_unchanged_and_cancels_the_queue(tmp_path: Path) -> None:
    slow = [Recipe(seconds=0.5)] * 6
    with pytest.raises(ArtefactError, match=r"^leaf 'law' was grown on another trunk: grow it again$"):
        run_jobs("leaves", jobs(tmp_path, Recipe(act="fail"), *slow), workers=1)
    assert not (tmp_path / "0").exists()
    assert not (tmp_path / "6").exists(), "queued jobs are not started"


def test_killed_process_is_reported_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(MachineError, match="leaves: a process was killed, memory may be short: run it again to resume"):
        run_jobs("leaves", jobs(tmp_path, Recipe(act="die")), workers=1)
