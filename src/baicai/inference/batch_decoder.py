"""Batched decoding on a CPU: several sequences in one step, each with its own active leaves. The server uses it.

Shape suffixes: S tokens of a chunk, N those whose logits are requested, D model width, G leaves, V vocabulary.
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
"""Maximum number of tokens in a step: one per decoding sequence, and chunks of prompts."""


class SequenceChunk(NamedTuple):
    """Consecutive tokens of one sequence that are processed in a step."""

    slot: int
    """Row of the sequence in the block table."""
    tokens: Sequence[int]
    start: int
    """Position of the first token."""
    on_G: NDArray[np.bool_]
    """Active leaves."""
    all_logits: bool = False
    """Whether to compute logits for every token instead of the last one."""


class StepOutput(NamedTuple):
    """Outputs of the model for one chunk. The arrays are overwritten by the next step."""

    logits_NV: NDArray[np.float32]
    """Logits of the next token, after each token or after the last one."""
    hidden_SD: NDArray[np.float32]
    """Hidden states, the input of the head."""
    leaf_weights_SG: NDArray[np.float32]


class BatchDecoder:
    """Decodes several sequences; their KV cache is paged, and the caller allocates its blocks."""

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
        self._pool = ThreadPool(
            WeightTable(model, self._leaves, KVCache(model.config), int8, block_tokens, num_blocks),
            MAX_BATCH_TOKENS,
            max_sequences,
        )

    def leaf_mask(self, leaves: Collection[str]) -> NDArray[np.bool_]:
        """Return a mask of the named leaves, [G]."""
        return np.array([name in leaves for name in self._leaves], np.bool_)

    def set_blocks(self, slot: int, blocks: Sequence[int]) -> None:
        """Set the KV-cache blocks of a sequence, in the order of its tokens."""
        self._pool.buffers.block_tables[slot, : len(blocks)] = blocks

    def step(self, chunks: Sequence[SequenceChunk]) -> list[StepOutput]:
        """Run one step of at most `MAX_BATCH_TOKENS` tokens in total.

        The outputs of a sequence do not depend on the rest of the batch, bit for bit, and are valid until the
        next step.
        """
        buffers, first, spans, logit_rows = self._pool.buffers, 0, [], list[range]()
        for chunk in chunks:
            rows = slice(first, first + len(chunk.tokens))
            buffers.tokens[rows], buffers.slots[rows], buffers.on_TG[rows] = chunk.tokens, chunk.slot, chunk.on_G
            buffers.positions[rows] = range(chunk.start, chunk.start + len(chunk.tokens))
            spans.append(rows)
            logit_rows.append(range(first if chunk.all_logits else rows.stop - 1, rows.stop))
            first = rows.stop
        self._pool.step(first, [*chain.from_iterable(logit_rows)])
        weights_TG = self._pool.leaf_weights(first)
        return [
            StepOutput(
                buffers.logits_TV[logit_range.start : logit_range.stop], buffers.hidden_TD[rows], weights_TG[rows]
            )
            for rows, logit_range in zip(spans, logit_rows, strict=True)
        ]
