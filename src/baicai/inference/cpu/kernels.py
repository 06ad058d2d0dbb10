"""CPU kernels compiled by numba: dot products of an activation vector with weight rows, norms and activations.

Weights are read in place, as float32, bfloat16 (pairs of values in one 32-bit word) or int8 (stored plus 128, with one
float32 scale per row). An activation vector is float32 and is prepared once for all rows that it is multiplied with:
unchanged for float32 weights, split into even and odd elements for bfloat16, and quantized with one scale per 64
elements for int8.
"""

from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba import carray, njit, types
from numba.extending import intrinsic
from numpy.typing import NDArray

from baicai.inference.cpu.simd import HAS_AVX2, HAS_VNNI, INT8_BLOCK, dot4_int8

FLOAT32, BFLOAT16, INT8 = range(3)

FAST = {"reassoc", "nsz", "contract", "arcp", "nnan"}
"""LLVM fast-math flags: sums may be reordered, so that they vectorize, and NaN is ignored; infinities are respected."""

FOUR_ROWS = HAS_VNNI or HAS_AVX2
"""Whether int8 rows are multiplied four at a time, by `dot4_int8`."""


def njit_fast(function: Any) -> Any:
    """Compile with numba: reordered sums, no GIL, machine code cached on disk."""
    return njit(function, fastmath=FAST, nogil=True, cache=True, error_model="numpy")


def njit_exact(function: Any) -> Any:
    """Compile with numba and without fast-math, so that a vectorized loop and its scalar remainder give the same bits.

    Which of the two handles an element depends on array alignment and on how threads split a row.
    """
    return njit(function, nogil=True, cache=True, error_model="numpy")


Floats = NDArray[np.float32]
Numbers = NDArray[np.int64]
Table = NDArray[np.int64]
"""Kinds and addresses of weights."""


class Activations(NamedTuple):
    """Activation vectors, one per row, in the form that each kind of weight needs."""

    plain: NDArray[np.float32]
    even_odd: NDArray[np.float32]
    """Even and odd elements, [vectors, 2, columns / 2], for bfloat16 weights."""
    codes: NDArray[np.int8]
    """Quantized elements, for int8 weights."""
    scales: NDArray[np.float32]
    """Scale of each block of codes, [vectors, columns / 64]."""
    offset: NDArray[np.float32]
    """What storing weights plus 128 adds to each product, [vectors]."""


def make_activations(count: int, columns: int) -> Activations:
    """Allocate `count` vectors of at most `columns` elements."""
    blocks = -(-columns // INT8_BLOCK)
    return Activations(
        np.zeros((count, columns), np.float32),
        np.zeros((count, 2, columns // 2), np.float32),
        np.zeros((count, blocks * INT8_BLOCK), np.int8),
        np.zeros((count, blocks), np.float32),
        np.zeros(count, np.float32),
    )


def _bitcast(result: Any, argument: Any, kind: ir.Type) -> Any:
    @intrinsic
    def cast(typing: Any, value: Any) -> Any:
        return result(argument), lambda context, builder, signature, values: builder.bitcast(values[0], kind)

    return cast


def _view(kind: Any) -> Any:
    @intrinsic
    def pointer(typing: Any, address: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            return builder.inttoptr(values[0], context.get_value_type(signature.return_type))

        return types.CPointer(kind)(types.int64), generate

    @njit(inline="always")
    def view(address: int, length: int) -> Any:
        return carray(pointer(address), (length,))

    return view


float_of_bits = _bitcast(types.float32, types.uint32, ir.FloatType())
float32_at, uint32_at = _view(types.float32), _view(types.uint32)
uint8_at, int8_at = _view(types.uint8), _view(types.int8)
"""(address, length) -> an array over that memory, without a copy."""


@njit_fast
def dot_int8(address: int, codes: NDArray[np.int8], scales: Floats) -> float:
    """Return the dot product of an int8 row, stored plus 128, with quantized activations."""
    row, total = uint8_at(address, len(codes)), np.float32(0)
    for block in range(len(scales)):
        product = np.int32(0)
        for j in range(block * INT8_BLOCK, (block + 1) * INT8_BLOCK):
            product += np.int32(row[j]) * np.int32(codes[j])
        total += np.float32(product) * scales[block]
    return total


@njit_fast
def multiply_int8(address: int, stride: int, codes: NDArray[np.int8], scales: Floats, out: Floats) -> None:
    """Multiply int8 rows with quantized activations."""
    if FOUR_ROWS:
        for row in range(0, len(out) - 3, 4):
            first_row = address + row * stride
            four = dot4_int8(first_row, stride, codes.ctypes.data, scales.ctypes.data, len(scales))
            out[row], out[row + 1], out[row + 2], out[row + 3] = four
    for row in range(len(out) // 4 * 4 if FOUR_ROWS else 0, len(out)):
        out[row] = dot_int8(address + row * stride, codes, scales)


@njit_fast
def dot(left: Floats, right: Floats) -> float:
    """Return the dot product of two float32 vectors."""
    total = np.float32(0)
    for j in range(len(left)):
        total += left[j] * right[j]
    return total


@njit(inline="always")
def bfloat16_low(pair: int) -> float:
    """Return the first of the two bfloat16 values in a word, as float32."""
    return float_of_bits(pair << np.uint32(16))


@njit(inline="always")
def bfloat16_high(pair: int) -> float:
    """Return the second of the two bfloat16 values in a word, as float32."""
    return float_of_bits(pair & np.uint32(0xFFFF0000))


@njit_fast
def dot_bfloat16(pairs: NDArray[np.uint32], even: Floats, odd: Floats) -> float:
    """Return the dot product of a bfloat16 row, two values per word, with the even and odd elements of a vector."""
    total = np.float32(0)
    for j in range(len(pairs)):
        total += bfloat16_low(pairs[j]) * even[j] + bfloat16_high(pairs[j]) * odd[j]
    return total


@njit_fast
def row_bytes(kind: int, columns: int) -> int:
    """Return the size in bytes of a weight row."""
    if kind == FLOAT32:
        return columns * 4
    return columns * 2 if kind == BFLOAT16 else -(-columns // INT8_BLOCK) * INT8_BLOCK


@njit_fast
def add_scaled_row(matrix: Table, columns: int, row: int, factor: float, out: Floats) -> None:
    """Add `factor` times a row of a matrix to a float32 vector."""
    kind, address = matrix[0], matrix[1] + row * row_bytes(matrix[0], columns)
    if kind == FLOAT32:
        plain = float32_at(address, columns)
        for j in range(columns):
            out[j] += factor * plain[j]
    elif kind == BFLOAT16:
        pairs = uint32_at(address, columns // 2)
        for j in range(columns // 2):
            out[2 * j] += factor * bfloat16_low(pairs[j])
            out[2 * j + 1] += factor * bfloat16_high(pairs[j])
    else:
        codes, factor = uint8_at(address, columns), factor * float32_at(matrix[2], row + 1)[row]
        for j in range(columns):
            out[j] += factor * np.float32(np.int32(codes[j]) - 128)


@njit_fast
def prepare(vectors: Activations, i: int, columns: int, int8: bool) -> None:
    """Derive the other forms of `vectors.plain[i]`; the codes only if `int8`."""
    plain, even_odd = vectors.plain[i], vectors.even_odd[i]
    for j in range(columns // 2):
        even_odd[0, j] = plain[2 * j]
        even_odd[1, j] = plain[2 * j + 1]
    if int8:
        offset = np.float32(0)
        for block in range(-(-columns // INT8_BLOCK)):
            begin, end = block * INT8_BLOCK, min((block + 1) * INT8_BLOCK, columns)
            values = float32_at(plain.ctypes.data + 4 * begin, end - begin)
            scale, total = quantize_block(values, int8_at(vectors.codes[i].ctypes.data + begin, INT8_BLOCK))
            vectors.scales[i, block] = scale
            offset += np.float32(128) * scale * np.float32(total)
        vectors.offset[i] = offset


@njit_fast
def quantize_block(values: Floats, out: NDArray[np.int8]) -> tuple[float, int]:
    """Quantize at most 64 values to int8. Returns the scale and the sum of the codes."""
    largest = np.float32(0)
    for j in range(len(values)):
        largest = max(largest, abs(values[j]))
    inverse = np.float32(127) / largest if largest > 0 else np.float32(0)
    total = np.int32(0)
    out[:] = 0
    for j in range(len(values)):
        code = np.int32(np.floor(values[j] * inverse + np.float32(0.5)))
        out[j] = code
        total += code
    return largest / np.float32(127), total


@njit_fast
def rms_norm(x: Floats, weight: Floats, eps: float, out: Floats) -> None:
    """Scale a vector to unit root mean square; source as `baicai.model.layers.RMSNorm`."""
    scale = np.float32(1) / np.sqrt(dot(x, x) / np.float32(len(x)) + np.float32(eps))
    scale_by(x, scale, weight, out)


@njit_exact
def scale_by(x: Floats, scale: float, weight: Floats, out: Floats) -> None:
    """Multiply a vector by a scalar and elementwise by `weight`."""
    for j in range(len(x)):
        out[j] = x[j] * scale * weight[j]


@njit(nogil=True, cache=True, fastmath={"contract"})  # reassociation would add the two parts of log 2 first
def exponential(x: float) -> float:
    """Return exp(x) in float32 by a vectorizable form: a power of two times a polynomial (relative error 2e-7)."""
    x = min(max(x, np.float32(-87)), np.float32(88))
    power = np.floor(x * np.float32(1.4426950408889634) + np.float32(0.5))
    rest = x - power * np.float32(0.693359375) + power * np.float32(2.12194440e-4)
    series = np.float32(1.9875691500e-4)
    series = series * rest + np.float32(1.3981999507e-3)
    series = series * rest + np.float32(8.3334519073e-3)
    series = series * rest + np.float32(4.1665795894e-2)
    series = series * rest + np.float32(1.6666665459e-1)
    series = series * rest + np.float32(5.0000001201e-1)
    series = series * rest * rest + rest + np.float32(1)
    return series * float_of_bits(np.uint32((np.int32(power) + np.int32(127)) << np.int32(23)))


@njit_exact
def sigmoid(x: float) -> float:
    """Return 1 / (1 + e^-x)."""
    return np.float32(1) / (np.float32(1) + exponential(-x))


@njit_fast
def add(out: Floats, more: Floats) -> None:
    """Add `more` to `out` in place."""
    for j in range(len(out)):
        out[j] += more[j]


@njit_fast
def thread_range(total: int, thread: int, threads: int) -> tuple[int, int]:
    """Return the range of rows [first, stop) that belongs to a thread."""
    return total * thread // threads, total * (thread + 1) // threads
