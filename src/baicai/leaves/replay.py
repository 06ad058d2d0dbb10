"""The public sample that goes with a trunk: text that leaves are grown beside and checked on."""

from collections.abc import Sequence
from pathlib import Path

import torch

from baicai.data.batches import Batches
from baicai.data.shards import TokenShards, write_tokens
from baicai.data.tokenizer import Tokenizer
from baicai.inference.generate import generate_batch
from baicai.model.transformer import Transformer


def generate_replay(
    model: Transformer, tokenizer: Tokenizer, folder: Path, num_tokens: int, length: int, seed: int
) -> TokenShards:
    """Let a trunk write its public sample itself, in texts of `length` tokens."""
    first_id = tokenizer.begin_ids[-1] if tokenizer.begin_ids else tokenizer.end_id
    first_B1 = torch.full((max(1, num_tokens // length), 1), first_id)
    rows = generate_batch(model, first_B1, length, seed, vocab_size=tokenizer.vocab_size)
    return write_tokens(
        rows.flatten().numpy(), tokenizer, folder, source="written by the trunk itself", licence="CC0-1.0"
    )


def sample_replay(
    shards: Sequence[TokenShards],
    weights: Sequence[float],
    tokenizer: Tokenizer,
    folder: Path,
    num_tokens: int,
    length: int,
    seed: int,
) -> TokenShards:
    """Draw a public sample from text, in pieces of `length` tokens."""
    batches = Batches(shards, weights, batch_sequences=1, sequence_tokens=length, seed=seed)
    num_texts = max(1, min(num_tokens // length, sum(one.num_windows(length) for one in shards)))
    licences = ", ".join(sorted({name for one in shards for name in one.manifest["licences"]}))
    tokens = torch.cat([batches.next().tokens_BS1[0, :-1] for _ in range(num_texts)]).numpy()
    return write_tokens(tokens, tokenizer, folder, source="a sample of the trunk's training text", licence=licences)
