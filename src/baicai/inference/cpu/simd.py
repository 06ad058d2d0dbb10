"""SIMD inner loops written as LLVM IR, where numba's code for a plain loop is too slow: products and sums of rows.

They take addresses. Weights are float32, bfloat16 (pairs of values in one 32-bit word) or int8 (stored plus 128).
"""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import llvmlite.binding as llvm
from llvmlite import ir
from numba import types
from numba.core.cgutils import get_or_insert_function
from numba.extending import intrinsic

HAS_AVX512, HAS_VNNI, HAS_AVX2 = (
    bool(llvm.get_host_cpu_features().get(name)) for name in ("avx512f", "avx512vnni", "avx2")
)
INT8_BLOCK = 64
"""Elements of an int8 vector that share a scale: one AVX-512 register."""
LANES = 16
"""Lanes of a float32 vector in AVX-512, which has 32 such registers."""
PREFETCH_BYTES = 8192
"""Distance in bytes between a prefetch and its use."""

I32, I64, F32 = ir.IntType(32), ir.IntType(64), ir.FloatType()
FLOATS = ir.VectorType(F32, LANES)
Values = list[Any]
Gather = tuple[int, int, int]
"""Address of a list of row numbers, address of row 0, and the row stride in bytes."""


@dataclass(frozen=True)
class Emitter:
    """Builder of LLVM IR, with the few operations that the kernels need."""

    builder: Any

    def call(self, name: str, result: ir.Type, *arguments: Any) -> Any:
        """Call an LLVM intrinsic."""
        kind = ir.FunctionType(result, [argument.type for argument in arguments])
        return self.builder.call(get_or_insert_function(self.builder.module, kind, name), arguments)

    def pointer(self, address: Any, kind: ir.Type) -> Any:
        """Cast an address to a pointer."""
        return self.builder.inttoptr(address, kind.as_pointer())

    def load(self, start: Any, offset: Any, kind: ir.Type) -> Any:
        """Load a value `offset` bytes after an address, unaligned."""
        return self.builder.load(self.pointer(self.builder.add(start, offset), kind), align=1)

    def fma(self, left: Any, right: Any, old: Any) -> Any:
        """Return the fused left * right + old."""
        return self.call(f"llvm.fma.v{old.type.count}f32", old.type, left, right, old)

    def broadcast(self, number: Any, lanes: int) -> Any:
        """Return a vector with the same number in every lane."""
        empty = ir.VectorType(number.type, lanes)(ir.Undefined)
        return self.builder.shuffle_vector(
            self.builder.insert_element(empty, number, I32(0)), empty, ir.VectorType(I32, lanes)([0] * lanes)
        )

    def prefetch(self, address: Any) -> None:
        """Prefetch a cache line."""
        line = self.pointer(address, ir.IntType(8))
        self.call("llvm.prefetch.p0", ir.VoidType(), line, I32(0), I32(3), I32(1))

    def loop(self, iterations: Any, begin: Values, body: Callable[[Any, Values], Values]) -> Values:
        """Emit a loop of at least one iteration of `body(iteration, values)` and return the final values."""
        builder = self.builder
        before, inside, after = builder.block, builder.append_basic_block(), builder.append_basic_block()
        builder.branch(inside)
        builder.position_at_end(inside)
        iteration, old = builder.phi(I64), [builder.phi(value.type) for value in begin]
        updated = body(iteration, old)
        following = builder.add(iteration, I64(1))
        for phi, first, further in zip([iteration, *old], [I64(0), *begin], [following, *updated], strict=True):
            phi.add_incoming(first, before)
            phi.add_incoming(further, inside)
        builder.cbranch(builder.icmp_signed("<", following, iterations), inside, after)
        builder.position_at_end(after)
        return updated


def llvm_function(write: Callable[..., Values | None], results: int = 0) -> Any:
    """Return a function for numba code whose IR is emitted by `write`; it returns `results` float32 values."""
    result = types.UniTuple(types.float32, results) if results else types.void

    @intrinsic
    def function(typing: Any, *given: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            written = write(
                Emitter(builder), *(builder.extract_value(values[0], number) for number in range(len(given)))
            )
            return context.make_tuple(builder, result, written) if results else context.get_dummy_value()

        return result(types.StarArgTuple(given)), generate

    return function


def _emit_dots(rows: int, count: int, unpack: Callable[[Emitter, Any, Any], tuple[Any, Any]], size: int) -> Any:
    """Return a kernel that multiplies `rows` rows by `count` vectors, in blocks of `2 * LANES` elements.

    The products with each vector are stored contiguously. Sums are kept apart by lane and half and are added in a
    fixed order, so that a product has the same bits regardless of the other rows and vectors. Of the vectors, those
    after number `last` are replaced by it.

    Args:
        unpack: turns a block of a row into two float vectors.
        size: log2 of the bytes of a block, which is also the step of the vectors; their second halves are `gap` after
            the first.
    """

    def write(emit: Emitter, row: Any, stride: Any, blocks: Any, gap: Any, vectors: Any, outs: Any, last: Any) -> None:
        builder = emit.builder
        lines = [builder.add(row, builder.mul(stride, I64(number))) for number in range(rows)]
        starts, ends = ([_address(emit, gather, number, last) for number in range(count)] for gather in (vectors, outs))

        def body(block: Any, sums: Values) -> Values:
            at, updated = builder.shl(block, I64(size)), Values()
            parts = [unpack(emit, line, at) for line in lines]
            for start in starts:
                read = emit.load(start, at, FLOATS), emit.load(builder.add(start, gap), at, FLOATS)
                for left, right in (pair for part in parts for pair in zip(part, read, strict=True)):
                    updated.append(emit.fma(left, right, sums[len(updated)]))
            return updated

        sums = emit.loop(blocks, [FLOATS([0.0] * LANES)] * (2 * rows * count), body)
        _store(emit, _sum_lanes(emit, [builder.fadd(*pair) for pair in zip(sums[::2], sums[1::2], strict=True)]), ends)

    return llvm_function(write)


def _address(emit: Emitter, gather: Any, number: int, last: Any) -> Any:
    """Return the address of row `number` of a `Gather`, or of row `last` if that is less."""
    builder = emit.builder
    numbers, base, step = (builder.extract_value(gather, field) for field in range(3))
    index = builder.select(builder.icmp_signed("<", I64(number), last), I64(number), last)
    return builder.add(base, builder.mul(emit.load(numbers, builder.shl(index, I64(3)), I64), step))


def _sum_lanes(emit: Emitter, vectors: Values) -> Any:
    """Return the sum over the lanes of each vector, as one vector; the number of vectors is a power of two.

    Each step halves all of them, folding two vectors into one while there are at least two.
    """
    builder, size = emit.builder, LANES
    while size > 1:
        two = len(vectors) > 1
        lanes = range(2 * LANES if two else vectors[0].type.count)
        halves = [[lane for lane in lanes if (lane % size < size // 2) == first] for first in (True, False)]
        masks = [ir.VectorType(I32, len(half))(half) for half in halves]
        pairs = zip(vectors[::2], vectors[1::2], strict=True) if two else [(vectors[0], vectors[0])]
        vectors = [builder.fadd(*(builder.shuffle_vector(*pair, mask) for mask in masks)) for pair in pairs]
        size //= 2
    return vectors[0]


def _store(emit: Emitter, values: Any, addresses: Sequence[Any]) -> None:
    """Split the values evenly and store each part at one of the addresses."""
    size = values.type.count // len(addresses)
    for number, address in enumerate(addresses):
        mask = ir.VectorType(I32, size)(list(range(number * size, (number + 1) * size)))
        part = emit.builder.shuffle_vector(values, values, mask)
        emit.builder.store(part, emit.pointer(address, part.type), align=4)


def _unpack_bfloat16(emit: Emitter, row: Any, at: Any) -> tuple[Any, Any]:
    """Return the even and odd elements."""
    ints, builder = ir.VectorType(I32, LANES), emit.builder
    pairs = emit.load(row, at, ints)
    low, high = builder.shl(pairs, ints([16] * LANES)), builder.and_(pairs, ints([0xFFFF0000] * LANES))
    return builder.bitcast(low, FLOATS), builder.bitcast(high, FLOATS)


def _unpack_float32(emit: Emitter, row: Any, at: Any) -> tuple[Any, Any]:
    """Return the first and the second half of the block."""
    return emit.load(row, at, FLOATS), emit.load(row, emit.builder.add(at, I64(4 * LANES)), FLOATS)


MAX_VECTORS = 4
"""Vectors that two rows are multiplied with at once; four rows are multiplied with one or two."""
_SHAPES = ((1, MAX_VECTORS), (4, 1), (4, 2), (2, MAX_VECTORS))
FLOAT32, BFLOAT16 = (
    tuple(_emit_dots(*shape, unpack, size) for shape in _SHAPES)
    for unpack, size in ((_unpack_float32, 7), (_unpack_bfloat16, 6))
)
"""(row, stride, blocks, gap, vectors, outs, last): kernels for 1 x 4, 4 x 1, 4 x 2 and 2 x 4 rows x vectors."""


def _write_add_rows(emit: Emitter, rows: Any, stride: Any, count: Any, shares: Any, out: Any) -> None:
    builder, offsets = emit.builder, [I64(4 * LANES * number) for number in range(ADD_ROWS_WIDTH // LANES)]

    def body(row: Any, sums: Values) -> Values:
        share = emit.broadcast(emit.load(shares, builder.shl(row, I64(2)), F32), LANES)
        line = builder.add(rows, builder.mul(row, stride))
        return [
            emit.fma(share, emit.load(line, offset, FLOATS), old) for offset, old in zip(offsets, sums, strict=True)
        ]

    sums = emit.loop(count, [emit.load(out, offset, FLOATS) for offset in offsets], body)
    for offset, total in zip(offsets, sums, strict=True):
        builder.store(total, emit.pointer(builder.add(out, offset), FLOATS), align=4)


ADD_ROWS_WIDTH = 4 * LANES
add_rows = llvm_function(_write_add_rows)
"""(rows, stride, count, shares, out): add `ADD_ROWS_WIDTH` elements of float32 rows, weighted, to `out`."""
prefetch_line = llvm_function(lambda emit, address: emit.prefetch(address))
"""(address): prefetch a cache line."""


def _emit_dot4(lanes: int, multiply: Callable[[Emitter, Any, Values, Any], Values]) -> Any:
    """Return a kernel that multiplies four int8 rows by quantized activations, block by block.

    `multiply` returns the products of a block with each row as `lanes` 32-bit sums. Four rows share the loop overhead.
    CPUs follow one address stream better than four, so the rows to come are prefetched in order.
    """
    floats = ir.VectorType(F32, lanes)

    def write(emit: Emitter, first: Any, stride: Any, codes: Any, scales: Any, blocks: Any) -> Values:
        builder = emit.builder
        starts = [builder.add(first, builder.mul(stride, I64(row))) for row in range(4)]

        def body(block: Any, sums: Values) -> Values:
            ahead = builder.add(builder.add(first, builder.shl(block, I64(8))), I64(PREFETCH_BYTES))
            for line in range(4):
                emit.prefetch(builder.add(ahead, I64(64 * line)))
            scale = emit.broadcast(emit.load(scales, builder.shl(block, I64(2)), F32), lanes)
            products = multiply(emit, codes, starts, builder.shl(block, I64(6)))
            pairs = zip(products, sums, strict=True)
            return [emit.fma(builder.sitofp(product, floats), scale, old) for product, old in pairs]

        sums = emit.loop(blocks, [floats([0.0] * lanes)] * 4, body)
        total = get_or_insert_function(
            builder.module, ir.FunctionType(F32, [F32, floats]), f"llvm.vector.reduce.fadd.v{lanes}f32"
        )
        return [builder.call(total, [F32(0.0), more], fastmath=("reassoc",)) for more in sums]

    return llvm_function(write, 4)


def _products_vnni(emit: Emitter, codes: Any, starts: Values, offset: Any) -> Values:
    """Multiply the 64 elements of a block by one instruction."""
    ints = ir.VectorType(I32, 16)
    factor, zero = emit.load(codes, offset, ints), ints([0] * 16)
    rows = (emit.load(start, offset, ints) for start in starts)
    return [emit.call("llvm.x86.avx512.vpdpbusd.512", ints, zero, row, factor) for row in rows]


def _products_avx2(emit: Emitter, codes: Any, starts: Values, offset: Any) -> Values:
    """Multiply 16 elements per instruction in 16 bits, adding neighbours; the 8-bit instruction would overflow."""
    builder, sixteen = emit.builder, ir.VectorType(ir.IntType(8), 16)
    ints, shorts = ir.VectorType(I32, 8), ir.VectorType(ir.IntType(16), 16)
    offsets = [builder.add(offset, I64(part)) for part in range(0, INT8_BLOCK, 16)]
    factors = [builder.sext(emit.load(codes, position, sixteen), shorts) for position in offsets]
    products = []
    for start in starts:
        rows = (builder.zext(emit.load(start, position, sixteen), shorts) for position in offsets)
        parts = [
            emit.call("llvm.x86.avx2.pmadd.wd", ints, row, factor) for row, factor in zip(rows, factors, strict=True)
        ]
        products.append(functools.reduce(builder.add, parts))
    return products


dot4_int8 = _emit_dot4(16, _products_vnni) if HAS_VNNI else _emit_dot4(8, _products_avx2)
"""(row, stride, codes, scales, blocks) -> dot products of four rows."""
