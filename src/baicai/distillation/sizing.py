"""Student sizes: the largest model within a target, with the teacher's vocabulary and attention head size."""

import dataclasses
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch

from baicai.config import Count, recipe
from baicai.errors import ConfigError
from baicai.inference.cpu.simd import INT8_BLOCK
from baicai.model.config import GQAConfig, LeafConfig, MLAConfig, ModelConfig
from baicai.model.experts import LeafLayer
from baicai.model.layers import Block
from baicai.model.multi_token import MultiTokenModule

STEP = 32
"""Widths are a multiple of this, which suits the matrix kernels of CPUs and GPUs."""
WORD_BYTES = {"float32": 4, "bfloat16": 2, "int8": 2}
"""Bytes per weight; for int8, of weights outside of matrices, which stay in 16 bits."""


@dataclass(frozen=True)
class Shape:
    """Sizes of a trunk and of the leaves on it, without weights."""

    model: ModelConfig
    leaf: LeafConfig | None = None
    num_leaves: int = 0

    def num_parameters(self) -> int:
        """Return the number of weights."""
        return sum(count * math.prod(shape) for _, shape, count in self._tensors())

    def num_bytes(self, dtype: str) -> int:
        """Return the size of the weights in bytes. Routers stay in float32; an int8 row includes its scale."""
        return sum(count * _tensor_bytes(name, shape, dtype) for name, shape, count in self._tensors())

    def _tensors(self) -> Iterator[tuple[str, torch.Size, int]]:
        """Yield the name, the shape and the number of each kind of tensor."""
        model, leaf = self.model, self.leaf
        yield "embedding", torch.Size((model.vocab_size, model.dim)), 1 if model.tied_head else 2
        yield "norm", torch.Size((model.dim,)), 1
        with torch.device("meta"):
            kinds: list[tuple[torch.nn.Module, int]] = [(Block(model), model.num_layers)]
            if leaf is not None:
                kinds.append((LeafLayer(model.dim, leaf), self.num_leaves * (model.num_layers - leaf.first_layer)))
            if model.mtp:
                kinds.append((MultiTokenModule(model), 1))
        for module, count in kinds:
            yield from ((name, tensor.shape, count) for name, tensor in module.state_dict().items())


def _tensor_bytes(name: str, shape: torch.Size, dtype: str) -> int:
    if name in ("router_ED", "bias_E"):
        return 4 * math.prod(shape)
    if dtype == "int8" and len(shape) > 1:
        return math.prod(shape[:-1]) * (-(-shape[-1] // INT8_BLOCK) * INT8_BLOCK + 4)
    return math.prod(shape) * WORD_BYTES[dtype]


@recipe
class Target:
    """Maximum size of a student, in parameters or in bytes of weights."""

    parameters: Count | None = None
    bytes: Count | None = None
    dtype: Literal["float32", "bfloat16", "int8"] = "bfloat16"
    """Type of the weights in memory, if the target is in bytes."""

    def __post_init__(self) -> None:
        if (self.parameters is None) == (self.bytes is None):
            raise ConfigError("a target is either parameters or bytes: set exactly one of them")

    def largest(self, shapes: Sequence[Shape]) -> Shape:
        """Return the largest of the shapes that fits the target.

        Raises: ConfigError that names the size of the smallest shape if none fits.
        """
        sizes = [self._size(shape) for shape in shapes]
        limit = self.parameters or self.bytes or 0
        fitting = [(size, shape) for size, shape in zip(sizes, shapes, strict=True) if size <= limit]
        if fitting:
            return max(fitting, key=lambda pair: pair[0])[1]
        smallest = shapes[sizes.index(min(sizes))]
        unit = "parameters" if self.parameters else f"bytes in {self.dtype}"
        leaves = f" and {smallest.num_leaves} leaves" if smallest.num_leaves else ""
        raise ConfigError(
            f"a target of {limit:,} {unit} cannot hold a vocabulary of {smallest.model.vocab_size:,} tokens{leaves}: "
            f"the smallest possible student has {min(sizes):,}; raise the target"
            + (" or keep fewer leaves" if leaves else "")
        )

    def _size(self, shape: Shape) -> int:
        return shape.num_parameters() if self.parameters else shape.num_bytes(self.dtype)


def sliced_shape(teacher: Shape, target: Target) -> Shape:
    """Return the widest student in the teacher's proportions; spend the rest on layers, then feed-forward width.

    The number of layers scales with the square root of the width. Leaves keep their number and sizes and start at the
    same relative depth.

    Raises: ConfigError if the target is too small.
    """
    dim, num_layers, ffn_dim = teacher.model.dim, teacher.model.num_layers, teacher.model.ffn_dim
    depth = {width: max(1, round(num_layers * (width / dim) ** 0.5)) for width in _steps(min(STEP, dim), dim)}
    width = target.largest([_scaled(teacher, *sizes) for sizes in depth.items()]).model.dim
    deepest = target.largest([_scaled(teacher, width, count) for count in range(depth[width], num_layers + 1)])
    return target.largest([_with_feed_forward(deepest, width) for width in _steps(deepest.model.ffn_dim, ffn_dim)])


def dense_shape(teacher: Shape, target: Target) -> Shape:
    """Return the trunk without leaves, its feed-forward widened to hold as many of their experts as fit.

    Raises: ConfigError if the target is too small for the trunk alone.
    """
    assert teacher.leaf is not None, "a model without leaves is dense"
    max_ffn_dim = teacher.model.ffn_dim + teacher.num_leaves * teacher.leaf.num_experts * teacher.leaf.expert_dim
    trunk = Shape(dataclasses.replace(teacher.model, mtp=False))
    return target.largest(
        [_with_feed_forward(trunk, ffn_dim) for ffn_dim in _steps(teacher.model.ffn_dim, max_ffn_dim)]
    )


def pruned_shape(teacher: Shape, target: Target) -> Shape:
    """Return the teacher's shape with as many experts per leaf as fit.

    Raises: ConfigError if the target is too small for one expert per leaf.
    """
    leaf = teacher.leaf
    assert leaf is not None, "a model without leaves has no experts"
    return target.largest(
        [dataclasses.replace(teacher, leaf=with_experts(leaf, count)) for count in range(1, leaf.num_experts + 1)]
    )


def with_experts(leaf: LeafConfig, num_experts: int) -> LeafConfig:
    """Return the leaf sizes with another number of experts; `top_k` is capped at it."""
    return dataclasses.replace(leaf, num_experts=num_experts, top_k=min(leaf.top_k, num_experts))


def _steps(first: int, last: int) -> list[int]:
    """Return `first`, the multiples of `STEP` up to `last`, and `last`."""
    return [first, *(width for width in range(STEP, last, STEP) if width > first), *([last] if last > first else [])]


def _with_feed_forward(shape: Shape, ffn_dim: int) -> Shape:
    return dataclasses.replace(shape, model=dataclasses.replace(shape.model, ffn_dim=ffn_dim))


def _scaled(teacher: Shape, dim: int, num_layers: int) -> Shape:
    model, leaf, ratio = teacher.model, teacher.leaf, dim / teacher.model.dim
    ffn_dim = int(model.ffn_dim * ratio) // STEP * STEP if ratio < 1 else model.ffn_dim
    if leaf is not None:
        first = min(num_layers - 1, round(leaf.first_layer * num_layers / model.num_layers))
        leaf = dataclasses.replace(leaf, first_layer=first)
    scaled = dataclasses.replace(
        model,
        dim=dim,
        num_layers=num_layers,
        ffn_dim=max(ffn_dim, min(STEP, model.ffn_dim)),
        attention=_fewer_heads(model.attention, ratio),
        mtp=False,
    )
    return Shape(scaled, leaf, teacher.num_leaves)


def _fewer_heads(attention: GQAConfig | MLAConfig, ratio: float) -> GQAConfig | MLAConfig:
    if isinstance(attention, MLAConfig):
        return dataclasses.replace(attention, num_heads=max(1, round(attention.num_heads * ratio)))
    num_kv_heads = max(1, round(attention.num_kv_heads * ratio))
    group_size = attention.num_heads // attention.num_kv_heads
    group_size = min(group_size, max(1, round(attention.num_heads * ratio / num_kv_heads)))
    return dataclasses.replace(attention, num_heads=num_kv_heads * group_size, num_kv_heads=num_kv_heads)
