"""Training batches: windows of token shards in a reproducible order that can be saved and resumed anywhere.

Nothing is shuffled in memory: the order of an epoch is a keyed permutation that is computed window by window. The whole
state is the number of windows drawn from each source, in total and before the current weights.
"""

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from baicai.data.shards import TokenShards
from baicai.errors import ArtefactError, ConfigError, DataError

_ROUNDS = 6
_MASK = 2**64 - 1


@dataclass(frozen=True, slots=True)
class Batch:
    """Sequences of S + 1 tokens with their sources; all tensors are int64.

    Shape suffixes: B sequences, S tokens of a sequence.
    """

    tokens_BS1: Tensor
    source_B: Tensor
    """Index of each sequence's source."""
    windows_B: Tensor
    """Index of each sequence's window in its source."""


class Batches:
    """Endless stream of batches; a source is read in full, in a new order each time, before it repeats.

    Sources are interleaved by weight: any contiguous range of rows, including a rank's slice of a batch, is close to
    the weights.
    """

    def __init__(
        self,
        sources: Sequence[TokenShards],
        weights: Sequence[float],
        *,
        batch_sequences: int,
        sequence_tokens: int,
        seed: int,
    ) -> None:
        """Draw from `sources` in proportion to `weights`, which need not sum to 1.

        Raises: DataError if a source cannot fill its share of one batch or the tokenizers differ, ConfigError for
        invalid weights.
        """
        _check_weights(sources, weights)
        self._sources = list(sources)
        self._shares = self._initial_shares = [weight / math.fsum(weights) for weight in weights]
        for source, share in zip(sources, self._shares, strict=True):
            windows = max(1, math.floor(share * batch_sequences))
            if source.num_windows(sequence_tokens) < windows:
                raise DataError(
                    f"{source.folder} has {source.num_tokens} tokens, but its share of one batch needs "
                    f"{windows * sequence_tokens + 1}: add text, or lower batch_sequences or sequence_tokens"
                )
        self._batch_sequences = batch_sequences
        self._sequence_tokens = sequence_tokens
        self._seed = seed
        self._drawn = [0] * len(sources)
        self._drawn_before = [0] * len(sources)

    def reweigh(self, weights: Sequence[float]) -> None:
        """Draw in proportion to other weights from now on.

        Raises: ConfigError for invalid weights.
        """
        _check_weights(self._sources, weights)
        self._shares = [weight / math.fsum(weights) for weight in weights]
        self._drawn_before = list(self._drawn)

    def next(self) -> Batch:
        """Return the next batch.

        Raises: ArtefactError if a token file has been damaged since it was opened.
        """
        picks = [self._draw() for _ in range(self._batch_sequences)]
        rows = [self._sources[source].window(window, self._sequence_tokens) for source, window in picks]
        source_B, windows_B = torch.tensor(picks, dtype=torch.int64).reshape(-1, 2).unbind(1)
        return Batch(torch.from_numpy(np.stack(rows)), source_B, windows_B)

    def state(self) -> dict[str, Any]:
        """Return the position as plain JSON values, together with the identity of the stream."""
        return {
            **self._identity(),
            "drawn": self._drawn[:],
            "since": self._drawn_before[:],
            "shares_since": self._shares[:],
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Restore a position returned by `state`.

        Raises: ArtefactError if it belongs to other data, weights, sizes or another seed.
        """
        for key, value in self._identity().items():
            if state.get(key) != value:
                raise ArtefactError(
                    f"the data position was saved with {key} = {state.get(key)}, now it is {value}: "
                    "resume with the same data and recipe, or start over"
                )
        for key, fits in (("drawn", _is_count), ("since", _is_count), ("shares_since", _is_share)):
            values = state.get(key)
            if not (isinstance(values, list) and len(values) == len(self._sources) and all(map(fits, values))):
                raise ArtefactError(
                    f"the data position is damaged ({key} = {values!r}): resume from another checkpoint"
                )
        self._drawn, self._drawn_before = list(state["drawn"]), list(state["since"])
        self._shares = list(state["shares_since"])

    def _draw(self) -> tuple[int, int]:
        """Choose the source that is furthest behind its share, and its next window."""
        drawn = [now - then for now, then in zip(self._drawn, self._drawn_before, strict=True)]
        total = sum(drawn) + 1
        behind = [share * total - count for share, count in zip(self._shares, drawn, strict=True)]
        source = behind.index(max(behind))
        num_windows = self._sources[source].num_windows(self._sequence_tokens)
        epoch, position = divmod(self._drawn[source], num_windows)
        self._drawn[source] += 1
        return source, permute(position, num_windows, _mix(_mix(_mix(self._seed) ^ source) ^ epoch))

    def _identity(self) -> dict[str, Any]:
        return {
            "sources": [source.hash for source in self._sources],
            "shares": self._initial_shares,
            "batch_sequences": self._batch_sequences,
            "sequence_tokens": self._sequence_tokens,
            "seed": self._seed,
        }


def splice_sequences(batch: Batch, share: float) -> tuple[Tensor, Tensor]:
    """Splice parts of other sequences into a `share` of the sequences, so that they change source midway.

    Such a sequence continues as one or two others of the batch do, no earlier than after an eighth of its length. The
    choice depends only on the batch.

    Returns: tokens and the source of each token, both [B, S+1].
    """
    tokens_BS1, source_BS1 = batch.tokens_BS1.clone(), batch.source_B[:, None].expand_as(batch.tokens_BS1).clone()
    rows, length = tokens_BS1.shape
    draw = random.Random(repr(batch.windows_B.tolist()))
    piece = max(1, length // 8)
    for row in range(rows):
        if draw.random() >= share:
            continue
        start = draw.randrange(piece, length)
        for _ in range(2):
            other = draw.randrange(rows)
            tokens_BS1[row, start:] = batch.tokens_BS1[other, start:]
            source_BS1[row, start:] = batch.source_B[other]
            start += draw.randrange(piece, 5 * piece)
    return tokens_BS1, source_BS1


def permute(index: int, size: int, key: int) -> int:
    """Map `index` by the `key`-th permutation of range(size).

    A Feistel network permutes the next power of four; results outside the range are permuted again.
    Source: Black and Rogaway, Ciphers with Arbitrary Finite Domains (2002), the generalized-Feistel and
    cycle-walking ciphers.
    """
    half_bits = max(1, ((size - 1).bit_length() + 1) // 2)
    half = (1 << half_bits) - 1
    while True:
        left, right = index >> half_bits, index & half
        for round_number in range(_ROUNDS):
            left, right = right, left ^ (_mix(key + round_number * 2**32 + right) & half)
        index = left << half_bits | right
        if index < size:
            return index


def _mix(value: int) -> int:
    """Return 64 well-mixed bits: SplitMix64's step. Source: Steele, Lea and Flood, Fast Splittable PRNGs (2014)."""
    value = (value + 0x9E3779B97F4A7C15) & _MASK
    value = ((value ^ value >> 30) * 0xBF58476D1CE4E5B9) & _MASK
    value = ((value ^ value >> 27) * 0x94D049BB133111EB) & _MASK
    return value ^ value >> 31


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_share(value: object) -> bool:
    return isinstance(value, int | float) and 0 <= value <= 1


def _check_weights(sources: Sequence[TokenShards], weights: Sequence[float]) -> None:
    if len(sources) != len(weights) or not sources:
        raise ConfigError(f"{len(weights)} weights for {len(sources)} sources: each source needs one weight")
    if not all(math.isfinite(weight) and weight >= 0 for weight in weights) or not any(weights):
        raise ConfigError(f"weights {list(weights)} must be finite and at least 0, and one must be above 0")
    for source in sources:
        if source.tokenizer_hash != sources[0].tokenizer_hash:
            raise DataError(
                f"{source.folder} was made with tokenizer {source.tokenizer_hash[:8]}, "
                f"{sources[0].folder} with {sources[0].tokenizer_hash[:8]}: tokenize them with the same one"
            )
