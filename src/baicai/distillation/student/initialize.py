"""The student before it has learnt anything: its shape, where it starts, and how it is written in the end."""

import dataclasses
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from baicai.data.shards import TokenShards
from baicai.data.tokenizer import Tokenizer
from baicai.distillation.config import DistillRecipe
from baicai.distillation.sizing import Shape, Target, dense_shape, pruned_shape, sliced_shape
from baicai.distillation.student.expert_pruning import prune_leaves, save_pruned_leaf
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

SHARE = 4
"""A student has this share of its teacher's parameters where no target is given."""
OWN_TOKENS = 8192
REINFORCED_SUFFIX = "-more"
"""Ends the name of a leaf that is grown for an ability which has one already."""


@dataclass(frozen=True)
class Student:
    """A network, and what of it is trained: a trunk whole, or the leaves on a frozen trunk."""

    model: Transformer
    leaves: Mapping[str, Leaf]
    """Pruned ones, in the order of the teacher's; empty for a trunk."""

    def trainable_parameters(self) -> dict[str, nn.Parameter]:
        """Return the parameters to train, by name."""
        if not self.leaves:
            return dict(self.model.named_parameters())
        return {f"{name}.{key}": p for name, leaf in self.leaves.items() for key, p in leaf.named_parameters()}

    def training_flops(self, tokens: int) -> float:
        """Return the operations of training it on so many tokens: forward, and backward through what is trained."""
        forward = 3 * count_cost(self.model).flops_per_token * tokens
        if not self.leaves or self.model.leaf_config is None:
            return forward
        trunk = sum(tensor.numel() for tensor in self.model.trunk_tensors().values())
        return forward * growing_share(self.model.config, trunk, self.model.leaf_config)


def leaves_to_keep(config: DistillRecipe, teacher: SparseModel) -> list[str]:
    """Return the teacher's leaves that dense and pruned students keep.

    Raises: ConfigError for a leaf there is not, or if there is none to keep.
    """
    teacher.network.leaf_mask(config.leaves)
    abilities = {source.domain for source in config.data}
    names = config.leaves or [name for name in teacher.leaves if name.removesuffix(REINFORCED_SUFFIX) in abilities]
    if not names:
        there = ", ".join(teacher.leaves) or "it has none"
        raise ConfigError(
            f"start={config.start} keeps leaves, but no leaf of the teacher ({there}) is named as an ability: "
            "say leaves=[...], or use start=slices"
        )
    return names


def student_shape(
    config: DistillRecipe, teacher: Shape, parameters: int, sparse: SparseModel | None, vocab_size: int
) -> Shape:
    """Return the student's sizes, derived from the teacher's and the target; `parameters` are the teacher's.

    A teacher that is not ours may have more of them than a shape of ours that comes near it.

    Raises: ConfigError if the target is too small, or the start wants what the teacher has not.
    """
    target = config.target or Target(parameters=max(1, parameters // SHARE))
    if config.start == "fresh":
        max_tokens = max(teacher.model.max_tokens, config.train.sequence_tokens)
        fresh = dataclasses.replace(teacher.model, vocab_size=vocab_size, max_tokens=max_tokens)
        return sliced_shape(Shape(fresh), target)
    if sparse is None:
        raise ConfigError(
            f"start={config.start} takes parts of the teacher, which is in transformers' format: "
            "run baicai import on it first, or use start=fresh"
        )
    if config.start == "slices":
        return sliced_shape(Shape(teacher.model), target)
    kept = dataclasses.replace(teacher, num_leaves=len(leaves_to_keep(config, sparse)))
    return dense_shape(kept, target) if config.start == "dense" else pruned_shape(kept, target)


def initialize_student(
    config: DistillRecipe, shape: Shape, sparse: SparseModel | None, windows: Sequence[Tensor], device: torch.device
) -> Student:
    """Return the student at its start; `windows` [B, S + 1] of the wanted abilities tell what counts in the teacher."""
    if config.start == "fresh" or sparse is None:
        model = Transformer(dataclasses.replace(shape.model, mtp=False))
        model.initialize(config.train.seed)
        return Student(model.to(device), {})
    if config.start == "pruned":
        return _begin_pruned(config, shape, sparse, windows, device)
    if config.start == "slices":
        return Student(slice_trunk(sparse.network, shape.model, windows).to(device), {})
    names = leaves_to_keep(config, sparse)
    return Student(
        leaves_to_dense(sparse.network, names, windows, shape.model.ffn_dim, config.train.seed).to(device), {}
    )


def _begin_pruned(
    config: DistillRecipe, shape: Shape, sparse: SparseModel, windows: Iterable[Tensor], device: torch.device
) -> Student:
    assert shape.leaf is not None
    kept = prune_leaves(sparse, leaves_to_keep(config, sparse), windows, shape.leaf.num_experts)
    leaves = {name: leaf.float().requires_grad_(True) for name, leaf in kept.items()}
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
    *,
    data: list[dict[str, Any]],
    card_fields: Mapping[str, Any],
) -> str:
    """Write the student as an ordinary trunk, or model, into what becomes the run's artefact and return its hash.

    A trunk takes along its teacher's public sample where there is one in its tokens, and writes one itself otherwise:
    the user's own text stays with the user.
    """
    student.model.cpu()
    if student.leaves:
        assert sparse is not None
        return _write_pruned(part, run.out, student, sparse, card_fields)
    has_sample = sparse is not None and sparse.trunk.card.get("replay") and sparse.tokenizer.hash == tokenizer.hash
    replay = sparse.trunk.replay() if sparse is not None and has_sample else _own_sample(run, student, tokenizer)
    return write_trunk(part, student.model, tokenizer, replay=replay, card_fields={"data": data, **card_fields})


def _own_sample(run: Run, student: Student, tokenizer: Tokenizer) -> TokenShards:
    folder = run.scratch() / "replay"
    if folder.exists():
        return TokenShards.open(folder)
    length = min(256, student.model.config.max_tokens - 1)
    return generate_replay(student.model, tokenizer, folder, OWN_TOKENS, length, seed=0)


def _write_pruned(part: Path, out: Path, student: Student, sparse: SparseModel, card_fields: Mapping[str, Any]) -> str:
    trunk = open_trunk(sparse.trunk.path, sparse.trunk.hash)
    for name, leaf in student.leaves.items():
        save_pruned_leaf(part / name, name, leaf, sparse, card_fields["metrics"])
    model = assemble_model(trunk, [open_leaf(part / name, trunk) for name in student.leaves], student.model.topk_group)
    place = os.path.relpath(trunk.path.resolve(), out.resolve())
    lock = lock_table(model, place, {name: name for name in model.leaves})
    write_lock(part, lock, trunk.card, {name: leaf.card for name, leaf in model.leaves.items()})
    return model.hash
