"""Inner loops as LLVM code, where what a compiler makes of a plain loop is too slow: products and sums of rows.

They take addresses. Weights are float32, bfloat16 (read as pairs in one 32-bit word) or int8 (stored plus 128).
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
"""Places of an int8 vector that share a scale: one AVX-512 register."""
LANES = 16
"""Of a float32 vector in AVX-512, which has 32 such registers."""
AHEAD = 8192
"""Bytes that a fetch is ahead of its use."""

I32, I64, F32 = ir.IntType(32), ir.IntType(64), ir.FloatType()
FLOATS = ir.VectorType(F32, LANES)
Values = list[Any]
Place = tuple[int, int, int]
"""Where numbers are, where what they number begins, and how far one of those is from the next."""


@dataclass(frozen=True)
class Code:
    """Code that is being written."""

    builder: Any

    def call(self, name: str, result: ir.Type, *arguments: Any) -> Any:
        """Call a function of LLVM's."""
        kind = ir.FunctionType(result, [argument.type for argument in arguments])
        return self.builder.call(get_or_insert_function(self.builder.module, kind, name), arguments)

    def pointer(self, address: Any, kind: ir.Type) -> Any:
        """Return an address as a pointer."""
        return self.builder.inttoptr(address, kind.as_pointer())

    def load(self, start: Any, place: Any, kind: ir.Type) -> Any:
        """Read what lies so many bytes after an address."""
        return self.builder.load(self.pointer(self.builder.add(start, place), kind), align=1)

    def fma(self, left: Any, right: Any, old: Any) -> Any:
        """Return left * right + old."""
        return self.call(f"llvm.fma.v{old.type.count}f32", old.type, left, right, old)

    def spread(self, number: Any, lanes: int) -> Any:
        """Return a vector that has a number in every lane."""
        one = ir.VectorType(number.type, lanes)(ir.Undefined)
        return self.builder.shuffle_vector(
            self.builder.insert_element(one, number, I32(0)), one, ir.VectorType(I32, lanes)([0] * lanes)
        )

    def fetch(self, address: Any) -> None:
        """Have a line of memory brought near."""
        line = self.pointer(address, ir.IntType(8))
        self.call("llvm.prefetch.p0", ir.VoidType(), line, I32(0), I32(3), I32(1))

    def loop(self, turns: Any, begin: Values, grow: Callable[[Any, Values], Values]) -> Values:
        """Return what some values, at first `begin`, are after turns, at least one, of `grow(turn, values)`."""
        builder = self.builder
        before, inside, after = builder.block, builder.append_basic_block(), builder.append_basic_block()
        builder.branch(inside)
        builder.position_at_end(inside)
        turn, old = builder.phi(I64), [builder.phi(value.type) for value in begin]
        grown = grow(turn, old)
        following = builder.add(turn, I64(1))
        for phi, first, further in zip([turn, *old], [I64(0), *begin], [following, *grown], strict=True):
            phi.add_incoming(first, before)
            phi.add_incoming(further, inside)
        builder.cbranch(builder.icmp_signed("<", following, turns), inside, after)
        builder.position_at_end(after)
        return grown


def emitted(write: Callable[..., Values | None], results: int = 0) -> Any:
    """Return a function for compiled code, which `write(code, *arguments)` writes; it gives its float32 results."""
    result = types.UniTuple(types.float32, results) if results else types.void

    @intrinsic
    def function(typing: Any, *given: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            written = write(Code(builder), *(builder.extract_value(values[0], number) for number in range(len(given))))
            return context.make_tuple(builder, result, written) if results else context.get_dummy_value()

        return result(types.StarArgTuple(given)), generate

    return function


def _dots(rows: int, count: int, parts_of: Callable[[Code, Any, Any], tuple[Any, Any]], size: int) -> Any:
    """Return what multiplies so many rows with so many vectors, block by block of twice `LANES` places.

    `parts_of` gives a block of a row as two float vectors; `size` is the logarithm of its bytes, by which vectors go
    on, too: their second parts lie `gap` after the first. Sums are kept apart by lane and part, and added up in one
    order, so that a product has the same bits however many others there are. Products with a vector lie one after the
    other. No number is read after the `last`, which stands in for those that are missing.
    """

    def write(code: Code, row: Any, stride: Any, blocks: Any, gap: Any, vectors: Any, outs: Any, last: Any) -> None:
        builder = code.builder
        lines = [builder.add(row, builder.mul(stride, I64(number))) for number in range(rows)]
        starts, ends = ([_address(code, place, number, last) for number in range(count)] for place in (vectors, outs))

        def grow(block: Any, sums: Values) -> Values:
            at, grown = builder.shl(block, I64(size)), Values()
            parts = [parts_of(code, line, at) for line in lines]
            for start in starts:
                read = code.load(start, at, FLOATS), code.load(builder.add(start, gap), at, FLOATS)
                for left, right in (pair for part in parts for pair in zip(part, read, strict=True)):
                    grown.append(code.fma(left, right, sums[len(grown)]))
            return grown

        sums = code.loop(blocks, [FLOATS([0.0] * LANES)] * (2 * rows * count), grow)
        _store(code, _add_lanes(code, [builder.fadd(*pair) for pair in zip(sums[::2], sums[1::2], strict=True)]), ends)

    return emitted(write)


def _address(code: Code, place: Any, number: int, last: Any) -> Any:
    """Return where something numbered is, given a `Place`."""
    builder = code.builder
    numbers, base, step = (builder.extract_value(place, one) for one in range(3))
    index = builder.select(builder.icmp_signed("<", I64(number), last), I64(number), last)
    return builder.add(base, builder.mul(code.load(numbers, builder.shl(index, I64(3)), I64), step))


def _add_lanes(code: Code, vectors: Values) -> Any:
    """Return the sums over the lanes of some vectors, a power of two of them, as one vector.

    Each step folds all of them in halves, two vectors into one as long as there are two.
    """
    builder, size = code.builder, LANES
    while size > 1:
        two = len(vectors) > 1
        lanes = range(2 * LANES if two else vectors[0].type.count)
        halves = [[lane for lane in lanes if (lane % size < size // 2) == first] for first in (True, False)]
        masks = [ir.VectorType(I32, len(half))(half) for half in halves]
        pairs = zip(vectors[::2], vectors[1::2], strict=True) if two else [(vectors[0], vectors[0])]
        vectors = [builder.fadd(*(builder.shuffle_vector(*pair, mask) for mask in masks)) for pair in pairs]
        size //= 2
    return vectors[0]


def _store(code: Code, values: Any, addresses: Sequence[Any]) -> None:
    """Store as many of the values at each address, one after the other."""
    size = values.type.count // len(addresses)
    for number, address in enumerate(addresses):
        mask = ir.VectorType(I32, size)(list(range(number * size, (number + 1) * size)))
        part = code.builder.shuffle_vector(values, values, mask)
        code.builder.store(part, code.pointer(address, part.type), align=4)


def _parts_bfloat16(code: Code, row: Any, at: Any) -> tuple[Any, Any]:
    """Return even and odd places."""
    ints, builder = ir.VectorType(I32, LANES), code.builder
    pairs = code.load(row, at, ints)
    low, high = builder.shl(pairs, ints([16] * LANES)), builder.and_(pairs, ints([0xFFFF0000] * LANES))
    return builder.bitcast(low, FLOATS), builder.bitcast(high, FLOATS)


def _parts_float32(code: Code, row: Any, at: Any) -> tuple[Any, Any]:
    """Return the first and the second half."""
    return code.load(row, at, FLOATS), code.load(row, code.builder.add(at, I64(4 * LANES)), FLOATS)


TOGETHER = 4
"""Vectors that two rows are multiplied with at once; four rows are with one or two."""
_SHAPES = ((1, TOGETHER), (4, 1), (4, 2), (2, TOGETHER))
FLOAT32, BFLOAT16 = (
    tuple(_dots(*shape, parts_of, size) for shape in _SHAPES)
    for parts_of, size in ((_parts_float32, 7), (_parts_bfloat16, 6))
)
"""(row, stride, blocks, gap, vectors, outs, last): one row, four with one vector, four with two, two with four."""


def _write_add_rows(code: Code, rows: Any, stride: Any, count: Any, shares: Any, out: Any) -> None:
    builder, places = code.builder, [I64(4 * LANES * number) for number in range(WIDTH // LANES)]

    def grow(row: Any, sums: Values) -> Values:
        share = code.spread(code.load(shares, builder.shl(row, I64(2)), F32), LANES)
        line = builder.add(rows, builder.mul(row, stride))
        return [code.fma(share, code.load(line, place, FLOATS), old) for place, old in zip(places, sums, strict=True)]

    sums = code.loop(count, [code.load(out, place, FLOATS) for place in places], grow)
    for place, total in zip(places, sums, strict=True):
        builder.store(total, code.pointer(builder.add(out, place), FLOATS), align=4)


WIDTH = 4 * LANES
add_rows = emitted(_write_add_rows)
"""(rows, stride, count, shares, out): add so many float32 rows to `out` by their shares, `WIDTH` places of each."""
fetch_line = emitted(lambda code, address: code.fetch(address))
"""(address): have a line of memory brought near."""


def _dot4(lanes: int, multiply: Callable[[Code, Any, Values, Any], Values]) -> Any:
    """Return what multiplies four int8 rows with codes, block by block.

    `multiply` gives the products of a block with each row as so many 32-bit sums. Four rows share the loop's cost.
    Processors follow one stream of addresses better than four, so what comes next is fetched ahead in order.
    """
    floats = ir.VectorType(F32, lanes)

    def write(code: Code, first: Any, stride: Any, codes: Any, scales: Any, blocks: Any) -> Values:
        builder = code.builder
        starts = [builder.add(first, builder.mul(stride, I64(row))) for row in range(4)]

        def grow(block: Any, sums: Values) -> Values:
            ahead = builder.add(builder.add(first, builder.shl(block, I64(8))), I64(AHEAD))
            for line in range(4):
                code.fetch(builder.add(ahead, I64(64 * line)))
            scale = code.spread(code.load(scales, builder.shl(block, I64(2)), F32), lanes)
            products = multiply(code, codes, starts, builder.shl(block, I64(6)))
            pairs = zip(products, sums, strict=True)
            return [code.fma(builder.sitofp(product, floats), scale, old) for product, old in pairs]

        sums = code.loop(blocks, [floats([0.0] * lanes)] * 4, grow)
        total = get_or_insert_function(
            builder.module, ir.FunctionType(F32, [F32, floats]), f"llvm.vector.reduce.fadd.v{lanes}f32"
        )
        return [builder.call(total, [F32(0.0), more], fastmath=("reassoc",)) for more in sums]

    return emitted(write, 4)


def _products_vnni(code: Code, codes: Any, starts: Values, place: Any) -> Values:
    """One instruction multiplies the 64 places of a block."""
    ints = ir.VectorType(I32, 16)
    factor, zero = code.load(codes, place, ints), ints([0] * 16)
    rows = (code.load(start, place, ints) for start in starts)
    return [code.call("llvm.x86.avx512.vpdpbusd.512", ints, zero, row, factor) for row in rows]


def _products_avx2(code: Code, codes: Any, starts: Values, place: Any) -> Values:
    """One instruction multiplies 16 places in 16 bits and adds neighbours; that for 8 bits would overflow."""
    builder, sixteen = code.builder, ir.VectorType(ir.IntType(8), 16)
    ints, shorts = ir.VectorType(I32, 8), ir.VectorType(ir.IntType(16), 16)
    places = [builder.add(place, I64(offset)) for offset in range(0, INT8_BLOCK, 16)]
    factors = [builder.sext(code.load(codes, one, sixteen), shorts) for one in places]
    products = []
    for start in starts:
        rows = (builder.zext(code.load(start, one, sixteen), shorts) for one in places)
        parts = [code.call("llvm.x86.avx2.pmadd.wd", ints, row, one) for row, one in zip(rows, factors, strict=True)]
        products.append(functools.reduce(builder.add, parts))
    return products


four_int8 = _dot4(16, _products_vnni) if HAS_VNNI else _dot4(8, _products_avx2)
"""(row, stride, codes, scales, blocks) -> products of four rows."""
