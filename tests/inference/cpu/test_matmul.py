"""Products of rows and several vectors: correct, and with the same bits however many are multiplied at once."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from baicai.inference.cpu.attention import weighted_sum
from baicai.inference.cpu.kernels import BFLOAT16, FLOAT32, Activations, make_activations, prepare
from baicai.inference.cpu.matmul import BLOCK_BYTES, multiply
from baicai.inference.cpu.simd import ADD_ROWS_WIDTH

ROWS, MANY = 23, 11
Matrix = tuple[NDArray[np.int64], NDArray[np.float32], torch.Tensor]


def matrix(kind: int, length: int, rows: int = ROWS) -> Matrix:
    """Return a matrix as `multiply` takes it, its values, and the tensor that owns the memory."""
    held = torch.randn(rows, length, generator=torch.Generator().manual_seed(length))
    held = held.bfloat16() if kind == BFLOAT16 else held
    return np.array([kind, held.data_ptr(), 0], np.int64), held.float().numpy(), held


def vectors(length: int) -> Activations:
    activations = make_activations(MANY, length)
    activations.plain[:] = np.random.default_rng(length).normal(size=(MANY, length))
    for number in range(MANY):
        prepare(activations, number, length, False)
    return activations


@pytest.mark.parametrize("kind", [FLOAT32, BFLOAT16], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("length", [24, 32, 100, 224])
def test_products_have_the_same_bits_alone_and_together(kind: int, length: int) -> None:
    table, values, held = matrix(kind, length)
    activations, single = vectors(length), np.zeros((MANY, ROWS), np.float32)
    for number in range(MANY):
        for row in range(ROWS):
            index = np.array([number])
            multiply(table, length, row, row + 1, activations, index, single, index, 0)
    np.testing.assert_allclose(single, activations.plain @ values.T, atol=2e-4)
    for count in range(1, MANY + 1):
        for begin, end in ((0, ROWS), (2, 4), (3, 10)):
            chosen = np.random.default_rng(count).permutation(MANY)[:count]
            out = np.zeros((MANY, 2 + ROWS), np.float32)
            multiply(table, length, begin, end, activations, chosen, out, chosen[::-1].copy(), 2)
            assert np.array_equal(out[chosen[::-1], 2 + begin : 2 + end], single[chosen, begin:end])
            assert not out[:, : 2 + begin].any()
            assert not out[:, 2 + end :].any()
    assert held.numel()


def test_more_rows_than_one_block() -> None:
    length = 64
    rows = 3 * BLOCK_BYTES // (4 * length) + 5
    table, values, held = matrix(FLOAT32, length, rows)
    activations, indices, out = vectors(length), np.arange(MANY), np.zeros((MANY, rows), np.float32)
    multiply(table, length, 0, rows, activations, indices, out, indices, 0)
    np.testing.assert_allclose(out, activations.plain @ values.T, atol=2e-4)
    assert held.numel()


@pytest.mark.parametrize("width", [8, ADD_ROWS_WIDTH, ADD_ROWS_WIDTH + 8])
@pytest.mark.parametrize("size", [4, 16, 64])
def test_weighted_sum_of_rows(width: int, size: int) -> None:
    draw = np.random.default_rng(width)
    rows, shares = draw.normal(size=(64, width)).astype(np.float32), draw.random(37).astype(np.float32)
    block_table = draw.permutation(64 // size)[None]
    length = np.concatenate([np.arange(block * size, block * size + size) for block in block_table[0]])[: len(shares)]
    out = np.ones(width, np.float32)
    weighted_sum(shares, rows, block_table, 0, size, out)
    np.testing.assert_allclose(out, shares @ rows[length], atol=1e-4)
