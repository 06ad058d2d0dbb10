"""A random model with leaves, the same as a folder for transformers, and a corpus in their tokens."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from baicai.data.shards import TokenShards, write_shards
from baicai.data.tokenizer import Tokenizer, train_tokenizer
from baicai.distillation.teachers import Teacher, open_teacher
from baicai.exchange.exporting import ExportRecipe, export_model
from baicai.leaves.join import SparseModel
from baicai.run import carry_out
from tests.data.texts import document
from tests.exchange.models import make_model

CPU = torch.device("cpu")


@pytest.fixture(scope="session")
def tokenizer() -> Tokenizer:
    return train_tokenizer({"made": [document(n) for n in range(50)]}, vocab_size=300, sample_bytes=10_000)


@pytest.fixture(scope="session")
def model(tokenizer: Tokenizer, tmp_path_factory: pytest.TempPathFactory) -> SparseModel:
    return make_model(tmp_path_factory.mktemp("teacher"), tokenizer, num_leaves=2)


@pytest.fixture(scope="session")
def exported(model: SparseModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("transformers", reason="reads the exported teacher")
    out = tmp_path_factory.mktemp("exported") / "teacher"
    carry_out(export_model, ExportRecipe(model=str(model.trunk.path.parent / "model")), out)
    return out


@pytest.fixture
def teacher(model: SparseModel, tokenizer: Tokenizer) -> Teacher:
    return open_teacher(model.trunk.path.parent / "model", tokenizer, CPU)


@pytest.fixture
def make_shards(tokenizer: Tokenizer, tmp_path: Path) -> Callable[..., TokenShards]:
    """Return a function that writes shards of `count` documents numbered from `first`."""

    def make(name: str, first: int, count: int, max_tokens: int | None = None) -> TokenShards:
        documents = map(document, range(first, first + count))
        return write_shards(documents, tokenizer, tmp_path / name, shard_tokens=1000, max_tokens=max_tokens)

    return make
