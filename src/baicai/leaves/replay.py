"""The public sample that is saved with a trunk. Leaves are trained against it and checked on it."""

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
    """Generate a public sample with the trunk itself, in texts of `length` tokens, and write it to a folder."""
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
    """Draw a public sample from training text, in windows of `length` tokens, and write it to a folder."""
    batches = Batches(shards, weights, batch_sequences=1, sequence_tokens=length, seed=seed)
    num_texts = max(1, min(num_tokens // length, sum(source.num_windows(length) for source in shards)))
    licences = ", ".join(sorted({licence for source in shards for licence in source.manifest.licences}))
    tokens = torch.cat([batches.next().tokens_BS1[0, :-1] for _ in range(num_texts)]).numpy()
    return write_tokens(tokens, tokenizer, folder, source="a sample of the trunk's training text", licence=licences)
