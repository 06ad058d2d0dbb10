"""Takes tokens through a model and gives back logits: the compiled step on a CPU, PyTorch elsewhere.

Shape suffixes: T tokens, D model width, V vocabulary, G leaves that are on.
"""

import threading
import weakref
from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from baicai.inference import step
from baicai.inference.int8 import Int8
from baicai.inference.layout import MAX_STEP_TOKENS, ORDERED, STOP, Stream
from baicai.inference.sync import post
from baicai.inference.tables import Tables, make_bench, make_stream
from baicai.model.layers import linear
from baicai.model.transformer import Cache, LayerTrace, Transformer, check_room

BATCH_TOKENS = 24
"""From so many tokens on, PyTorch's matrix products are faster than steps of a few tokens."""


class Fed(NamedTuple):
    """What the model says after each of the tokens that were fed."""

    logits_TV: Tensor
    hidden_TD: Tensor
    """Normed output of the last layer."""
    leaf_weights_TG: Tensor
    """Weight that each leaf got, mean over the layers with leaves."""


class Decoder:
    """A text on its way through a model, with the leaves that are on for it; it holds the text's cache.

    This one runs on PyTorch: the reference, and the way on CUDA.
    """

    def __init__(self, model: Transformer, leaves: Collection[str], max_tokens: int | None = None) -> None:
        self._model, self._cache = model, Cache(model.config, max_tokens)
        self.device = model.embedding.weight.device
        mask_BG = model.leaf_mask(leaves)
        self._on_BG = None if mask_BG.all() else mask_BG
        self.leaves = tuple(name for name, on in zip(model.leaves, mask_BG[0].tolist(), strict=True) if on)
        """The leaves that are on, in the model's order."""

    @property
    def max_tokens(self) -> int:
        """Tokens there is room for."""
        return self._cache.max_tokens

    @property
    def length(self) -> int:
        """Tokens taken so far; may be lowered to take the last ones back."""
        return self._cache.length

    @length.setter
    def length(self, tokens: int) -> None:
        """Take the last tokens back."""
        self._cache.length = tokens

    def fill(self, tokens: Sequence[int]) -> Fed:
        """Take tokens in, any number; return what the model says after the last one."""
        return self._run(tokens, 1)

    def feed(self, tokens: Sequence[int]) -> Fed:
        """Take a few tokens in; return what the model says after each."""
        return self._run(tokens, len(tokens))

    @torch.inference_mode()
    def _run(self, tokens: Sequence[int], last: int) -> Fed:
        trace: list[LayerTrace] = []
        tokens_BS = torch.tensor([list(tokens)], device=self.device)
        hidden_TD = self._model.hidden(tokens_BS, on_BG=self._on_BG, cache=self._cache, trace=trace)[0, -last:]
        logits_TV = linear(hidden_TD, self._model.head_weight()).float()
        weights_TG = hidden_TD.new_zeros(last, 0)
        if trace:
            weights_TG = torch.stack([layer.leaf_weights()[-last:] for layer in trace]).mean(0)
        return Fed(logits_TV, hidden_TD, weights_TG)


class CompiledDecoder(Decoder):
    """The fast way on a CPU: a step reads the weights it uses once, where they lie in the model or its file.

    What `feed` returns is valid until the next call.
    """

    def __init__(
        self, model: Transformer, leaves: Collection[str], max_tokens: int | None = None, int8: Int8 | None = None
    ) -> None:
        """Make the tables; weights in int8, where given, stand in for those of the model."""
        super().__init__(model, leaves, max_tokens)
        self._tables = Tables(model, self.leaves, self._cache, int8)
        sizes = self._tables.sizes
        self._stream, benches = make_stream(sizes), [make_bench(sizes) for _ in range(sizes.threads)]
        self._arguments = (sizes, self._tables.weights, self._stream, benches[0])
        self._layers = max(1, sizes.layers - sizes.first_leaf_layer)
        self._meetings = 0
        self._wake = [threading.Event() for _ in benches[1:]]
        for number, (bench, wake) in enumerate(zip(benches[1:], self._wake, strict=True), 1):
            work = (sizes, self._tables.weights, self._stream, bench, number)
            threading.Thread(target=_work, args=(work, wake), daemon=True).start()
        weakref.finalize(self, _dismiss, self._stream, self._wake)

    def fill(self, tokens: Sequence[int]) -> Fed:
        """Take tokens in, any number; return what the model says after the last one."""
        if len(tokens) >= BATCH_TOKENS and not self._tables.sizes.int8:
            return super().fill(tokens)
        for start in range(0, len(tokens), MAX_STEP_TOKENS):
            fed = self.feed(tokens[start : start + MAX_STEP_TOKENS])
        return Fed(*(part[-1:] for part in fed))

    def feed(self, tokens: Sequence[int]) -> Fed:
        """Take at most `MAX_STEP_TOKENS` tokens in; return what the model says after each."""
        stream, start, count = self._stream, self.length, len(tokens)
        check_room(start + count, self.max_tokens)
        stream.tokens[:count] = tokens
        stream.order[:] = start, count
        if self._wake:
            post(stream.counters, ORDERED)
            for event in self._wake:
                event.set()
        self._meetings = step.run_step(*self._arguments, start, count, 0, self._meetings)
        self.length += count
        logits, hidden, weights = stream.logits_TV[:count], stream.hidden_TD[:count], stream.leaf_weights_TG[:count]
        return Fed(torch.from_numpy(logits), torch.from_numpy(hidden), torch.from_numpy(weights) / self._layers)


def _work(arguments: tuple[Any, ...], wake: threading.Event) -> None:
    """What a further thread does: its part of each step, and sleep when there is none for a while."""
    counters, meetings, orders = arguments[2].counters, 0, 0
    while not counters[STOP]:
        wake.wait()
        wake.clear()
        meetings, orders = step.serve(*arguments, meetings, orders)


def _dismiss(stream: Stream, wake: Sequence[threading.Event]) -> None:
    stream.counters[STOP] = 1
    post(stream.counters, ORDERED)
    for event in wake:
        event.set()


def open_decoder(
    model: Transformer, leaves: Collection[str] | None = None, max_tokens: int | None = None, int8: Int8 | None = None
) -> Decoder:
    """Return what takes a text of at most `max_tokens` (default: the model's limit) through a model.

    `leaves` names those that are on; None means all.

    Raises: ConfigError for a leaf the model does not have.
    """
    leaves = tuple(model.leaves) if leaves is None else leaves
    if model.embedding.weight.device.type != "cpu":
        return Decoder(model, leaves, max_tokens)
    return CompiledDecoder(model, leaves, max_tokens, int8)
