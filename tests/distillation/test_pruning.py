"""Pruning by use: what never fires is not missed, what is kept is what adds most, and a pruned leaf is a leaf."""

from pathlib import Path

import pytest
import torch

from baicai.distillation.importance import measure_experts
from baicai.distillation.pruning import prune_leaves, save_pruned
from baicai.errors import ConfigError, DataError
from baicai.exchange.exporting import ExportRecipe, export_model
from baicai.inference.generate import generate
from baicai.leaves.join import JoinRecipe, SparseModel, join_leaves, open_model
from baicai.run import carry_out
from tests.conftest import Workshop
from tests.distillation.conftest import Sample


def pruned_model(teacher: SparseModel, leaves: dict[str, torch.nn.Module]) -> None:
    for name, leaf in leaves.items():
        teacher.model.peel(name)
        teacher.model.join(name, leaf)  # type: ignore[arg-type]
