"""Several texts through a model at once, each with leaves of its own: what a server decodes with on a CPU.

Shape suffixes: S tokens of a part, N of them that logits are wanted after, D model width, G leaves, V vocabulary.
"""

from collections.abc import Collection, Sequence
from itertools import chain
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from baicai.inference.cpu.thread_pool import ThreadPool
from baicai.inference.cpu.weight_table import Int8Weights, WeightTable
from baicai.model.transformer import KVCache, Transformer

MAX_BATCH_TOKENS = 48
"""Tokens that a step takes at most: what the texts say, and beside that a piece of a prompt."""


class SequenceChunk(NamedTuple):
    """Tokens of one text that a step takes."""

    slot: int
    """Its row in the table of blocks."""
    tokens: Sequence[int]
    start: int
    """Position of the first."""
    on_G: NDArray[np.bool_]
    """Leaves that are on."""
    all_logits: bool = False
    """Whether logits are wanted after each token, not after the last alone."""


class StepOutput(NamedTuple):
    """What a model says of a part."""

    logits_NV: NDArray[np.float32]
    """After each of the tokens, or the last alone."""
    hidden_SD: NDArray[np.float32]
    """What the head has read."""
    leaf_weights_SG: NDArray[np.float32]


class BatchDecoder:
    """Texts on their way through a model; what they keep lies in blocks of one pool, which others give out."""

    def __init__(
        self,
        model: Transformer,
        *,
        max_sequences: int,
        num_blocks: int,
        block_tokens: int,
        int8: Int8Weights | None = None,
    ) -> None:
        self._leaves = list(model.leaves)
        self.max_tokens = model.config.max_tokens
        self._crew = ThreadPool(
            WeightTable(model, self._leaves, KVCache(model.config), int8, block_tokens, num_blocks),
            MAX_BATCH_TOKENS,
            max_sequences,
        )

    def leaf_mask(self, leaves: Collection[str]) -> NDArray[np.bool_]:
        """Return which leaves are among those named, [G]."""
        return np.array([name in leaves for name in self._leaves], np.bool_)

    def set_blocks(self, slot: int, blocks: Sequence[int]) -> None:
        """Say in which blocks of the pool a text lies, the first ones first."""
        self._crew.stream.blocks[slot, : len(blocks)] = blocks

    def step(self, parts: Sequence[SequenceChunk]) -> list[StepOutput]:
        """Read on in some texts, at most `STEP_TOKENS` tokens together, and say what comes next.

        What a text gets does not depend, bit for bit, on the others beside it. Answers are good until the next step.
        """
        stream, first, spans, wanted = self._crew.stream, 0, [], list[range]()
        for part in parts:
            rows = slice(first, first + len(part.tokens))
            stream.tokens[rows], stream.texts[rows], stream.on_TG[rows] = part.tokens, part.slot, part.on_G
            stream.positions[rows] = range(part.start, part.start + len(part.tokens))
            spans.append(rows)
            wanted.append(range(first if part.all_logits else rows.stop - 1, rows.stop))
            first = rows.stop
        self._crew.step(first, [*chain.from_iterable(wanted)])
        weights_TG = self._crew.leaf_weights(first)
        return [
            StepOutput(stream.logits_TV[told.start : told.stop], stream.hidden_TD[rows], weights_TG[rows])
            for rows, told in zip(spans, wanted, strict=True)
        ]
