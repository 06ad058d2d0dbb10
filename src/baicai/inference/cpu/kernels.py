"""Arithmetic of a token on a CPU, compiled by numba: products of a vector with weight rows as they lie in memory.

Weights are float32, bfloat16 (read as pairs in one 32-bit word) or int8 (stored plus 128, a float32 scale for each
row). The vector is float32, prepared once for all the rows it meets: as it is, with even and odd places apart for
bfloat16, and in int8 with a scale for each 64 places for int8.
"""

from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba import carray, njit, types
from numba.extending import intrinsic
from numpy.typing import NDArray

from baicai.inference.cpu.simd import HAS_AVX2, HAS_VNNI, INT8_BLOCK, four_int8

FLOAT32, BFLOAT16, INT8 = range(3)

FAST = {"reassoc", "nsz", "contract", "arcp", "nnan"}
"""Sums may be reordered, so that they run in vectors, and nothing is asked about NaN; infinities keep their meaning."""

FOUR_ROWS = HAS_VNNI or HAS_AVX2
"""Whether int8 rows are multiplied four at a time."""


def compiled(function: Any) -> Any:
    """Compile for this processor, without the interpreter's lock; what was compiled is kept for the next process."""
    return njit(function, fastmath=FAST, nogil=True, cache=True, error_model="numpy")


def exact(function: Any) -> Any:
    """Compile as it is written, so that a loop has the same bits in vectors and one by one.

    Which of the two runs depends on where arrays lie and, for the last places, on how a row is shared out.
    """
    return njit(function, nogil=True, cache=True, error_model="numpy")


Floats = NDArray[np.float32]
Numbers = NDArray[np.int64]
Table = NDArray[np.int64]
"""Addresses and kinds of weights."""


class Vectors(NamedTuple):
    """Prepared vectors, one a row, in each form that weights want."""

    plain: NDArray[np.float32]
    apart: NDArray[np.float32]
    """[vectors, 2, places / 2]: even places, odd places."""
    codes: NDArray[np.int8]
    scales: NDArray[np.float32]
    """[vectors, places / 64]: of the codes."""
    offset: NDArray[np.float32]
    """[vectors]: what storing weights plus 128 adds to a product."""


def make_vectors(count: int, places: int) -> Vectors:
    """Return room for `count` vectors of at most `places`."""
    blocks = -(-places // INT8_BLOCK)
    return Vectors(
        np.zeros((count, places), np.float32),
        np.zeros((count, 2, places // 2), np.float32),
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
floats, words = _view(types.float32), _view(types.uint32)
bytes_, codes = _view(types.uint8), _view(types.int8)
"""(address, length) -> the array that lies there."""


@compiled
def dot_int8(address: int, codes: NDArray[np.int8], scales: Floats) -> float:
    """Return the product of an int8 row, stored plus 128, with a vector's codes."""
    row, total = bytes_(address, len(codes)), np.float32(0)
    for block in range(len(scales)):
        product = np.int32(0)
        for place in range(block * INT8_BLOCK, (block + 1) * INT8_BLOCK):
            product += np.int32(row[place]) * np.int32(codes[place])
        total += np.float32(product) * scales[block]
    return total


@compiled
def multiply_int8(address: int, stride: int, codes: NDArray[np.int8], scales: Floats, out: Floats) -> None:
    """Multiply int8 rows with codes."""
    if FOUR_ROWS:
        for row in range(0, len(out) - 3, 4):
            place = address + row * stride
            four = four_int8(place, stride, codes.ctypes.data, scales.ctypes.data, len(scales))
            out[row], out[row + 1], out[row + 2], out[row + 3] = four
    for row in range(len(out) // 4 * 4 if FOUR_ROWS else 0, len(out)):
        out[row] = dot_int8(address + row * stride, codes, scales)


@compiled
def dot(left: Floats, right: Floats) -> float:
    """Return the product of two float32 vectors."""
    total = np.float32(0)
    for place in range(len(left)):
        total += left[place] * right[place]
    return total


@njit(inline="always")
def low(pair: int) -> float:
    """Return the first of two bfloat16 in a word."""
    return float_of_bits(pair << np.uint32(16))


@njit(inline="always")
def high(pair: int) -> float:
    """Return the second of two bfloat16 in a word."""
    return float_of_bits(pair & np.uint32(0xFFFF0000))


@compiled
def dot_bfloat16(pairs: NDArray[np.uint32], even: Floats, odd: Floats) -> float:
    """Return the product of a bfloat16 row, two places in a word, with a vector's even and odd places."""
    total = np.float32(0)
    for place in range(len(pairs)):
        total += low(pairs[place]) * even[place] + high(pairs[place]) * odd[place]
    return total


@compiled
def row_bytes(kind: int, places: int) -> int:
    """Return how many bytes a weight row takes."""
    if kind == FLOAT32:
        return places * 4
    return places * 2 if kind == BFLOAT16 else -(-places // INT8_BLOCK) * INT8_BLOCK


@compiled
def read_row(matrix: Table, places: int, row: int, factor: float, out: Floats) -> None:
    """Add `factor` times a row of a matrix to a float32 vector."""
    kind, address = matrix[0], matrix[1] + row * row_bytes(matrix[0], places)
    if kind == FLOAT32:
        plain = floats(address, places)
        for place in range(places):
            out[place] += factor * plain[place]
    elif kind == BFLOAT16:
        pairs = words(address, places // 2)
        for place in range(places // 2):
            out[2 * place] += factor * low(pairs[place])
            out[2 * place + 1] += factor * high(pairs[place])
    else:
        codes, factor = bytes_(address, places), factor * floats(matrix[2], row + 1)[row]
        for place in range(places):
            out[place] += factor * np.float32(np.int32(codes[place]) - 128)


@compiled
def prepare(vectors: Vectors, i: int, places: int, int8: bool) -> None:
    """Make the other forms of the vector in vectors.plain[i]; its codes only if asked for."""
    plain, apart = vectors.plain[i], vectors.apart[i]
    for place in range(places // 2):
        apart[0, place] = plain[2 * place]
        apart[1, place] = plain[2 * place + 1]
    if int8:
        offset = np.float32(0)
        for block in range(-(-places // INT8_BLOCK)):
            begin, end = block * INT8_BLOCK, min((block + 1) * INT8_BLOCK, places)
            values = floats(plain.ctypes.data + 4 * begin, end - begin)
            scale, total = encode(values, codes(vectors.codes[i].ctypes.data + begin, INT8_BLOCK))
            vectors.scales[i, block] = scale
            offset += np.float32(128) * scale * np.float32(total)
        vectors.offset[i] = offset


@compiled
def encode(values: Floats, out: NDArray[np.int8]) -> tuple[float, int]:
    """Round at most 64 values to int8 steps; return the step and the sum of the codes."""
    largest = np.float32(0)
    for place in range(len(values)):
        largest = max(largest, abs(values[place]))
    inverse = np.float32(127) / largest if largest > 0 else np.float32(0)
    total = np.int32(0)
    out[:] = 0
    for place in range(len(values)):
        code = np.int32(np.floor(values[place] * inverse + np.float32(0.5)))
        out[place] = code
        total += code
    return largest / np.float32(127), total


@compiled
def rms_norm(x: Floats, weight: Floats, eps: float, out: Floats) -> None:
    """Scale a vector to unit root mean square; source as `baicai.model.layers.RMSNorm`."""
    scale = np.float32(1) / np.sqrt(dot(x, x) / np.float32(len(x)) + np.float32(eps))
    scale_by(x, scale, weight, out)


@exact
def scale_by(x: Floats, scale: float, weight: Floats, out: Floats) -> None:
    """Multiply a vector with a number and with a vector."""
    for place in range(len(x)):
        out[place] = x[place] * scale * weight[place]


@njit(nogil=True, cache=True, fastmath={"contract"})  # the two parts of log 2 must not be added first
def exponential(x: float) -> float:
    """Return e to a float32, which runs in vectors: powers of two, and a polynomial for the rest (error 2e-7)."""
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


@exact
def sigmoid(x: float) -> float:
    """Return 1 / (1 + e^-x)."""
    return np.float32(1) / (np.float32(1) + exponential(-x))


@compiled
def add(out: Floats, more: Floats) -> None:
    """Add a vector to another."""
    for place in range(len(out)):
        out[place] += more[place]


@compiled
def share(total: int, thread: int, threads: int) -> tuple[int, int]:
    """Return the first row of a thread, and the one after its last."""
    return total * thread // threads, total * (thread + 1) // threads
