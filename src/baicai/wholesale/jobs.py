"""Idempotent tasks that each write one folder, run in processes on this machine or on a Ray cluster.

A task is done if its folder exists. If a worker dies, its task runs again. Machines of a Ray cluster must see the
folders under the same paths.

`training.job_pool` is a separate pool because it needs the opposite of nearly everything here: spawned processes with a
share of the cores each, progress read from the metrics of unfinished runs, and no retries, since a run is resumed.
"""

import logging
import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any, NamedTuple

from baicai.errors import DataError, MachineError
from baicai.run import Progress

TRIES = 3


class Task(NamedTuple):
    """A call `function(*arguments, out)` that writes the folder `out` atomically."""

    function: Callable[..., None]
    arguments: tuple[Any, ...]
    out: Path


def run_tasks(title: str, tasks: Sequence[Task], workers: int, ray: str = "") -> None:
    """Run the tasks whose folders do not exist yet.

    Args:
        title: name shown with the progress and in errors.
        tasks: the tasks, in any order.
        workers: number of processes on this machine; with 1 the tasks run in this process.
        ray: address of a Ray cluster to use instead of local processes.

    Raises: the first error of a task; DataError if workers die at a task `TRIES` times, MachineError if the cluster
    cannot be reached.
    """
    remaining = [task for task in tasks if not task.out.exists()]
    done = len(tasks) - len(remaining)
    with Progress(title, len(tasks), completed=done) as progress:
        for _ in range(TRIES):
            for task in _on_cluster(remaining, ray) if ray else _in_pool(remaining, workers):
                done += 1
                progress.update(done, {"done": done, "of": len(tasks), "last": task.out.name})
            remaining = [task for task in remaining if not task.out.exists()]
    if remaining:
        raise DataError(f"{title}: processes died {TRIES} times at {remaining[0].arguments[0]}: leave it out")


def _in_pool(tasks: Sequence[Task], workers: int) -> Iterator[Task]:
    """Yield tasks as they finish. If a worker dies, its task and those still queued are not yielded."""
    if workers == 1:
        for task in tasks:
            task.function(*task.arguments, task.out)
            yield task
        return
    with ProcessPoolExecutor(workers, multiprocessing.get_context("forkserver")) as pool:
        futures = {pool.submit(task.function, *task.arguments, task.out): task for task in tasks}
        try:
            for future in as_completed(futures):
                future.result()
                yield futures[future]
        except BrokenProcessPool:
            pass
        finally:
            pool.shutdown(cancel_futures=True)


def _on_cluster(tasks: Sequence[Task], address: str) -> Iterator[Task]:
    """Yield tasks as they finish. A task whose worker or machine died is not yielded."""
    if not tasks:
        return
    try:
        import ray
    except ModuleNotFoundError:
        raise MachineError("ray is not installed: pip install 'baicai[ray]'") from None
    try:
        ray.init(address, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, RuntimeError, ValueError) as error:
        reason = (str(error).splitlines() or ["no answer"])[0]
        raise MachineError(f"no Ray cluster at {address} ({reason}): start one (ray start --head)") from None
    try:
        start = ray.remote(num_cpus=1, max_retries=0)(_run_task).remote
        running = {start(task, str(Path.cwd())): task for task in tasks}
        while running:
            (finished,), _ = ray.wait(list(running))
            task = running.pop(finished)
            try:
                ray.get(finished)
            except ray.exceptions.RayTaskError as error:
                raise error.cause from None
            except ray.exceptions.RayError:  # a process or a machine died
                continue
            yield task
    finally:
        ray.shutdown()


def _run_task(task: Task, working_directory: str) -> None:
    os.chdir(working_directory)  # paths may be relative
    if not task.out.exists():  # another worker may have written it and died before it reported so
        task.function(*task.arguments, task.out)
