"""Exact products of int8 rows."""

import numpy as np
import pytest

from baicai.inference.cpu.kernels import multiply_int8
from baicai.inference.cpu.simd import INT8_BLOCK


@pytest.mark.parametrize("rows", [1, 4, 7])
@pytest.mark.parametrize("extreme", [False, True])
def test_int8_products_are_exact(rows: int, extreme: bool) -> None:
    draw = np.random.default_rng(0)
    length = 3 * INT8_BLOCK
    weights = np.full((rows, length), 255, np.uint8) if extreme else draw.integers(0, 256, (rows, length), np.uint8)
    codes = np.full(length, -127, np.int8) if extreme else draw.integers(-127, 128, length, np.int8)
    scales = np.array([1, 0.5, 0.25], np.float32)  # powers of two: no rounding
    out = np.zeros(rows, np.float32)
    multiply_int8(weights.ctypes.data, length, codes, scales, out)
    products = weights.astype(np.int64).reshape(rows, 3, INT8_BLOCK) * codes.astype(np.int64).reshape(3, INT8_BLOCK)
    assert out.tolist() == (products.sum(2) * scales).sum(1).tolist()
