"""Products of rows with several vectors: right, and with the same bits however many are multiplied together."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from baicai.inference.cpu.attention import mix
from baicai.inference.cpu.kernels import BFLOAT16, FLOAT32, Vectors, make_vectors, prepare
from baicai.inference.cpu.matmul import BLOCK_BYTES, multiply
from baicai.inference.cpu.simd import WIDTH

ROWS, MANY = 23, 11
Matrix = tuple[NDArray[np.int64], NDArray[np.float32], torch.Tensor]


def matrix(kind: int, places: int, rows: int = ROWS) -> Matrix:
    """Return a matrix as products want it, its values, and what holds it."""
    held = torch.randn(rows, places, generator=torch.Generator().manual_seed(places))
    held = held.bfloat16() if kind == BFLOAT16 else held
    return np.array([kind, held.data_ptr(), 0], np.int64), held.float().numpy(), held


def vectors(places: int) -> Vectors:
    made = make_vectors(MANY, places)
    made.plain[:] = np.random.default_rng(places).normal(size=(MANY, places))
    for number in range(MANY):
        prepare(made, number, places, False)
    return made


@pytest.mark.parametrize("kind", [FLOAT32, BFLOAT16], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("places", [24, 32, 100, 224])
def test_products_have_the_bits_that_each_has_alone(kind: int, places: int) -> None:
    table, values, held = matrix(kind, places)
    made, single = vectors(places), np.zeros((MANY, ROWS), np.float32)
    for number in range(MANY):
        for row in range(ROWS):
            one = np.array([number])
            multiply(table, places, row, row + 1, made, one, single, one, 0)
    np.testing.assert_allclose(single, made.plain @ values.T, atol=2e-4)
    for count in range(1, MANY + 1):
        for begin, end in ((0, ROWS), (2, 4), (3, 10)):
            chosen = np.random.default_rng(count).permutation(MANY)[:count]
            out = np.zeros((MANY, 2 + ROWS), np.float32)
            multiply(table, places, begin, end, made, chosen, out, chosen[::-1].copy(), 2)
            assert np.array_equal(out[chosen[::-1], 2 + begin : 2 + end], single[chosen, begin:end])
            assert not out[:, : 2 + begin].any()
            assert not out[:, 2 + end :].any()
    assert held.numel()


def test_more_rows_than_are_read_together() -> None:
    places = 64
    rows = 3 * BLOCK_BYTES // (4 * places) + 5
    table, values, held = matrix(FLOAT32, places, rows)
    made, every, out = vectors(places), np.arange(MANY), np.zeros((MANY, rows), np.float32)
    multiply(table, places, 0, rows, made, every, out, every, 0)
    np.testing.assert_allclose(out, made.plain @ values.T, atol=2e-4)
    assert held.numel()


@pytest.mark.parametrize("width", [8, WIDTH, WIDTH + 8])
@pytest.mark.parametrize("size", [4, 16, 64])
def test_rows_are_added_up_by_their_shares(width: int, size: int) -> None:
    draw = np.random.default_rng(width)
    rows, shares = draw.normal(size=(64, width)).astype(np.float32), draw.random(37).astype(np.float32)
    blocks = draw.permutation(64 // size)[None]
    places = np.concatenate([np.arange(block * size, block * size + size) for block in blocks[0]])[: len(shares)]
    out = np.ones(width, np.float32)
    mix(shares, rows, blocks, 0, size, out)
    np.testing.assert_allclose(out, shares @ rows[places], atol=1e-4)
