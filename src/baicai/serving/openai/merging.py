"""Several answers as one stream."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import TypeVar

T = TypeVar("T")


async def merged(answers: Sequence[AsyncGenerator[T, None]]) -> AsyncGenerator[tuple[int, T], None]:
    """Yield what the generators do, each as soon as it comes, with their numbers; closing this one closes them."""
    if len(answers) == 1:  # most requests want one, which needs no task for each piece
        async with aclosing(answers[0]) as answer:
            async for one in answer:
                yield 0, one
        return
    waiting = {asyncio.ensure_future(anext(answer, None)): number for number, answer in enumerate(answers)}
    try:
        while waiting:
            done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            for task in sorted(done, key=waiting.__getitem__):
                number = waiting.pop(task)
                told = task.result()
                if told is not None:
                    waiting[asyncio.ensure_future(anext(answers[number], None))] = number
                    yield number, told
    finally:
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        for answer in answers:
            await answer.aclose()
