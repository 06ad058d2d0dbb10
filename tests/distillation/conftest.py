"""A random model with leaves, its export to transformers' format, and a trained model with text of its domains."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from baicai.convert.exporter import ExportRecipe, export_model
from baicai.data.sources import open_source
from baicai.data.tokenizer import Tokenizer
from baicai.distillation.teacher.models import Teacher, open_teacher
from baicai.evaluation.bits_per_byte import held_out_windows
from baicai.leaves.model import SparseModel, open_model
from baicai.run import run_stage
from tests.cli.conftest import command
from tests.conftest import Workshop
from tests.convert.models import make_model
from tests.data.conftest import make_shards, tokenizer
from tests.distillation.distilling import Distillery, distillery

__all__ = ["CPU", "command", "exported", "make_shards", "model", "teacher", "tokenizer"]
CPU = torch.device("cpu")
Sample = Callable[..., list[torch.Tensor]]


@pytest.fixture(scope="session")
def model(tokenizer: Tokenizer, tmp_path_factory: pytest.TempPathFactory) -> SparseModel:
    return make_model(tmp_path_factory.mktemp("teacher"), tokenizer, num_leaves=2)


@pytest.fixture(scope="session")
def exported(model: SparseModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("transformers", reason="reads the exported teacher")
    out = tmp_path_factory.mktemp("exported") / "teacher"
    run_stage(export_model, ExportRecipe(model=str(model.trunk.path.parent / "model")), out)
    return out


@pytest.fixture
def teacher(model: SparseModel, tokenizer: Tokenizer) -> Teacher:
    return open_teacher(model.trunk.path.parent / "model", tokenizer, CPU)


@pytest.fixture(scope="session")
def distilled(workshop: Workshop, tmp_path_factory: pytest.TempPathFactory) -> Distillery:
    return distillery(workshop, tmp_path_factory.mktemp("distillery"))


@pytest.fixture
def sparse(workshop: Workshop) -> SparseModel:
    return open_model(workshop.path("model"))


@pytest.fixture
def sample(workshop: Workshop, sparse: SparseModel) -> Sample:
    """Return a function for windows of the training text of some domains."""

    def windows(*domains: str) -> list[torch.Tensor]:
        shards = (open_source(workshop.text(domain), sparse.tokenizer) for domain in domains)
        return [tokens_BS for source in shards for tokens_BS in held_out_windows(source, 32, 1024)]

    return windows
