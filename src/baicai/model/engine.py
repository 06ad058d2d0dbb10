"""What a decoder asks of a running model: feed tokens, take them back, draft. Here it is plain PyTorch.

Shape suffixes: S tokens, N of them at the end, D model width, V vocabulary, G leaves.
"""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from baicai.model.transformer import Cache, LayerTrace, Transformer


class Step(NamedTuple):
    """What a model says of tokens it was fed."""

    logits_NV: Tensor
    """Of the tokens after the last N, float32."""
    hidden_SD: Tensor
    """What the head and the MTP module read, of all tokens fed."""
    leaf_weights: list[dict[str, float]]
    """Of the last N: the weight that each leaf got, mean over the layers with leaves."""


class Engine(Protocol):
    """One sequence and the set of leaves that it is read with."""

    can_draft: bool

    def step(self, tokens: Sequence[int], last: int = 1) -> Step:
        """Read on, one token or many, and tell what comes after each of the `last` ones."""

    def rollback(self, length: int) -> None:
        """Forget all tokens but the first `length`."""

    def draft(self, hidden_SD: Tensor, tokens: Sequence[int], start: int) -> tuple[Tensor, Tensor]:
        """Return the MTP module's logits [V] of the token after `tokens`, and its output [D] for the last of them.

        `hidden_SD` is the model's, or the module's own, for the tokens before each of these, the first at position
        `start`; what the module read from there on is forgotten.
        """


class PlainEngine:
    """The reference: the model as it is."""

    def __init__(self, model: Transformer, on_BG: Tensor | None, max_tokens: int) -> None:
        self.model, self.on_BG = model, on_BG
        self.can_draft = model.mtp is not None
        self.cache = Cache(model.config, max_tokens)

    def step(self, tokens: Sequence[int], last: int = 1) -> Step:
        """Read on; see `Engine`."""
        trace: list[LayerTrace] = []
        hidden_SD = self.model.hidden(self._row(tokens), on_BG=self.on_BG, cache=self.cache, trace=trace)[0]
        return Step(self.model.logits(hidden_SD[-last:]), hidden_SD, _leaf_weights(trace, last))

    def rollback(self, length: int) -> None:
        """Forget the last tokens; see `Engine`."""
        self.cache.length = length

    def draft(self, hidden_SD: Tensor, tokens: Sequence[int], start: int) -> tuple[Tensor, Tensor]:
        """Tell the token after the next; see `Engine`."""
        out_D = self.model.draft(hidden_SD[None], self._row(tokens), start=start, cache=self.cache)[0, -1]
        return self.model.logits(out_D), out_D

    def _row(self, tokens: Sequence[int]) -> Tensor:
        return torch.tensor([list(tokens)], device=self.model.embedding.weight.device)


def _leaf_weights(trace: list[LayerTrace], last: int) -> list[dict[str, float]]:
    if not trace:
        return [{}] * last
    mean_NG = torch.stack([layer.leaf_weights()[-last:] for layer in trace]).mean(0)
    return [dict(zip(trace[0].leaf_names, row, strict=True)) for row in mean_NG.tolist()]
