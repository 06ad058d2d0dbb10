"""Measure quality as bits per byte of held-out text.

Shape suffixes: B sequences, S positions, V vocabulary, G leaves.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from baicai.data.shards import TokenShards
from baicai.data.tokenizer import Tokenizer
from baicai.errors import DataError
from baicai.model.transformer import Transformer

NatsOf = Callable[[Tensor], Tensor]
"""Maps tokens [B, S + 1] to the negative log-likelihoods of tokens 1 to S in nats, [B, S]."""


class Quality(NamedTuple):
    """Bits per byte of a text, and the bytes that were scored."""

    bits_per_byte: float
    num_bytes: int


def held_out_windows(
    shards: TokenShards, sequence_tokens: int, max_tokens: int | None = None, batch_sequences: int = 16
) -> Iterator[Tensor]:
    """Yield batches of consecutive windows of the text, [B, S + 1], up to `max_tokens` tokens (at least one window).

    Raises: DataError if the text is shorter than one window.
    """
    windows = shards.num_windows(sequence_tokens)
    if windows == 0:
        raise DataError(
            f"held-out text has {shards.num_tokens} tokens, one window needs {sequence_tokens + 1}: add text"
        )
    if max_tokens is not None:
        windows = min(windows, max(1, max_tokens // sequence_tokens))
    for start in range(0, windows, batch_sequences):
        rows = [shards.window(i, sequence_tokens) for i in range(start, min(start + batch_sequences, windows))]
        yield torch.from_numpy(np.stack(rows))


@torch.inference_mode()
def bits_per_byte(nats_of: NatsOf, windows: Iterable[Tensor], tokenizer: Tokenizer) -> Quality:
    """Compute the bits per byte of the text in the windows.

    Each token counts with the bytes it represents; tokens that represent no bytes (ends, roles) are not scored.
    """
    bytes_V = torch.from_numpy(tokenizer.bytes_per_token())
    nats, num_bytes = 0.0, 0
    for tokens_BS in windows:
        size_BS = bytes_V[tokens_BS[:, 1:]]
        nats += float((nats_of(tokens_BS).double().cpu() * (size_BS > 0)).sum())
        num_bytes += int(size_BS.sum())
    return Quality(nats / math.log(2) / num_bytes, num_bytes)


def token_nats(model: Transformer, on_G: Tensor | None = None) -> NatsOf:
    """Build a scoring function of a model with the leaves in the mask `on_G` [G] switched on (default: all)."""

    def nats_of(tokens_BS: Tensor) -> Tensor:
        device = model.embedding.weight.device
        tokens_BS = tokens_BS.to(device)
        on_BG = None if on_G is None else on_G.to(device).expand(len(tokens_BS), -1)
        logits_BSV = model(tokens_BS[:, :-1], on_BG=on_BG)
        picked = logits_BSV.gather(-1, tokens_BS[:, 1:, None]).squeeze(-1)
        nats: Tensor = logits_BSV.logsumexp(-1) - picked
        return nats

    return nats_of
