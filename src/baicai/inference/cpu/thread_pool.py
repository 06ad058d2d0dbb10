"""Thread pool that runs compiled steps, and the buffers its threads share."""

import threading
import weakref
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from baicai.inference import COMPILED
from baicai.inference.cpu import step
from baicai.inference.cpu.barrier import increment
from baicai.inference.cpu.buffers import IDLE_SPINS, MAX_STEP_TOKENS, SLEEP_SECONDS, STOP, SUBMITTED, StepBuffers
from baicai.inference.cpu.weight_table import WeightTable, make_step_buffers, make_thread_buffers
from baicai.run import notify


class ThreadPool:
    """As many threads as PyTorch uses; the caller is one of them, the others sleep between steps."""

    def __init__(self, weight_table: WeightTable, tokens: int = MAX_STEP_TOKENS, max_sequences: int = 1) -> None:
        """Start the threads, for steps of at most `tokens` tokens from at most `max_sequences` sequences."""
        if not any(COMPILED.rglob("*.nbc")):
            notify("Compiling the decoder for this CPU; this takes about half a minute and happens once.")
        self._weight_table = weight_table  # keeps the weights alive
        self.sizes = weight_table.sizes
        self.buffers = make_step_buffers(self.sizes, tokens, max_sequences)
        thread_buffers = [make_thread_buffers(self.sizes, tokens) for _ in range(self.sizes.threads)]
        self._arguments = (self.sizes, weight_table.weights, self.buffers, thread_buffers[0])
        self._layers = max(1, self.sizes.layers - self.sizes.first_leaf_layer)
        self._wake = [threading.Event() for _ in thread_buffers[1:]]
        for number, (local, wake_event) in enumerate(zip(thread_buffers[1:], self._wake, strict=True), 1):
            work = (self.sizes, weight_table.weights, self.buffers, local, number)
            threading.Thread(target=_run_worker, args=(work, wake_event), daemon=True).start()
        weakref.finalize(self, _stop_workers, self.buffers, self._wake)

    def step(self, count: int, logit_rows: Sequence[int], *, drafting: bool = False) -> None:
        """Run the first `count` tokens in the step buffers; compute logits for the tokens in `logit_rows`."""
        self.buffers.logit_rows[: len(logit_rows)] = logit_rows
        self.buffers.command[:] = count, drafting, len(logit_rows)
        for event in self._wake:
            event.set()
        step.run_thread(*self._arguments, 0, 0, 0)

    def leaf_weights(self, count: int) -> NDArray[np.float32]:
        """Return the routing weight of each leaf for the tokens of the last step, averaged over layers, [T, G]."""
        return self.buffers.leaf_weights_TG[:count] / np.float32(self._layers)


def _run_worker(arguments: tuple[Any, ...], wake_event: threading.Event) -> None:
    """Run the steps of a worker thread, sleeping when none is submitted for a while.

    A worker is woken before a step is submitted and may fall asleep again before it is; so it also polls regularly.
    """
    counters, submitted = arguments[2].counters, 0
    while not counters[STOP]:
        woken = wake_event.wait(SLEEP_SECONDS)
        wake_event.clear()
        submitted = step.run_thread(*arguments, submitted, IDLE_SPINS if woken else 1)


def _stop_workers(buffers: StepBuffers, wake_event: Sequence[threading.Event]) -> None:
    buffers.counters[STOP] = 1
    increment(buffers.counters, SUBMITTED)
    for event in wake_event:
        event.set()
