"""Several runs at once, a process each: on a small machine two narrow runs are faster than one wide one."""

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
    """A stage to carry out."""

    stage: Callable[[Any, Run], None]
    recipe: Any
    out: Path
    steps: int
    """Optimizer steps that it takes."""


def run_jobs(title: str, jobs: Sequence[Job], workers: int) -> None:
    """Carry out the jobs, the longest first, `workers` at a time with an equal share of the cores each.

    What is done stays done.

    Raises: the first error of a job, after the jobs that are running have ended; MachineError if one was killed.
    """
    threads = max(1, (os.cpu_count() or 1) // workers)
    context = multiprocessing.get_context("spawn")
    total = sum(job.steps for job in jobs)
    with ProcessPoolExecutor(workers, context, _begin, (threads, os.getpid())) as pool:
        longest_first = sorted(jobs, key=lambda job: -job.steps)
        every = waiting = {pool.submit(run_stage, job.stage, job.recipe, job.out) for job in longest_first}
        progress = Progress(title, total)
        try:
            with progress:
                while waiting:
                    finished, waiting = wait(waiting, timeout=0.5, return_when=FIRST_COMPLETED)
                    for future in finished:
                        future.result()
                    progress.update(*_progress(jobs))
        except BrokenProcessPool:
            raise MachineError(f"{title}: a process was killed, memory may be short: run it again to resume") from None
        finally:
            for future in every:
                future.cancel()


def _progress(jobs: Sequence[Job]) -> tuple[int, dict[str, Any]]:
    lines = [last_metrics(job.out) for job in jobs]
    ready = sum(job.out.exists() for job in jobs)
    step = max(0, sum(int(line.get("step", 0)) for line in lines) - (ready < len(jobs)))  # the last step is an artefact
    at_work = [
        line for job, line in zip(jobs, lines, strict=True) if 0 < line.get("step", 0) < job.steps and "loss" in line
    ]
    news: dict[str, Any] = {"ready": f"{ready}/{len(jobs)}"}
    if at_work:
        news["loss"] = sum(line["loss"] for line in at_work) / len(at_work)
        news["tokens_per_second"] = sum(line["tokens_per_second"] for line in at_work)
    return step, news


def _begin(threads: int, parent: int) -> None:
    torch.set_num_threads(threads)
    os.environ["BAICAI_QUIET"] = "1"
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: int) -> None:
    """Die when the parent was killed, so that its runs are free to be resumed."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)
