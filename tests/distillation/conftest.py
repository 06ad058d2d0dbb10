"""A random model with leaves, and the same as a folder for transformers."""

from pathlib import Path

import pytest
import torch

from baicai.data.tokenizer import Tokenizer
from baicai.distillation.teachers import Teacher, open_teacher
from baicai.exchange.exporting import ExportRecipe, export_model
from baicai.leaves.join import SparseModel
from baicai.run import carry_out
from tests.data.conftest import make_shards, tokenizer
from tests.exchange.models import make_model

__all__ = ["CPU", "exported", "make_shards", "model", "teacher", "tokenizer"]
CPU = torch.device("cpu")


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
