"""Matrix products of weight rows with the activation vectors of a step; each row is read once for all vectors.

A product has the same bits regardless of the other rows and vectors in the call.
"""

from typing import Any

import numpy as np
from numba import njit

from baicai.inference.cpu import simd
from baicai.inference.cpu.kernels import (
    BFLOAT16,
    FLOAT32,
    INT8,
    Activations,
    Floats,
    Numbers,
    Table,
    dot,
    dot_bfloat16,
    float32_at,
    multiply_int8,
    njit_fast,
    row_bytes,
    thread_range,
    uint32_at,
)
from baicai.inference.cpu.simd import HAS_AVX512, INT8_BLOCK, LANES, MAX_VECTORS, PREFETCH_BYTES, Gather

Range = tuple[int, int]
Prefetch = tuple[int, int, int]
"""Prefetch distance in bytes, and the range of rows for which to prefetch."""
BLOCK_BYTES = 2**17
"""Bytes of rows that are read for all vectors of a step before the next rows, so that they stay in the L2 cache."""


def _by_shape(one_row: Any, four_rows: Any, four_rows_two_vectors: Any, two_rows: Any) -> Any:
    """Choose the kernel: one row by up to four vectors, four rows by one or two, or two rows by up to four."""

    @njit(inline="always")
    def multiply(
        rows: int, start_address: int, stride: int, blocks: int, gap: int, vectors: Gather, outs: Gather, last: int
    ) -> None:
        if rows == 1:
            one_row(start_address, stride, blocks, gap, vectors, outs, last)
        elif last == 0:
            four_rows(start_address, stride, blocks, gap, vectors, outs, last)
        elif last == 1:
            four_rows_two_vectors(start_address, stride, blocks, gap, vectors, outs, last)
        else:
            two_rows(start_address, stride, blocks, gap, vectors, outs, last)

    return multiply


_multiply_float32, _multiply_bfloat16 = _by_shape(*simd.FLOAT32), _by_shape(*simd.BFLOAT16)


@njit_fast
def prefetch(address: int, size: int) -> None:
    """Prefetch a range of memory."""
    for line in range(address, address + size, 64):
        simd.prefetch_line(line)


@njit_fast
def multiply_rows(
    kind: int,
    address: int,
    length: int,
    rows: int,
    gap: int,
    vectors: Gather,
    outs: Gather,
    last: int,
    prefetched: Prefetch,
) -> None:
    """Multiply float32 or bfloat16 rows by vectors 0 to `last`, where `last` is at most 3. Needs AVX-512.

    The last elements of a row, which do not fill a block, are left out. While a row in the range of `prefetched` is
    multiplied, the memory that far ahead of it is prefetched.
    """
    stride, blocks, row, (distance, low, high) = row_bytes(kind, length), length // (2 * LANES), 0, prefetched
    while row < rows:
        together = 4 if last < 2 else 2
        if row + together > rows:
            together = 1
        start_address = address + row * stride
        if low <= row < high:
            prefetch(start_address + distance, together * stride)
        to = outs[0], outs[1] + 4 * row, outs[2]
        if kind == FLOAT32:
            _multiply_float32(together, start_address, stride, blocks, gap, vectors, to, last)
        else:
            _multiply_bfloat16(together, start_address, stride, blocks, gap, vectors, to, last)
        row += together


@njit_fast
def _tail(kind: int, row: int, first: int, length: int, vectors: Activations, number: int) -> float:
    """Return the contribution of a row's last elements, from `first` on, to its product with a vector."""
    if kind == FLOAT32:
        return dot(float32_at(row + 4 * first, length - first), vectors.plain[number, first:length])
    half = slice(first // 2, length // 2)
    pairs = uint32_at(row + 2 * first, (length - first) // 2)
    return dot_bfloat16(pairs, vectors.even_odd[number, 0, half], vectors.even_odd[number, 1, half])


@njit_fast
def multiply_floats(
    kind: int,
    address: int,
    length: int,
    vectors: Activations,
    input_rows_N: Numbers,
    out: Floats,
    output_rows_N: Numbers,
    columns: Range,
) -> None:
    """Multiply float32 or bfloat16 rows by vectors: `out[output_rows_N[i], columns]` gets the products of vector i.

    During the first pass over the rows, memory a fixed distance ahead is prefetched; during each later pass, a part
    of the rows that follow these.
    """
    (first, last), stride = columns, row_bytes(kind, length)
    tail, passes, rows = length // (2 * LANES) * 2 * LANES, -(-len(input_rows_N) // MAX_VECTORS), last - first
    if kind == FLOAT32:
        begin, step, gap = vectors.plain.ctypes.data, 4 * vectors.plain.shape[1], 4 * LANES
    else:
        begin, step, gap = vectors.even_odd.ctypes.data, 8 * vectors.even_odd.shape[2], 4 * vectors.even_odd.shape[2]
    for number in range(passes if tail else 0):
        skipped, num_vectors = number * MAX_VECTORS, min(MAX_VECTORS, len(input_rows_N) - number * MAX_VECTORS)
        distance, low, high = PREFETCH_BYTES, 0, rows
        if number > 0:
            distance, (low, high) = rows * stride, thread_range(rows, number - 1, passes - 1)
        from_ = input_rows_N.ctypes.data + 8 * skipped, begin, step
        to = output_rows_N.ctypes.data + 8 * skipped, out.ctypes.data + 4 * first, 4 * out.shape[1]
        multiply_rows(kind, address, length, rows, gap, from_, to, num_vectors - 1, (distance, low, high))
    if tail == length:
        return
    for column in range(first, last):
        row = address + (column - first) * stride
        for i in range(len(input_rows_N)):
            before = out[output_rows_N[i], column] if tail else np.float32(0)
            out[output_rows_N[i], column] = before + _tail(kind, row, tail, length, vectors, input_rows_N[i])


@njit_fast
def multiply(
    matrix: Table,
    length: int,
    begin: int,
    end: int,
    vectors: Activations,
    input_rows_N: Numbers,
    out: Floats,
    output_rows_N: Numbers,
    out_column: int,
) -> None:
    """Multiply rows of a matrix by vectors.

    The product of row r and vector `input_rows_N[i]` goes to `out[output_rows_N[i], out_column + r]`.

    Args:
        matrix: kind, address of the rows, address of the scales.
        length: elements of a row.
        begin, end: range of rows.
    """
    kind, address, scales = matrix[0], matrix[1], matrix[2]
    stride, passes = row_bytes(kind, length), -(-len(input_rows_N) // MAX_VECTORS)
    height = max(2, BLOCK_BYTES // stride // 2 * 2) if passes > 1 else end - begin
    for start in range(begin, end, max(height, 1)):
        stop, start_address = min(start + height, end), address + start * stride
        if kind != INT8 and HAS_AVX512:
            columns = (out_column + start, out_column + stop)
            multiply_floats(kind, start_address, length, vectors, input_rows_N, out, output_rows_N, columns)
            continue
        for i in range(len(input_rows_N)):
            vector = input_rows_N[i]
            target = out[output_rows_N[i], out_column + start : out_column + stop]
            if kind == FLOAT32:
                plain = vectors.plain[vector, :length]
                for row in range(len(target)):
                    target[row] = dot(float32_at(start_address + row * stride, length), plain)
                continue
            if kind == BFLOAT16:
                even, odd = vectors.even_odd[vector, 0, : length // 2], vectors.even_odd[vector, 1, : length // 2]
                for row in range(len(target)):
                    target[row] = dot_bfloat16(uint32_at(start_address + row * stride, length // 2), even, odd)
                continue
            coded, factors = vectors.codes[vector, :stride], vectors.scales[vector, : stride // INT8_BLOCK]
            multiply_int8(start_address, stride, coded, factors, target)
            scale, offset = float32_at(scales + 4 * start, len(target)), vectors.offset[vector]
            for row in range(len(target)):
                target[row] = (target[row] - offset) * scale[row]
