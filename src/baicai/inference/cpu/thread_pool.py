"""The threads that carry out a compiled step together, and the room they share."""

import threading
import weakref
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from baicai.inference import COMPILED
from baicai.inference.cpu import step
from baicai.inference.cpu.barrier import post
from baicai.inference.cpu.buffers import IDLE_LOOKS, MAX_STEP_TOKENS, ORDERED, SLEEP_SECONDS, STOP, StepBuffers
from baicai.inference.cpu.weight_table import WeightTable, make_bench, make_stream
from baicai.run import notify


class ThreadPool:
    """As many threads as PyTorch has; the caller's is one of them, the others sleep between steps."""

    def __init__(self, tables: WeightTable, tokens: int = MAX_STEP_TOKENS, texts: int = 1) -> None:
        """Make room for steps of at most so many tokens, of so many texts."""
        if not any(COMPILED.rglob("*.nbc")):
            notify("Compiling the decoder for this processor: half a minute, this once.")
        self._tables = tables  # keeps the weights
        self.sizes = tables.sizes
        self.stream = make_stream(self.sizes, tokens, texts)
        benches = [make_bench(self.sizes, tokens) for _ in range(self.sizes.threads)]
        self._arguments = (self.sizes, tables.weights, self.stream, benches[0])
        self._layers = max(1, self.sizes.layers - self.sizes.first_leaf_layer)
        self._wake = [threading.Event() for _ in benches[1:]]
        for number, (bench, wake) in enumerate(zip(benches[1:], self._wake, strict=True), 1):
            work = (self.sizes, tables.weights, self.stream, bench, number)
            threading.Thread(target=_work, args=(work, wake), daemon=True).start()
        weakref.finalize(self, _dismiss, self.stream, self._wake)

    def step(self, count: int, told: Sequence[int], *, drafting: bool = False) -> None:
        """Carry out what the stream says of its first `count` tokens; logits are wanted after those in `told`."""
        self.stream.told[: len(told)] = told
        self.stream.order[:] = count, drafting, len(told)
        for event in self._wake:
            event.set()
        step.take_part(*self._arguments, 0, 0, 0)

    def leaf_weights(self, count: int) -> NDArray[np.float32]:
        """Return the weight that each leaf got from each token of the latest step, mean over layers, [T, G]."""
        return self.stream.leaf_weights_TG[:count] / np.float32(self._layers)


def _work(arguments: tuple[Any, ...], wake: threading.Event) -> None:
    """What a further thread does: its part of each step, and sleep when there is none for a while.

    It is woken before the step is ordered, and may have gone back to sleep by then: now and then it looks by itself.
    """
    counters, orders = arguments[2].counters, 0
    while not counters[STOP]:
        woken = wake.wait(SLEEP_SECONDS)
        wake.clear()
        orders = step.take_part(*arguments, orders, IDLE_LOOKS if woken else 1)


def _dismiss(stream: StepBuffers, wake: Sequence[threading.Event]) -> None:
    stream.counters[STOP] = 1
    post(stream.counters, ORDERED)
    for event in wake:
        event.set()
