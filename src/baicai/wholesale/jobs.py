"""Tasks whose outcome is a folder named after what goes in: done once, in any order, by many processes or machines.

A worker that dies takes nothing along: what it was at is done again. Machines of a Ray cluster must all see the folders
under the same paths.
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
    """Something to do: `function(*arguments, out)` writes the folder `out` at once."""

    function: Callable[..., None]
    arguments: tuple[Any, ...]
    out: Path


def run_tasks(title: str, tasks: Sequence[Task], workers: int, ray: str = "") -> None:
    """Do what is not done yet, in so many processes here, or on the Ray cluster at an address.

    Raises: DataError if workers die again and again at a task, MachineError if there is no such cluster.
    """
    left = [task for task in tasks if not task.out.exists()]
    done = len(tasks) - len(left)
    with Progress(title, len(tasks), completed=done) as progress:
        for _ in range(TRIES):
            for task in _on_cluster(left, ray) if ray else _in_pool(left, workers):
                done += 1
                progress.update(done, {"done": done, "of": len(tasks), "last": task.out.name})
            left = [task for task in left if not task.out.exists()]
    if left:
        raise DataError(f"{title}: processes died {TRIES} times at {left[0].arguments[0]}: leave it out")


def _in_pool(tasks: Sequence[Task], workers: int) -> Iterator[Task]:
    """Yield tasks when they are done; those at which a worker died, and those after, are left."""
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
    """Yield tasks when they are done; those at which a worker or its machine died are left."""
    if not tasks:
        return
    try:
        import ray
    except ModuleNotFoundError:
        raise MachineError("ray is not installed: pip install 'baicai[ray]'") from None
    try:
        ray.init(address, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, RuntimeError, ValueError) as error:
        told = (str(error).splitlines() or ["no answer"])[0]
        raise MachineError(f"no Ray cluster at {address} ({told}): start one (ray start --head)") from None
    try:
        start = ray.remote(num_cpus=1, max_retries=0)(_once).remote
        running = {start(task, str(Path.cwd())): task for task in tasks}
        while running:
            (first,), _ = ray.wait(list(running))
            task = running.pop(first)
            try:
                ray.get(first)
            except ray.exceptions.RayTaskError as error:
                raise error.cause from None
            except ray.exceptions.RayError:  # a process or a machine is gone
                continue
            yield task
    finally:
        ray.shutdown()


def _once(task: Task, folder: str) -> None:
    os.chdir(folder)  # paths may be relative
    if not task.out.exists():  # another worker may have written it and died before it could say so
        task.function(*task.arguments, task.out)
