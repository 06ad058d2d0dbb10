"""Initialisation from a teacher: width- and depth-pruned trunks, and leaves converted to dense feed-forward neurons.

Random initialisation is `Transformer.initialize`. Shape suffixes: H query heads, J key heads, G query heads that share
a key head, E experts of all leaves of a layer.
"""

import dataclasses
from collections.abc import Collection, Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn

from baicai.distillation.student.importance import (
    leaf_layers,
    measure_expert_importance,
    measure_trunk_importance,
    top_indices,
    trunk_blocks,
)
from baicai.model.config import GQAConfig, MLAConfig, ModelConfig
from baicai.model.experts import LeafLayer
from baicai.model.transformer import Transformer

Axes = Mapping[str, tuple[str, ...]]
"""From a tensor's name to the kind of unit that each axis indexes; an empty string marks an axis that is not pruned."""


@torch.no_grad()
def slice_trunk(teacher: Transformer, config: ModelConfig, windows: Iterable[Tensor]) -> Transformer:
    """Build a float32 student from the parts of the teacher's trunk that are most important on `windows` [B, S + 1].

    Layers are picked at even spacing, including the first and the last. With the teacher's own sizes the result is the
    teacher's trunk bit for bit. Leaves and the module for multi-token prediction are dropped.

    Raises: DataError if `windows` is empty, or the teacher's activations on it are not finite.
    """
    importance, sizes = measure_trunk_importance(teacher, windows), teacher.config
    student = Transformer(dataclasses.replace(config, mtp=False))
    indices = {"width": top_indices(importance.width_D, config.dim)}
    _copy(student.embedding, teacher.embedding, {"weight": ("", "width")}, indices)
    _copy(student.norm, teacher.norm, {"weight": ("width",)}, indices)
    if student.head is not None and teacher.head is not None:
        _copy(student.head, teacher.head, {"weight": ("", "width")}, indices)
    picked = torch.linspace(0, sizes.num_layers - 1, config.num_layers).round().long().tolist()
    for block, layer in zip(student.layers, picked, strict=True):
        indices["neurons"] = top_indices(importance.neurons_LF[layer], config.ffn_dim)
        indices |= _head_indices(importance.heads_LH[layer], sizes.attention, config.attention)
        _copy(block, teacher.layers[layer], _block_axes(sizes.attention), indices)
    return student


def _copy(student: nn.Module, teacher: nn.Module, axes: Axes, indices: Mapping[str, Tensor]) -> None:
    """Copy the teacher's tensors into a module, restricted to the given indices on each axis."""
    for name, parameter in student.named_parameters():
        tensor: Tensor = teacher.get_parameter(name)
        for axis, unit in enumerate(axes.get(name, ())):
            if unit:
                tensor = tensor.index_select(axis, indices[unit].to(tensor.device))
        parameter.copy_(tensor)


def _block_axes(attention: GQAConfig | MLAConfig) -> Axes:
    if isinstance(attention, GQAConfig):
        axes: dict[str, tuple[str, ...]] = {"q.weight": ("queries", "width"), "q.bias": ("queries",)}
        axes |= {f"{name}.weight": ("keys", "width") for name in "kv"} | {f"{name}.bias": ("keys",) for name in "kv"}
    else:
        axes = {"kv_down.weight": ("", "width"), "kv_up.weight": ("keys", ""), "q_down.weight": ("", "width")}
        axes["q.weight"] = ("queries", "width" if attention.q_lora_rank is None else "")
    axes["out.weight"] = ("width", "values")
    return {f"attention.{name}": units for name, units in axes.items()} | {
        "attention_norm.weight": ("width",),
        "shared_norm.weight": ("width",),
        "shared.gate.weight": ("neurons", "width"),
        "shared.up.weight": ("neurons", "width"),
        "shared.down.weight": ("width", "neurons"),
    }


def _head_indices(
    scores_H: Tensor, teacher: GQAConfig | MLAConfig, student: GQAConfig | MLAConfig
) -> dict[str, Tensor]:
    """Return the rows of the most important heads; query heads stay with the key head that they share."""
    if isinstance(teacher, GQAConfig) and isinstance(student, GQAConfig):
        scores_JG = scores_H.view(teacher.num_kv_heads, -1)
        group_size, new_group_size = scores_JG.shape[1], student.num_heads // student.num_kv_heads
        keys_J = top_indices(scores_JG.sum(1), student.num_kv_heads)
        queries_H = torch.cat([key * group_size + top_indices(scores_JG[key], new_group_size) for key in keys_J])
        queries, keys = _rows(queries_H, teacher.head_dim), _rows(keys_J, teacher.head_dim)
        return {"queries": queries, "keys": keys, "values": queries}
    assert isinstance(teacher, MLAConfig), "a student has its teacher's kind of attention"
    heads_H, nope, value = top_indices(scores_H, student.num_heads), teacher.nope_head_dim, teacher.value_head_dim
    sizes = {"queries": nope + teacher.rope_head_dim, "keys": nope + value, "values": value}
    return {unit: _rows(heads_H, size) for unit, size in sizes.items()}


def _rows(numbers: Tensor, size: int) -> Tensor:
    return (numbers[:, None] * size + torch.arange(size)).flatten()


@torch.no_grad()
def leaves_to_dense(
    teacher: Transformer, names: Collection[str], windows: Iterable[Tensor], ffn_dim: int, seed: int = 0
) -> Transformer:
    """Return a float32 trunk whose feed-forward layers hold the experts of the named leaves; other leaves are dropped.

    Each expert is scaled by its mean routing weight on `windows` [B, S + 1] of the domains to keep. Experts are placed
    by importance: those beyond `ffn_dim` are cut off, and those that never fire are dropped. All layers have the same
    `ffn_dim`. Layers with fewer experts, above all those below the leaves, are filled with neurons whose output
    projection is zero, so that they change nothing at first and can learn, like those of a new leaf.

    Raises: ConfigError if a leaf does not exist; DataError if `windows` is empty, or the teacher's activations are
    not finite.
    """
    assert ffn_dim >= teacher.config.ffn_dim, "the shared expert is kept in full"
    importance, first = measure_expert_importance(teacher, names, windows), teacher.first_leaf_layer
    student = Transformer(dataclasses.replace(teacher.config, ffn_dim=ffn_dim, mtp=False))
    student.initialize(seed)
    for name, parameter in student.named_parameters():
        if ".shared." not in name:
            parameter.copy_(teacher.get_parameter(name))
    for number, (block, source) in enumerate(zip(trunk_blocks(student), trunk_blocks(teacher), strict=True)):
        parts = [(source.shared.gate.weight, source.shared.up.weight, source.shared.down.weight)]
        if number >= first:
            scores_E = importance.importance_LGE[number - first].flatten()
            weights_E = importance.weights_LGE[number - first].flatten()
            parts += _experts(leaf_layers(teacher, importance.names, number), scores_E, weights_E)
        gate, up, down = (
            torch.cat(stack, axis) for stack, axis in zip(zip(*parts, strict=True), (0, 0, 1), strict=True)
        )
        width = min(ffn_dim, len(gate))
        block.shared.gate.weight[:width], block.shared.up.weight[:width] = gate[:width], up[:width]
        block.shared.down.weight[:, :width], block.shared.down.weight[:, width:] = down[:, :width], 0
    return student


def _experts(layers: Sequence[LeafLayer], scores_E: Tensor, weights_E: Tensor) -> list[tuple[Tensor, Tensor, Tensor]]:
    """Return the gate, up and weighted down projections of all experts that fire, the most important first."""
    experts = []
    for index in scores_E.argsort(descending=True, stable=True)[: int(scores_E.count_nonzero())].tolist():
        leaf, expert = divmod(index, len(scores_E) // len(layers))
        layer, weight = layers[leaf], float(weights_E[index])
        experts.append((layer.gate_EFD[expert], layer.up_EFD[expert], layer.down_EDF[expert].float() * weight))
    return experts
