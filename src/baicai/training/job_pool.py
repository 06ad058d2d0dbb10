"""Runs several training stages at once, each in a process of its own.

On a small machine two runs with half of the cores each finish sooner than the same runs one after the other.
`wholesale.jobs` is a separate pool: its tasks are retried, may run on a Ray cluster, and share nothing with a run.
"""

import multiprocessing
import os
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from baicai.errors import MachineError
from baicai.run import Progress, Run, last_metrics, run_stage


@dataclass(frozen=True)
class Job:
    """A stage to run."""

    stage: Callable[[Any, Run], None]
    recipe: Any
    out: Path
    steps: int
    """Number of optimizer steps."""


def run_jobs(title: str, jobs: Sequence[Job], workers: int) -> None:
    """Run the jobs, longest first, `workers` at a time, each with an equal share of the cores.

    Finished artefacts are kept if a later job fails.

    Raises: the first error of a job, after the running jobs have ended; MachineError if a process was killed.
    """
    threads = max(1, (os.cpu_count() or 1) // workers)
    context = multiprocessing.get_context("spawn")
    total = sum(job.steps for job in jobs)
    with ProcessPoolExecutor(workers, context, _initialize, (threads, os.getpid())) as pool:
        longest_first = sorted(jobs, key=lambda job: -job.steps)
        futures = pending = {pool.submit(run_stage, job.stage, job.recipe, job.out) for job in longest_first}
        progress = Progress(title, total)
        try:
            with progress:
                while pending:
                    finished, pending = wait(pending, timeout=0.5, return_when=FIRST_COMPLETED)
                    for future in finished:
                        future.result()
                    progress.update(*_progress(jobs))
        except BrokenProcessPool:
            raise MachineError(f"{title}: a process was killed, memory may be short: run it again to resume") from None
        finally:
            for future in futures:
                future.cancel()


def _progress(jobs: Sequence[Job]) -> tuple[int, dict[str, Any]]:
    lines = [last_metrics(job.out) for job in jobs]
    ready = sum(job.out.exists() for job in jobs)
    step = max(
        0, sum(int(line.get("step", 0)) for line in lines) - (ready < len(jobs))
    )  # the last step writes the artefact
    running = [
        line for job, line in zip(jobs, lines, strict=True) if 0 < line.get("step", 0) < job.steps and "loss" in line
    ]
    metrics: dict[str, Any] = {"ready": f"{ready}/{len(jobs)}"}
    if running:
        metrics["loss"] = sum(line["loss"] for line in running) / len(running)
        metrics["tokens_per_second"] = sum(line["tokens_per_second"] for line in running)
    return step, metrics


def _initialize(threads: int, parent: int) -> None:
    torch.set_num_threads(threads)
    os.environ["BAICAI_QUIET"] = "1"
    threading.Thread(target=_exit_with, args=(parent,), daemon=True).start()


def _exit_with(parent: int) -> None:
    """Exit when the parent process has died, so that its runs can be resumed."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)
