"""Student set-up: size, initialisation from the teacher, and writing the trained student as an artefact."""

import dataclasses
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

import torch
from torch import Tensor, nn

from baicai.data.shards import TokenShards
from baicai.data.sources import describe_sources
from baicai.data.tokenizer import Tokenizer
from baicai.distillation.config import DistillRecipe
from baicai.distillation.sizing import Shape, Target, dense_shape, pruned_shape, sliced_shape
from baicai.distillation.student.expert_pruning import CardMetrics, prune_leaves, save_pruned_leaf
from baicai.distillation.student.slicing import leaves_to_dense, slice_trunk
from baicai.errors import ConfigError
from baicai.leaves.leaf import open_leaf
from baicai.leaves.model import SparseModel, assemble_model, lock_table, write_lock
from baicai.leaves.replay import generate_replay
from baicai.leaves.trunk import open_trunk, write_trunk
from baicai.model.cost import count_cost, growing_share
from baicai.model.experts import Leaf
from baicai.model.transformer import Transformer
from baicai.run import Run

COMPRESSION = 4
"""Default target: the teacher's parameters divided by this."""
REPLAY_TOKENS = 8192
"""Tokens of the public sample that a student generates if it cannot take over its teacher's."""
REINFORCED_SUFFIX = "-more"
"""Suffix of a reinforcing leaf's name if the teacher already has a leaf of the domain."""


class StudentCard(TypedDict):
    """Fields of a student's card that describe its distillation."""

    recipe: dict[str, Any]
    distilled: Mapping[str, str | float]
    metrics: CardMetrics
    curve: list[dict[str, float]]


@dataclass(frozen=True)
class Student:
    """A student network: a trunk that is trained as a whole, or trainable pruned leaves on a frozen trunk."""

    model: Transformer
    leaves: Mapping[str, Leaf]
    """Pruned leaves in the teacher's order; empty for a trunk."""

    def trainable_parameters(self) -> dict[str, nn.Parameter]:
        """Return the parameters to train, by name."""
        if not self.leaves:
            return dict(self.model.named_parameters())
        return {f"{name}.{key}": p for name, leaf in self.leaves.items() for key, p in leaf.named_parameters()}

    def training_flops(self, tokens: int) -> float:
        """Return the operations to train on `tokens` tokens: forward, and backward through the trained parts only."""
        forward = 3 * count_cost(self.model).flops_per_token * tokens
        if not self.leaves or self.model.leaf_config is None:
            return forward
        trunk = sum(tensor.numel() for tensor in self.model.trunk_tensors().values())
        return forward * growing_share(self.model.config, trunk, self.model.leaf_config)


def leaves_to_keep(config: DistillRecipe, teacher: SparseModel) -> list[str]:
    """Return the names of the teacher's leaves that a dense or pruned student keeps.

    Raises: ConfigError if the recipe names an unknown leaf, or if no leaf matches a domain.
    """
    teacher.network.leaf_mask(config.leaves)
    domains = {source.domain for source in config.data}
    names = config.leaves or [name for name in teacher.leaves if name.removesuffix(REINFORCED_SUFFIX) in domains]
    if not names:
        available = ", ".join(teacher.leaves) or "it has none"
        raise ConfigError(
            f"start={config.start} keeps leaves, but no leaf of the teacher ({available}) is named after a domain in "
            "data: set leaves=[...], or use start=slices"
        )
    return names


def student_shape(
    config: DistillRecipe, teacher: Shape, parameters: int, sparse: SparseModel | None, vocab_size: int
) -> Shape:
    """Derive the student's sizes from the teacher's shape and the target.

    Args:
        parameters: number of the teacher's parameters. For a network of transformers it may exceed that of `teacher`,
            which is only the nearest shape of ours.
        sparse: the teacher's model, or None if it is in transformers' format.
        vocab_size: vocabulary of a fresh student.

    Raises: ConfigError if the target is too small, or if the teacher lacks the parts that the initialisation needs.
    """
    target = config.target or Target(parameters=max(1, parameters // COMPRESSION))
    if config.start == "fresh":
        max_tokens = max(teacher.model.max_tokens, config.train.sequence_tokens)
        fresh = dataclasses.replace(teacher.model, vocab_size=vocab_size, max_tokens=max_tokens)
        return sliced_shape(Shape(fresh), target)
    if sparse is None:
        raise ConfigError(
            f"start={config.start} copies parts of the teacher, but it is in transformers' format: "
            "run baicai import on it first, or use start=fresh"
        )
    if config.start == "slices":
        return sliced_shape(Shape(teacher.model), target)
    selected = dataclasses.replace(teacher, num_leaves=len(leaves_to_keep(config, sparse)))
    return dense_shape(selected, target) if config.start == "dense" else pruned_shape(selected, target)


def initialize_student(
    config: DistillRecipe, shape: Shape, sparse: SparseModel | None, windows: Sequence[Tensor], device: torch.device
) -> Student:
    """Create the student; importance scores of the teacher's parts are measured on `windows`, each [B, S + 1]."""
    if config.start == "fresh" or sparse is None:
        model = Transformer(dataclasses.replace(shape.model, mtp=False))
        model.initialize(config.train.seed)
        return Student(model.to(device), {})
    if config.start == "pruned":
        return _initialize_pruned(config, shape, sparse, windows, device)
    if config.start == "slices":
        return Student(slice_trunk(sparse.network, shape.model, windows).to(device), {})
    names = leaves_to_keep(config, sparse)
    return Student(
        leaves_to_dense(sparse.network, names, windows, shape.model.ffn_dim, config.train.seed).to(device), {}
    )


def _initialize_pruned(
    config: DistillRecipe, shape: Shape, sparse: SparseModel, windows: Iterable[Tensor], device: torch.device
) -> Student:
    assert shape.leaf is not None
    pruned = prune_leaves(sparse, leaves_to_keep(config, sparse), windows, shape.leaf.num_experts)
    leaves = {name: leaf.float().requires_grad_(True) for name, leaf in pruned.items()}
    model = open_trunk(sparse.trunk.path, sparse.trunk.hash).network
    for name, leaf in leaves.items():
        model.join(name, leaf)
    model.topk_group = min(sparse.topk_group, len(leaves))
    return Student(model.to(device), leaves)


def write_student(
    part: Path,
    run: Run,
    student: Student,
    sparse: SparseModel | None,
    tokenizer: Tokenizer,
    train_shards: Mapping[str, TokenShards],
    card: StudentCard,
) -> str:
    """Write the student as an ordinary trunk or model into `part`, the run's future artefact, and return its hash.

    A trunk inherits its teacher's public sample if it has one in the same tokens, and generates one otherwise. The
    user's text is never written.
    """
    student.model.cpu()
    if student.leaves:
        assert sparse is not None
        return _write_pruned(part, run.out, student, sparse, card["metrics"])
    has_sample = sparse is not None and sparse.trunk.card.get("replay") and sparse.tokenizer.hash == tokenizer.hash
    replay = sparse.trunk.replay() if sparse is not None and has_sample else _generated_replay(run, student, tokenizer)
    card_fields = {"data": describe_sources(train_shards), **card}
    return write_trunk(part, student.model, tokenizer, replay=replay, card_fields=card_fields)


def _generated_replay(run: Run, student: Student, tokenizer: Tokenizer) -> TokenShards:
    folder = run.scratch() / "replay"
    if folder.exists():
        return TokenShards.open(folder)
    length = min(256, student.model.config.max_tokens - 1)
    return generate_replay(student.model, tokenizer, folder, REPLAY_TOKENS, length, seed=0)


def _write_pruned(part: Path, out: Path, student: Student, sparse: SparseModel, metrics: CardMetrics) -> str:
    trunk = open_trunk(sparse.trunk.path, sparse.trunk.hash)
    for name, leaf in student.leaves.items():
        save_pruned_leaf(part / name, name, leaf, sparse, metrics)
    model = assemble_model(trunk, [open_leaf(part / name, trunk) for name in student.leaves], student.model.topk_group)
    trunk_path = os.path.relpath(trunk.path.resolve(), out.resolve())
    lock = lock_table(model, trunk_path, {name: name for name in model.leaves})
    write_lock(part, lock, trunk.card, {name: leaf.card for name, leaf in model.leaves.items()})
    return model.hash
