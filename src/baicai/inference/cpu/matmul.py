"""Products of weight rows with the vectors of a step, each row read once for all of them.

A product has the same bits whatever other rows and vectors are multiplied beside it.
"""

from typing import Any

import numpy as np
from numba import njit

from baicai.inference.cpu import simd
from baicai.inference.cpu.kernels import (
    BFLOAT16,
    FLOAT32,
    INT8,
    Floats,
    Numbers,
    Table,
    Vectors,
    compiled,
    dot,
    dot_bfloat16,
    floats,
    multiply_int8,
    row_bytes,
    share,
    words,
)
from baicai.inference.cpu.simd import AHEAD, HAS_AVX512, INT8_BLOCK, LANES, TOGETHER, Place

Range = tuple[int, int]
Fetch = tuple[int, int, int]
"""How many bytes further on rows are fetched, and the range of those that are."""
BLOCK_BYTES = 2**17
"""Of rows that are read together for all vectors of a step: they stay in a near cache."""


def _by_shape(one: Any, four: Any, two: Any, pair: Any) -> Any:
    """Return what multiplies one row with up to four vectors, four rows with one or two, two rows with up to four."""

    @njit(inline="always")
    def multiply(
        rows: int, at: int, stride: int, blocks: int, gap: int, vectors: Place, outs: Place, last: int
    ) -> None:
        if rows == 1:
            one(at, stride, blocks, gap, vectors, outs, last)
        elif last == 0:
            four(at, stride, blocks, gap, vectors, outs, last)
        elif last == 1:
            two(at, stride, blocks, gap, vectors, outs, last)
        else:
            pair(at, stride, blocks, gap, vectors, outs, last)

    return multiply


_multiply_float32, _multiply_bfloat16 = _by_shape(*simd.FLOAT32), _by_shape(*simd.BFLOAT16)


@compiled
def fetch(address: int, size: int) -> None:
    """Have memory brought near that is read soon."""
    for line in range(address, address + size, 64):
        simd.fetch_line(line)


@compiled
def multiply_rows(
    kind: int, address: int, places: int, rows: int, gap: int, vectors: Place, outs: Place, last: int, fetched: Fetch
) -> None:
    """Multiply rows of float32 or bfloat16 with the vectors up to number `last`, three at most; needs AVX-512.

    The last places of a row, that fill no block, are left out. Of the rows that are `fetched` bytes further on, those
    in its range are fetched.
    """
    stride, blocks, row, (ahead, low, high) = row_bytes(kind, places), places // (2 * LANES), 0, fetched
    while row < rows:
        together = 4 if last < 2 else 2
        if row + together > rows:
            together = 1
        at = address + row * stride
        if low <= row < high:
            fetch(at + ahead, together * stride)
        to = outs[0], outs[1] + 4 * row, outs[2]
        if kind == FLOAT32:
            _multiply_float32(together, at, stride, blocks, gap, vectors, to, last)
        else:
            _multiply_bfloat16(together, at, stride, blocks, gap, vectors, to, last)
        row += together


@compiled
def _tail(kind: int, row: int, first: int, places: int, vectors: Vectors, number: int) -> float:
    """Return what the last places of a row add to its product with a vector."""
    if kind == FLOAT32:
        return dot(floats(row + 4 * first, places - first), vectors.plain[number, first:places])
    half = slice(first // 2, places // 2)
    pairs = words(row + 2 * first, (places - first) // 2)
    return dot_bfloat16(pairs, vectors.apart[number, 0, half], vectors.apart[number, 1, half])


@compiled
def multiply_floats(
    kind: int, address: int, places: int, vectors: Vectors, from_N: Numbers, out: Floats, to_N: Numbers, columns: Range
) -> None:
    """Multiply rows of float32 or bfloat16 with vectors, into `columns` of out[to_N[i]], a row each.

    While the first few vectors are multiplied, rows are fetched that these will meet soon; later, those that come after
    all of these, for each few a share of them.
    """
    (first, last), stride = columns, row_bytes(kind, places)
    tail, passes, rows = places // (2 * LANES) * 2 * LANES, -(-len(from_N) // TOGETHER), last - first
    if kind == FLOAT32:
        begin, step, gap = vectors.plain.ctypes.data, 4 * vectors.plain.shape[1], 4 * LANES
    else:
        begin, step, gap = vectors.apart.ctypes.data, 8 * vectors.apart.shape[2], 4 * vectors.apart.shape[2]
    for number in range(passes if tail else 0):
        skipped, few = number * TOGETHER, min(TOGETHER, len(from_N) - number * TOGETHER)
        ahead, low, high = AHEAD, 0, rows
        if number > 0:
            ahead, (low, high) = rows * stride, share(rows, number - 1, passes - 1)
        from_ = from_N.ctypes.data + 8 * skipped, begin, step
        to = to_N.ctypes.data + 8 * skipped, out.ctypes.data + 4 * first, 4 * out.shape[1]
        multiply_rows(kind, address, places, rows, gap, from_, to, few - 1, (ahead, low, high))
    if tail == places:
        return
    for column in range(first, last):
        row = address + (column - first) * stride
        for i in range(len(from_N)):
            before = out[to_N[i], column] if tail else np.float32(0)
            out[to_N[i], column] = before + _tail(kind, row, tail, places, vectors, from_N[i])


@compiled
def multiply(
    matrix: Table,
    places: int,
    begin: int,
    end: int,
    vectors: Vectors,
    from_N: Numbers,
    out: Floats,
    to_N: Numbers,
    out_column: int,
) -> None:
    """Multiply rows `begin` to `end` of a matrix (kind, address, address of scales) with vectors, given by number.

    Row r with vector from_N[i] goes to out[to_N[i], out_column + r].
    """
    kind, address, scales = matrix[0], matrix[1], matrix[2]
    stride, passes = row_bytes(kind, places), -(-len(from_N) // TOGETHER)
    height = max(2, BLOCK_BYTES // stride // 2 * 2) if passes > 1 else end - begin
    for start in range(begin, end, max(height, 1)):
        stop, at = min(start + height, end), address + start * stride
        if kind != INT8 and HAS_AVX512:
            columns = (out_column + start, out_column + stop)
            multiply_floats(kind, at, places, vectors, from_N, out, to_N, columns)
            continue
        for i in range(len(from_N)):
            vector = from_N[i]
            target = out[to_N[i], out_column + start : out_column + stop]
            if kind == FLOAT32:
                plain = vectors.plain[vector, :places]
                for row in range(len(target)):
                    target[row] = dot(floats(at + row * stride, places), plain)
                continue
            if kind == BFLOAT16:
                even, odd = vectors.apart[vector, 0, : places // 2], vectors.apart[vector, 1, : places // 2]
                for row in range(len(target)):
                    target[row] = dot_bfloat16(words(at + row * stride, places // 2), even, odd)
                continue
            coded, factors = vectors.codes[vector, :stride], vectors.scales[vector, : stride // INT8_BLOCK]
            multiply_int8(at, stride, coded, factors, target)
            scale, offset = floats(scales + 4 * start, len(target)), vectors.offset[vector]
            for row in range(len(target)):
                target[row] = (target[row] - offset) * scale[row]
