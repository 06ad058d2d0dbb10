"""Shapes within a target: the largest that fits, counted as in the real network."""

import dataclasses
import re
from collections.abc import Callable

import pytest
import torch

from baicai.distillation.sizing import STEP, Shape, Target, dense_shape, pruned_shape, sliced_shape
from baicai.errors import ConfigError
from baicai.inference.quantize import quantize
from baicai.model.config import GQAConfig, LeafConfig, MLAConfig, ModelConfig
from baicai.model.cost import count_cost
from baicai.model.experts import Leaf
from baicai.model.transformer import Transformer

TRUNK = ModelConfig(
    vocab_size=500,
    dim=256,
    num_layers=8,
    ffn_dim=704,
    attention=GQAConfig(num_heads=8, num_kv_heads=4, head_dim=32, qk_norm=True, qkv_bias=True),
    mtp=True,
)
LATENT = dataclasses.replace(
    TRUNK,
    tied_head=False,
    attention=MLAConfig(
        kind="mla", num_heads=8, kv_lora_rank=64, nope_head_dim=32, rope_head_dim=16, value_head_dim=32
    ),
)
LEAF = LeafConfig(first_layer=4, num_experts=16, expert_dim=96, top_k=4)
TEACHER = Shape(TRUNK, LEAF, 3)
Derive = Callable[[Shape, Target], Shape]


def build(shape: Shape) -> Transformer:
    model = Transformer(shape.model)
    for number in range(shape.num_leaves):
        assert shape.leaf is not None
        model.join(f"leaf-{number}", Leaf(shape.model, shape.leaf))
    return model


@pytest.mark.parametrize("trunk", [TRUNK, LATENT], ids=["gqa", "mla"])
def test_shape_counts_match_the_network(trunk: ModelConfig) -> None:
    shape = Shape(trunk, LEAF, 3)
    model = build(shape)
    assert shape.num_parameters() == count_cost(model).total_parameters
    tensors = model.state_dict()
    assert shape.num_bytes("float32") == sum(4 * tensor.numel() for tensor in tensors.values())
    routers = sum(tensor.numel() for name, tensor in tensors.items() if name.endswith(("router_ED", "bias_E")))
    assert shape.num_bytes("bfloat16") == sum(2 * tensor.numel() for tensor in tensors.values()) + 2 * routers


def test_int8_bytes_include_codes_and_scales() -> None:
    shape = Shape(dataclasses.replace(TRUNK, dim=96, mtp=False))
    count = 0
    for tensor in Transformer(shape.model).trunk_tensors().values():
        stored = quantize(torch.zeros_like(tensor)) if tensor.ndim > 1 else (tensor.bfloat16(),)
        count += sum(part.numel() * part.element_size() for part in stored)
    assert shape.num_bytes("int8") == count


@pytest.mark.parametrize("trunk", [TRUNK, LATENT], ids=["gqa", "mla"])
@pytest.mark.parametrize("share", [1.0, 0.5, 0.25, 0.1])
def test_slice_is_the_largest_that_fits(trunk: ModelConfig, share: float) -> None:
    limit = int(Shape(dataclasses.replace(trunk, mtp=False)).num_parameters() * share)
    shape = sliced_shape(Shape(trunk), Target(parameters=limit))
    model = shape.model
    assert 0.9 * limit < shape.num_parameters() <= limit
    assert model.dim % STEP == model.ffn_dim % STEP == 0
    wider = dataclasses.replace(model, ffn_dim=model.ffn_dim + STEP)
    assert model.ffn_dim == trunk.ffn_dim or Shape(wider).num_parameters() > limit
    heads = {"num_heads": model.attention.num_heads}
    heads |= {"num_kv_heads": model.attention.num_kv_heads} if isinstance(model.attention, GQAConfig) else {}
    assert model.attention == dataclasses.replace(trunk.attention, **heads), "the inside of a head is unchanged"
    restored = dataclasses.replace(model, dim=256, num_layers=8, ffn_dim=704, attention=trunk.attention, mtp=trunk.mtp)
    assert restored == trunk, "everything else is unchanged, too"
    assert not model.mtp


def test_whole_teacher_fits_into_its_own_size() -> None:
    limit = Target(parameters=Shape(dataclasses.replace(TRUNK, mtp=False), LEAF, 3).num_parameters())
    assert sliced_shape(TEACHER, limit) == Shape(dataclasses.replace(TRUNK, mtp=False), LEAF, 3)


def test_slice_leaves_room_for_its_leaves() -> None:
    limit = TEACHER.num_bytes("bfloat16") // 4
    shape = sliced_shape(TEACHER, Target(bytes=limit))
    assert shape.leaf is not None
    assert shape.num_bytes("bfloat16") <= limit
    assert shape.num_leaves == 3
    assert shape.leaf.first_layer == round(shape.model.num_layers / 2)
    assert shape.model.dim < sliced_shape(Shape(TRUNK), Target(bytes=limit)).model.dim


def test_more_parameters_fit_in_int8() -> None:
    limit = TEACHER.num_bytes("float32") // 4
    sizes = [
        sliced_shape(TEACHER, Target(bytes=limit, dtype=dtype)).num_parameters() for dtype in ("float32", "bfloat16")
    ]
    assert sizes[0] < sizes[1] < sliced_shape(TEACHER, Target(bytes=limit, dtype="int8")).num_parameters()


def test_dense_student_holds_as_many_experts_as_fit() -> None:
    trunk = dataclasses.replace(TRUNK, mtp=False)
    half = (
        Shape(trunk).num_parameters() + Shape(dataclasses.replace(trunk, ffn_dim=704 + 3 * 16 * 96)).num_parameters()
    ) // 2
    shape = dense_shape(TEACHER, Target(parameters=half))
    assert shape.leaf is None
    assert 704 < shape.model.ffn_dim < 704 + 3 * 16 * 96
    assert Shape(dataclasses.replace(trunk, ffn_dim=shape.model.ffn_dim + STEP)).num_parameters() > half
    assert dense_shape(TEACHER, Target(parameters=10**9)).model.ffn_dim == 704 + 3 * 16 * 96


def test_pruned_student_keeps_as_many_experts_as_fit() -> None:
    five = dataclasses.replace(TEACHER, leaf=dataclasses.replace(LEAF, num_experts=5)).num_parameters()
    leaves = [pruned_shape(TEACHER, Target(parameters=limit)).leaf for limit in (five - 1, five, 10**9)]
    assert [leaf.num_experts for leaf in leaves if leaf] == [4, 5, 16]
    three = dataclasses.replace(TEACHER, leaf=dataclasses.replace(LEAF, num_experts=3, top_k=3)).num_parameters()
    assert pruned_shape(TEACHER, Target(parameters=three)).leaf == dataclasses.replace(LEAF, num_experts=3, top_k=3)


@pytest.mark.parametrize("derive", [sliced_shape, dense_shape, pruned_shape])
@pytest.mark.parametrize("unit", ["parameters", "bytes"])
def test_error_names_the_smallest_possible_target(derive: Derive, unit: str) -> None:
    with pytest.raises(ConfigError, match=r"a target of 1,000 .* cannot hold a vocabulary of 500 tokens") as error:
        derive(TEACHER, Target(**{unit: 1000}))
    match = re.search(r"smallest possible student has ([\d,]+); raise the target", str(error.value))
    assert match
    least = int(match[1].replace(",", ""))
    derive(TEACHER, Target(**{unit: least}))
    with pytest.raises(ConfigError):
        derive(TEACHER, Target(**{unit: least - 1}))


def test_error_names_leaves_that_do_not_fit() -> None:
    with pytest.raises(ConfigError, match=r"500 tokens and 3 leaves.* or keep fewer leaves"):
        sliced_shape(TEACHER, Target(parameters=1000))


@pytest.mark.parametrize("sizes", [{}, {"parameters": 1, "bytes": 1}])
def test_target_is_exactly_one_number(sizes: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match="either parameters or bytes"):
        Target(**sizes)
