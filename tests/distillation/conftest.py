from collections.abc import Callable

import pytest
import torch

from baicai.data.sources import open_source
from baicai.evaluation.bits_per_byte import held_out_windows
from baicai.leaves.join import SparseModel, open_model
from tests.conftest import Workshop

Sample = Callable[..., list[torch.Tensor]]


@pytest.fixture
def teacher(workshop: Workshop) -> SparseModel:
    return open_model(workshop.path("model"))


@pytest.fixture
def sample(workshop: Workshop, teacher: SparseModel) -> Sample:
    """Windows of some domains' text."""

    def windows(*domains: str) -> list[torch.Tensor]:
        shards = (open_source(workshop.text(domain), teacher.tokenizer) for domain in domains)
        return [tokens_BS for one in shards for tokens_BS in held_out_windows(one, 32, 1024)]

    return windows
