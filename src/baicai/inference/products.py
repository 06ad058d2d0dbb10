"""Products of weight rows with the vectors of a step, each row read once for all of them.

A product has the same bits whatever other rows and vectors are multiplied beside it.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core.cgutils import get_or_insert_function
from numba.extending import intrinsic

from baicai.inference.kernels import (
    BFLOAT16,
    BLOCK,
    FLOAT32,
    HAS_AVX512,
    INT8,
    Code,
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
    words,
)

Range = tuple[int, int]
ROWS = 32
"""Rows that are read together for all tokens of a step, small enough to stay in the nearest cache."""
LANES = 16
TOGETHER = 4
"""Rows that are multiplied with one vector at once, or vectors with a pair of rows, where there are 32 registers of so
many lanes (AVX-512). Elsewhere one row meets one vector."""


def _dots(rows: int, count: int, two_parts: Callable[[Code, Any, Any], tuple[Any, Any]], step: int) -> Any:
    """Return what multiplies so many rows with so many vectors, block by block of twice `LANES` places.

    `two_parts` gives a block of the row as two float vectors; `step` is the logarithm of a block's bytes, by which the
    vectors go on, too. Sums are kept apart by lane and part: a product has the same bits however many others there are.
    """

    @intrinsic
    def dots(typing: Any, row: Any, stride: Any, blocks: Any, gap: Any, starts: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            i64, f32 = ir.IntType(64), ir.FloatType()
            vector = ir.VectorType(f32, LANES)

            def function(name: str, result: ir.Type, *arguments: ir.Type) -> Any:
                return get_or_insert_function(builder.module, ir.FunctionType(result, arguments), name)

            def load(start: Any, place: Any, kind: ir.Type) -> Any:
                return builder.load(builder.inttoptr(builder.add(start, place), kind.as_pointer()), align=1)

            fma = function(f"llvm.fma.v{LANES}f32", vector, vector, vector, vector)
            total = function(f"llvm.vector.reduce.fadd.v{LANES}f32", f32, f32, vector)
            row, stride, blocks, gap, starts = values
            lines = [builder.add(row, builder.mul(stride, i64(number))) for number in range(rows)]
            firsts = [builder.extract_value(starts, number) for number in range(count)]
            places = [one for first in firsts for one in (first, builder.add(first, gap))]
            before, loop, after = builder.block, builder.append_basic_block(), builder.append_basic_block()
            builder.branch(loop)
            builder.position_at_end(loop)
            block, partial = builder.phi(i64), [builder.phi(vector) for _ in lines for _ in places]
            at = builder.shl(block, i64(step))
            read = [load(place, at, vector) for place in places]
            parts = [two_parts(Code(builder, function, load), line, at) for line in lines]
            factors = [(pair[number % 2], one) for pair in parts for number, one in enumerate(read)]
            grown = [builder.call(fma, [left, right, old]) for (left, right), old in zip(factors, partial, strict=True)]
            following = builder.add(block, i64(1))
            sums = [(old, vector([0.0] * LANES), more) for old, more in zip(partial, grown, strict=True)]
            for phi, start, other in ((block, i64(0), following), *sums):
                phi.add_incoming(start, before)
                phi.add_incoming(other, loop)
            builder.cbranch(builder.icmp_signed("<", following, blocks), loop, after)
            builder.position_at_end(after)
            pairs = zip(grown[::2], grown[1::2], strict=True)
            results = [
                builder.call(total, [f32(0.0), builder.fadd(one, other)], fastmath=("reassoc",)) for one, other in pairs
            ]
            return context.make_tuple(builder, signature.return_type, results)

        addresses = types.UniTuple(types.int64, count)
        return types.UniTuple(types.float32, rows * count)(*(types.int64,) * 4, addresses), generate

    return dots


def _parts_bfloat16(code: Code, row: Any, at: Any) -> tuple[Any, Any]:
    """Return even and odd places."""
    ints, floats_ = ir.VectorType(ir.IntType(32), LANES), ir.VectorType(ir.FloatType(), LANES)
    pairs = code.load(row, at, ints)
    low_, high_ = code.builder.shl(pairs, ints([16] * LANES)), code.builder.and_(pairs, ints([0xFFFF0000] * LANES))
    return code.builder.bitcast(low_, floats_), code.builder.bitcast(high_, floats_)


def _parts_float32(code: Code, row: Any, at: Any) -> tuple[Any, Any]:
    """Return the first and the second half."""
    floats_ = ir.VectorType(ir.FloatType(), LANES)
    half = code.builder.add(at, ir.IntType(64)(4 * LANES))
    return code.load(row, at, floats_), code.load(row, half, floats_)


_one_bfloat16, _rows_bfloat16, _four_bfloat16, _both_bfloat16 = (
    _dots(rows, count, _parts_bfloat16, 6) for rows, count in ((1, 1), (TOGETHER, 1), (1, TOGETHER), (2, TOGETHER))
)
_one_float32, _rows_float32, _four_float32, _both_float32 = (
    _dots(rows, count, _parts_float32, 7) for rows, count in ((1, 1), (TOGETHER, 1), (1, TOGETHER), (2, TOGETHER))
)
HALF_BYTES = 4 * LANES


@compiled
def multiply_floats(
    kind: int, address: int, places: int, vectors: Vectors, from_N: Numbers, out: Floats, to_N: Numbers, columns: Range
) -> None:
    """Multiply rows of float32 or bfloat16 with vectors, four at once, into `columns` of out[to_N[i]], a row each."""
    first, last = columns
    stride, whole = row_bytes(kind, places), places // (2 * LANES)
    tail = whole * 2 * LANES
    width = vectors.plain.shape[1] if kind == FLOAT32 else vectors.apart.shape[2]
    begin = vectors.plain.ctypes.data if kind == FLOAT32 else vectors.apart.ctypes.data
    step, gap = (4 * width, HALF_BYTES) if kind == FLOAT32 else (8 * width, 4 * width)
    i = 0
    while i < len(from_N):
        number = TOGETHER if len(from_N) - i >= TOGETHER else 1
        a = begin + from_N[i] * step
        column, to = first, to_N[i]
        while column < last:
            row, left = address + (column - first) * stride, last - column
            if whole == 0:
                for j in range(i, i + number):
                    out[to_N[j], column] = np.float32(0)
                column += 1
            elif number == 1 and left >= TOGETHER:
                if kind == FLOAT32:
                    four = _rows_float32(row, stride, whole, gap, (a,))
                else:
                    four = _rows_bfloat16(row, stride, whole, gap, (a,))
                out[to, column], out[to, column + 1], out[to, column + 2], out[to, column + 3] = four
                column += TOGETHER
            elif number == 1:
                if kind == FLOAT32:
                    out[to, column] = _one_float32(row, stride, whole, gap, (a,))[0]
                else:
                    out[to, column] = _one_bfloat16(row, stride, whole, gap, (a,))[0]
                column += 1
            else:
                b, c, d = from_N[i + 1] * step, from_N[i + 2] * step, from_N[i + 3] * step
                starts = (a, begin + b, begin + c, begin + d)
                if left >= 2:
                    if kind == FLOAT32:
                        both = _both_float32(row, stride, whole, gap, starts)
                    else:
                        both = _both_bfloat16(row, stride, whole, gap, starts)
                    for j in range(TOGETHER):
                        out[to_N[i + j], column], out[to_N[i + j], column + 1] = both[j], both[TOGETHER + j]
                    column += 2
                else:
                    if kind == FLOAT32:
                        four = _four_float32(row, stride, whole, gap, starts)
                    else:
                        four = _four_bfloat16(row, stride, whole, gap, starts)
                    for j in range(TOGETHER):
                        out[to_N[i + j], column] = four[j]
                    column += 1
        i += number
    if tail < places:
        for column in range(first, last):
            row = address + (column - first) * stride
            for i in range(len(from_N)):
                out[to_N[i], column] += _tail(kind, row, tail, places, vectors, from_N[i])


@compiled
def _tail(kind: int, row: int, first: int, places: int, vectors: Vectors, number: int) -> float:
    """Return what the last places of a row add to its product with a vector."""
    if kind == FLOAT32:
        return dot(floats(row + 4 * first, places - first), vectors.plain[number, first:places])
    half = slice(first // 2, places // 2)
    pairs = words(row + 2 * first, (places - first) // 2)
    return dot_bfloat16(pairs, vectors.apart[number, 0, half], vectors.apart[number, 1, half])


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
    stride = row_bytes(kind, places)
    height = end - begin if len(from_N) <= TOGETHER else ROWS
    for start in range(begin, end, max(height, 1)):
        stop = min(start + height, end)
        if kind != INT8 and HAS_AVX512:
            columns = (out_column + start, out_column + stop)
            multiply_floats(kind, address + start * stride, places, vectors, from_N, out, to_N, columns)
            continue
        for i in range(len(from_N)):
            vector = from_N[i]
            target, at = out[to_N[i], out_column + start : out_column + stop], address + start * stride
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
            coded, factors = vectors.codes[vector, :stride], vectors.scales[vector, : stride // BLOCK]
            multiply_int8(at, stride, coded, factors, target)
            scale, offset = floats(scales + 4 * start, len(target)), vectors.offset[vector]
            for row in range(len(target)):
                target[row] = (target[row] - offset) * scale[row]
