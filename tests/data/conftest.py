from collections.abc import Callable
from pathlib import Path

import pytest

from baicai.data.shards import TokenShards, write_shards
from baicai.data.tokenizer import Tokenizer, train_tokenizer
from tests.data.texts import document


@pytest.fixture(scope="session")
def tokenizer() -> Tokenizer:
    return train_tokenizer({"made": [document(n) for n in range(50)]}, vocab_size=300, sample_bytes=10_000)


@pytest.fixture
def make_shards(tokenizer: Tokenizer, tmp_path: Path) -> Callable[..., TokenShards]:
    """Return a function that writes shards of documents numbered from `first`."""

    def make(name: str, first: int, count: int, shard_tokens: int = 1000) -> TokenShards:
        documents = (document(number) for number in range(first, first + count))
        return write_shards(documents, tokenizer, tmp_path / name, shard_tokens=shard_tokens)

    return make
