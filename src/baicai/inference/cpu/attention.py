"""Attention of the compiled step: threads share out its heads, grouped ones together with the tokens."""

import numpy as np

from baicai.inference.cpu.barrier import meet
from baicai.inference.cpu.buffers import (
    COS,
    K_BIAS,
    K_NORM,
    KV_DOWN,
    KV_UP,
    MET,
    Q_BIAS,
    Q_DOWN,
    Q_NORM,
    SIN,
    V_BIAS,
    K,
    Q,
    Sizes,
    StepBuffers,
    ThreadBuffers,
    V,
    Weights,
)
from baicai.inference.cpu.kernels import (
    FLOAT32,
    Floats,
    Numbers,
    Table,
    add,
    compiled,
    dot,
    exact,
    exponential,
    floats,
    prepare,
    read_row,
    rms_norm,
    share,
)
from baicai.inference.cpu.matmul import fetch, multiply, multiply_rows
from baicai.inference.cpu.simd import HAS_AVX512, LANES, TOGETHER, WIDTH, add_rows


@exact
def turn(vector: Floats, cos: Floats, sin: Floats) -> None:
    """Turn pairs half a vector apart by their position's angle."""
    half = len(vector) // 2
    for place in range(half):
        left, right = vector[place], vector[half + place]
        vector[place] = left * cos[place] - right * sin[place]
        vector[half + place] = right * cos[place] + left * sin[place]


@compiled
def pair_up(vector: Floats, scratch: Floats) -> None:
    """Put neighbours half a vector apart."""
    half = len(vector) // 2
    for place in range(half):
        scratch[place], scratch[half + place] = vector[2 * place], vector[2 * place + 1]
    for place in range(2 * half):
        vector[place] = scratch[place]


@compiled
def softmax(scores: Floats, scale: float) -> None:
    """Turn scores, as they are when scaled, into shares, in place."""
    largest = np.float32(-np.inf)
    for one in scores:
        largest = max(largest, one)
    total = np.float32(0)
    for i in range(len(scores)):
        scores[i] = exponential((scores[i] - largest) * scale)
    for i in range(len(scores)):
        total += scores[i]
    inverse = np.float32(1) / total
    for i in range(len(scores)):
        scores[i] *= inverse


@compiled
def fetch_rows(rows_PC: Floats, first: int, rows: int) -> None:
    """Have rows brought near that are read soon: processors foresee no jump to another block."""
    fetch(rows_PC[first:].ctypes.data, rows * rows_PC.strides[0])


@compiled
def score(
    query_GC: Floats, rows_PC: Floats, stream: StepBuffers, bench: ThreadBuffers, text: int, size: int, out_GP: Floats
) -> None:
    """Multiply queries with the first rows of a text, which lie in blocks of `size`, as many as there is room for."""
    (queries, places), count = query_GC.shape, out_GP.shape[1]
    for begin in range(0, count, size):
        first, rows = stream.blocks[text, begin // size] * size, min(size, count - begin)
        if begin + size < count:
            fetch_rows(rows_PC, stream.blocks[text, begin // size + 1] * size, size)
        if HAS_AVX512 and places % (2 * LANES) == 0:
            at, numbers = rows_PC[first:].ctypes.data, bench.numbers.ctypes.data
            for skipped in range(0, queries, TOGETHER):
                vectors = numbers, query_GC[skipped:].ctypes.data, query_GC.strides[0]
                outs = numbers, out_GP[skipped:, begin:].ctypes.data, out_GP.strides[0]
                few = min(TOGETHER, queries - skipped)
                multiply_rows(FLOAT32, at, places, rows, 4 * LANES, vectors, outs, few - 1, (0, 0, 0))
            continue
        for i in range(rows):
            for g in range(queries):
                out_GP[g, begin + i] = dot(query_GC[g], rows_PC[first + i])


@compiled
def mix(shares: Floats, rows_PC: Floats, blocks: Numbers, text: int, size: int, out: Floats) -> None:
    """Set `out` to the sum of a text's rows, which lie in blocks of `size`, by their shares."""
    out[:] = np.float32(0)
    wide = len(out) // WIDTH * WIDTH if HAS_AVX512 else 0
    for begin in range(0, len(shares), size):
        first, rows = blocks[text, begin // size] * size, min(size, len(shares) - begin)
        if begin + size < len(shares):
            fetch_rows(rows_PC, blocks[text, begin // size + 1] * size, size)
        for place in range(0, wide, WIDTH):
            line, part = rows_PC[first, place:].ctypes.data, shares[begin:].ctypes.data
            add_rows(line, rows_PC.strides[0], rows, part, out[place:].ctypes.data)
        for i in range(rows if wide < len(out) else 0):
            part = shares[begin + i]
            for place in range(wide, len(out)):
                out[place] += part * rows_PC[first + i, place]


@compiled
def grouped_attention(
    sizes: Sizes,
    weights: Weights,
    layer: int,
    stream: StepBuffers,
    bench: ThreadBuffers,
    count: int,
    thread: int,
    meetings: int,
) -> int:
    """Attend, and leave the heads' outputs in stream.out. Queries share keys in groups.

    Threads share out the rows of the matrices, and then the groups of all tokens.
    """
    row, size, kv_heads = weights.layers[layer], sizes.head_dim, sizes.kv_heads
    inner, every, k_column = stream.inner, bench.numbers[:count], sizes.heads * size
    v_column = k_column + kv_heads * size
    first, last = share(sizes.heads * size, thread, sizes.threads)
    multiply(row[Q:], sizes.dim, first, last, bench.input, every, inner, every, 0)
    first, last = share(kv_heads * size, thread, sizes.threads)
    multiply(row[K:], sizes.dim, first, last, bench.input, every, inner, every, k_column)
    multiply(row[V:], sizes.dim, first, last, bench.input, every, inner, every, v_column)
    meetings = meet(stream.counters, MET, sizes.threads, meetings)
    first, last = share(count * kv_heads, thread, sizes.threads)
    for item in range(first, last):
        place_group(sizes, weights, layer, stream, item // kv_heads, item % kv_heads)
    meetings = meet(stream.counters, MET, sizes.threads, meetings)
    for item in range(first, last):
        attend_group(sizes, weights, layer, stream, bench, item // kv_heads, item % kv_heads)
    return meetings


@compiled
def place_group(sizes: Sizes, weights: Weights, layer: int, stream: StepBuffers, t: int, head: int) -> None:
    """Put a token's key and value where later ones find them, and make its queries ready."""
    row, size, inner = weights.layers[layer], sizes.head_dim, stream.inner
    group, at, block = sizes.heads // sizes.kv_heads, stream.positions[t], sizes.block_tokens
    own = stream.blocks[stream.texts[t], at // block] * block + at % block
    cos = floats(weights.ends[COS] + at * size * 2, size // 2)
    sin = floats(weights.ends[SIN] + at * size * 2, size // 2)
    key_column = (sizes.heads + head) * size
    value_column = key_column + sizes.kv_heads * size
    key, value = inner[t, key_column : key_column + size], inner[t, value_column : value_column + size]
    add_bias(row[K_BIAS], head * size, key)
    add_bias(row[V_BIAS], head * size, value)
    if row[K_NORM]:
        rms_norm(key, floats(row[K_NORM], size), sizes.eps, key)
    turn(key, cos, sin)
    room = (head * sizes.pool_tokens + own) * size * 4
    kept_key, kept_value = floats(weights.caches[layer, 0] + room, size), floats(weights.caches[layer, 1] + room, size)
    for place in range(size):
        kept_key[place], kept_value[place] = key[place], value[place]
    for query_head in range(head * group, (head + 1) * group):
        query = inner[t, query_head * size : (query_head + 1) * size]
        add_bias(row[Q_BIAS], query_head * size, query)
        if row[Q_NORM]:
            rms_norm(query, floats(row[Q_NORM], size), sizes.eps, query)
        turn(query, cos, sin)


@compiled
def attend_group(
    sizes: Sizes, weights: Weights, layer: int, stream: StepBuffers, bench: ThreadBuffers, t: int, head: int
) -> None:
    """Attend with the queries of a token that share a head of keys and values."""
    size, group, cache = sizes.head_dim, sizes.heads // sizes.kv_heads, weights.caches[layer]
    at, text, block = stream.positions[t], stream.texts[t], sizes.block_tokens
    room = head * sizes.pool_tokens * size * 4
    keys = floats(cache[0] + room, sizes.pool_tokens * size).reshape((sizes.pool_tokens, size))
    values = floats(cache[1] + room, sizes.pool_tokens * size).reshape((sizes.pool_tokens, size))
    columns = slice(head * group * size, (head + 1) * group * size)
    queries, outs = stream.inner[t, columns].reshape((group, size)), stream.out[t, columns].reshape((group, size))
    scores = bench.scores[:group, : at + 1]
    score(queries, keys, stream, bench, text, block, scores)
    for g in range(group):
        softmax(scores[g], np.float32(size**-0.5))
        mix(scores[g], values, stream.blocks, text, block, outs[g])


@compiled
def add_bias(address: int, first: int, vector: Floats) -> None:
    """Add a bias, if there is one."""
    if address:
        bias = floats(address + 4 * first, len(vector))
        for place in range(len(vector)):
            vector[place] += bias[place]


@compiled
def latent_attention(
    sizes: Sizes,
    weights: Weights,
    layer: int,
    stream: StepBuffers,
    bench: ThreadBuffers,
    count: int,
    thread: int,
    meetings: int,
) -> int:
    """Attend with the heads of this thread: keys and values are never unpacked, queries go to the latents instead.

    Source: DeepSeek-V2, section 2.1.2 and appendix C (absorbed up-projections).
    """
    row, rank, rope = weights.layers[layer], sizes.kv_rank, sizes.rope_dim
    inner, q_column, every = stream.inner, rank + rope, bench.numbers[:count]
    first, last = share(rank + rope, thread, sizes.threads)
    multiply(row[KV_DOWN:], sizes.dim, first, last, bench.input, every, inner, every, 0)
    if sizes.q_rank:
        first, last = share(sizes.q_rank, thread, sizes.threads)
        multiply(row[Q_DOWN:], sizes.dim, first, last, bench.input, every, inner, every, q_column)
    meetings = meet(stream.counters, MET, sizes.threads, meetings)
    latents = floats(weights.caches[layer, 0], sizes.pool_tokens * rank).reshape((sizes.pool_tokens, rank))
    rope_keys = floats(weights.caches[layer, 1], sizes.pool_tokens * rope).reshape((sizes.pool_tokens, rope))
    for t in range(count):
        if thread == 0:
            at, block = stream.positions[t], sizes.block_tokens
            own = stream.blocks[stream.texts[t], at // block] * block + at % block
            cos = floats(weights.ends[COS] + at * rope * 2, rope // 2)
            sin = floats(weights.ends[SIN] + at * rope * 2, rope // 2)
            rms_norm(inner[t, :rank], floats(row[K_NORM], rank), sizes.eps, latents[own])
            rope_keys[own] = inner[t, rank : rank + rope]
            pair_up(rope_keys[own], bench.scratch[t])
            turn(rope_keys[own], cos, sin)
        if sizes.q_rank:
            query = bench.input.plain[t, : sizes.q_rank]
            rms_norm(inner[t, q_column : q_column + sizes.q_rank], floats(row[Q_NORM], sizes.q_rank), sizes.eps, query)
            prepare(bench.input, t, sizes.q_rank, sizes.int8)
    size = sizes.head_dim + rope
    first, last = share(sizes.heads, thread, sizes.threads)
    q_places = sizes.q_rank if sizes.q_rank else sizes.dim
    q_first = q_column + sizes.q_rank
    multiply(row[Q:], q_places, first * size, last * size, bench.input, every, inner, every, q_first)
    meetings = meet(stream.counters, MET, sizes.threads, meetings)
    for head in range(first, last):
        for t in range(count):
            query = inner[t, q_first + head * size : q_first + (head + 1) * size]
            latent_head(sizes, weights, row, stream, bench, latents, rope_keys, query, head, t)
    return meetings


@compiled
def latent_head(
    sizes: Sizes,
    weights: Weights,
    row: Table,
    stream: StepBuffers,
    bench: ThreadBuffers,
    latents: Floats,
    rope_keys: Floats,
    query: Floats,
    head: int,
    t: int,
) -> None:
    """Attend with one head and one token."""
    rank, rope, nope, size = sizes.kv_rank, sizes.rope_dim, sizes.head_dim, sizes.value_dim
    at, text, block = stream.positions[t], stream.texts[t], sizes.block_tokens
    cos = floats(weights.ends[COS] + at * rope * 2, rope // 2)
    sin = floats(weights.ends[SIN] + at * rope * 2, rope // 2)
    rotary = query[nope : nope + rope]
    pair_up(rotary, bench.scratch[t])
    turn(rotary, cos, sin)
    absorbed = bench.scratch[t, :rank]
    absorbed[:] = np.float32(0)
    first = head * (nope + size)
    for place in range(nope):
        read_row(row[KV_UP:], rank, first + place, query[place], absorbed)
    scores, turned = bench.scores[:1, : at + 1], bench.scores[1:2, : at + 1]
    score(absorbed.reshape((1, rank)), latents, stream, bench, text, block, scores)
    score(rotary.reshape((1, rope)), rope_keys, stream, bench, text, block, turned)
    add(scores[0], turned[0])
    softmax(scores[0], np.float32((nope + rope) ** -0.5))
    mix(scores[0], latents, stream.blocks, text, block, bench.experts.plain[0, :rank])
    prepare(bench.experts, 0, rank, sizes.int8)
    multiply(
        row[KV_UP:],
        rank,
        first + nope,
        first + nope + size,
        bench.experts,
        bench.numbers[:1],
        stream.out,
        bench.numbers[t : t + 1],
        head * size - first - nope,
    )
