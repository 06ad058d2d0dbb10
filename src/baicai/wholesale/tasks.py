"""Tasks whose outcome is a folder named after what goes in: done once, in any order, by many processes.

A worker that dies takes nothing along: what it was at is done again.
"""

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any, NamedTuple

from baicai.errors import DataError
from baicai.run import Meter

TRIES = 3


class Task(NamedTuple):
    """Something to do: `function(*arguments, out)` writes the folder `out` at once."""

    function: Callable[..., None]
    arguments: tuple[Any, ...]
    out: Path


def carry_out_all(title: str, tasks: Sequence[Task], workers: int) -> None:
    """Do what is not done yet.

    Raises: DataError if workers die again and again at a task.
    """
    left = [task for task in tasks if not task.out.exists()]
    meter, done = Meter(title, len(tasks)), len(tasks) - len(left)
    with meter.running(done):
        for _ in range(TRIES):
            for task in _do(left, workers):
                done += 1
                meter.show(done, {"done": done, "of": len(tasks), "last": task.out.name})
            left = [task for task in left if not task.out.exists()]
    if left:
        raise DataError(f"{title}: processes died {TRIES} times at {left[0].arguments[0]}: leave it out")


def _do(tasks: Sequence[Task], workers: int) -> Iterator[Task]:
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
