"""Where a student starts: as slices of its teacher's trunk, or as the trunk with the wanted leaves made dense.

A fresh start is `Transformer.start`. Shape suffixes: H query heads, J key heads, G query heads that share a key head.
"""

import dataclasses
from collections.abc import Collection, Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn

from baicai.distillation.student.importance import (
    best,
    leaf_layers,
    measure_expert_importance,
    measure_trunk_importance,
    trunk_blocks,
)
from baicai.model.config import GQAConfig, MLAConfig, ModelConfig
from baicai.model.experts import LeafLayer
from baicai.model.transformer import Transformer

Axes = Mapping[str, tuple[str, ...]]
"""From the name of a tensor to what its axes count; an empty name is an axis that is kept whole."""


@torch.no_grad()
def slice_trunk(teacher: Transformer, config: ModelConfig, windows: Iterable[Tensor]) -> Transformer:
    """Return a student made of the parts of the teacher's trunk that add most on windows [B, S + 1], in float32.

    Its layers are picked evenly, the first and the last among them. With all the teacher's sizes it is the teacher's
    trunk, bit for bit. Leaves and the module for multi-token prediction are left behind.

    Raises: DataError if there is no text, or the teacher says what is not finite on it.
    """
    use, sizes = measure_trunk_importance(teacher, windows), teacher.config
    student = Transformer(dataclasses.replace(config, mtp=False))
    places = {"width": best(use.width_D, config.dim)}
    _copy(student.embedding, teacher.embedding, {"weight": ("", "width")}, places)
    _copy(student.norm, teacher.norm, {"weight": ("width",)}, places)
    if student.head is not None and teacher.head is not None:
        _copy(student.head, teacher.head, {"weight": ("", "width")}, places)
    picked = torch.linspace(0, sizes.num_layers - 1, config.num_layers).round().long().tolist()
    for block, layer in zip(student.layers, picked, strict=True):
        places["neurons"] = best(use.neurons_LF[layer], config.ffn_dim)
        places |= _heads(use.heads_LH[layer], sizes.attention, config.attention)
        _copy(block, teacher.layers[layer], _block_axes(sizes.attention), places)
    return student


def _copy(student: nn.Module, teacher: nn.Module, axes: Axes, places: Mapping[str, Tensor]) -> None:
    """Give a module the places of the teacher's tensors that are kept on each axis."""
    for name, parameter in student.named_parameters():
        tensor: Tensor = teacher.get_parameter(name)
        for axis, what in enumerate(axes.get(name, ())):
            if what:
                tensor = tensor.index_select(axis, places[what].to(tensor.device))
        parameter.copy_(tensor)


def _block_axes(attention: GQAConfig | MLAConfig) -> Axes:
    if isinstance(attention, GQAConfig):
        axes: dict[str, tuple[str, ...]] = {"q.weight": ("queries", "width"), "q.bias": ("queries",)}
        axes |= {f"{one}.weight": ("keys", "width") for one in "kv"} | {f"{one}.bias": ("keys",) for one in "kv"}
    else:
        axes = {"kv_down.weight": ("", "width"), "kv_up.weight": ("keys", ""), "q_down.weight": ("", "width")}
        axes["q.weight"] = ("queries", "width" if attention.q_lora_rank is None else "")
    axes["out.weight"] = ("width", "values")
    return {f"attention.{name}": counted for name, counted in axes.items()} | {
        "attention_norm.weight": ("width",),
        "shared_norm.weight": ("width",),
        "shared.gate.weight": ("neurons", "width"),
        "shared.up.weight": ("neurons", "width"),
        "shared.down.weight": ("width", "neurons"),
    }


def _heads(added_H: Tensor, teacher: GQAConfig | MLAConfig, student: GQAConfig | MLAConfig) -> dict[str, Tensor]:
    """Return the rows of the heads to keep; query heads stay with the key head that they share."""
    if isinstance(teacher, GQAConfig) and isinstance(student, GQAConfig):
        added_JG = added_H.view(teacher.num_kv_heads, -1)
        together, wanted = added_JG.shape[1], student.num_heads // student.num_kv_heads
        keys_J = best(added_JG.sum(1), student.num_kv_heads)
        queries_H = torch.cat([key * together + best(added_JG[key], wanted) for key in keys_J])
        queries, keys = _rows(queries_H, teacher.head_dim), _rows(keys_J, teacher.head_dim)
        return {"queries": queries, "keys": keys, "values": queries}
    assert isinstance(teacher, MLAConfig), "a student has its teacher's kind of attention"
    heads_H, nope, value = best(added_H, student.num_heads), teacher.nope_head_dim, teacher.value_head_dim
    sizes = {"queries": nope + teacher.rope_head_dim, "keys": nope + value, "values": value}
    return {what: _rows(heads_H, size) for what, size in sizes.items()}


def _rows(numbers: Tensor, size: int) -> Tensor:
    return (numbers[:, None] * size + torch.arange(size)).flatten()


@torch.no_grad()
def leaves_to_dense(
    teacher: Transformer, wanted: Collection[str], windows: Iterable[Tensor], ffn_dim: int, seed: int = 0
) -> Transformer:
    """Return the trunk with the wanted leaves' experts in its feed-forward, in float32; the other leaves are dropped.

    An expert counts with the mean routing weight that it gets on windows [B, S + 1] of the wanted abilities. Those that
    add most come first; what `ffn_dim` has no room for is cut off, and those that never fire are dropped. A network has
    one `ffn_dim`: where a layer has less to put in, above all below the leaves, it is filled with neurons that add
    nothing yet and can learn, as a leaf's do when it is started.

    Raises: ConfigError for a leaf there is not, DataError if there is no text, or the teacher says what is not finite.
    """
    assert ffn_dim >= teacher.config.ffn_dim, "the shared expert stays whole"
    use, first = measure_expert_importance(teacher, wanted, windows), teacher.first_leaf_layer
    student = Transformer(dataclasses.replace(teacher.config, ffn_dim=ffn_dim, mtp=False))
    student.initialize(seed)
    for name, parameter in student.named_parameters():
        if ".shared." not in name:
            parameter.copy_(teacher.get_parameter(name))
    for number, (block, own) in enumerate(zip(trunk_blocks(student), trunk_blocks(teacher), strict=True)):
        parts = [(own.shared.gate.weight, own.shared.up.weight, own.shared.down.weight)]
        if number >= first:
            added_E, weights_E = use.importance_LGE[number - first].flatten(), use.weights_LGE[number - first].flatten()
            parts += _experts(leaf_layers(teacher, use.names, number), added_E, weights_E)
        gate, up, down = (
            torch.cat(stack, axis) for stack, axis in zip(zip(*parts, strict=True), (0, 0, 1), strict=True)
        )
        room = min(ffn_dim, len(gate))
        block.shared.gate.weight[:room], block.shared.up.weight[:room] = gate[:room], up[:room]
        block.shared.down.weight[:, :room], block.shared.down.weight[:, room:] = down[:, :room], 0
    return student


def _experts(layers: Sequence[LeafLayer], added_E: Tensor, weights_E: Tensor) -> list[tuple[Tensor, Tensor, Tensor]]:
    """Return gate, up and weighted down-projection of each expert of these leaves that fires, what adds most first."""
    found = []
    for place in added_E.argsort(descending=True, stable=True)[: int(added_E.count_nonzero())].tolist():
        leaf, expert = divmod(place, len(added_E) // len(layers))
        layer, weight = layers[leaf], float(weights_E[place])
        found.append((layer.gate_EFD[expert], layer.up_EFD[expert], layer.down_EDF[expert].float() * weight))
    return found
