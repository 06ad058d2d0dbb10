"""Attention of the compiled step: every thread has some of the heads."""

import numpy as np

from baicai.inference.kernels import (
    Floats,
    Numbers,
    Table,
    compiled,
    dot,
    exponential,
    floats,
    prepare,
    read_row,
    rms_norm,
    share,
)
from baicai.inference.layout import (
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
    Bench,
    K,
    Q,
    Sizes,
    Stream,
    V,
    Weights,
)
from baicai.inference.products import multiply
from baicai.inference.sync import meet


@compiled
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
def softmax(scores: Floats) -> None:
    """Turn scores into shares, in place."""
    largest = np.float32(-np.inf)
    for score in scores:
        largest = max(largest, score)
    total = np.float32(0)
    for i in range(len(scores)):
        scores[i] = exponential(scores[i] - largest)
    for i in range(len(scores)):
        total += scores[i]
    inverse = np.float32(1) / total
    for i in range(len(scores)):
        scores[i] *= inverse


@compiled
def mix(shares: Floats, rows_PC: Floats, blocks: Numbers, text: int, size: int, out: Floats) -> None:
    """Set `out` to the sum of a text's rows, which lie in blocks of `size`, by their shares."""
    out[:] = np.float32(0)
    for begin in range(0, len(shares), size):
        first = blocks[text, begin // size] * size
        for i in range(min(size, len(shares) - begin)):
            part = shares[begin + i]
            for place in range(len(out)):
                out[place] += part * rows_PC[first + i, place]


@compiled
def grouped_attention(
    sizes: Sizes, weights: Weights, layer: int, stream: Stream, bench: Bench, count: int, thread: int
) -> None:
    """Attend with the heads of this thread, and leave their outputs in stream.out. Queries share keys in groups."""
    row, size, cache = weights.layers[layer], sizes.head_dim, weights.caches[layer]
    first, last = share(sizes.kv_heads, thread, sizes.threads)
    group, inner, every = sizes.heads // sizes.kv_heads, stream.inner, bench.numbers[:count]
    k_column, v_column = sizes.heads * size, (sizes.heads + sizes.kv_heads) * size
    multiply(row[Q:], sizes.dim, first * group * size, last * group * size, bench.input, every, inner, every, 0)
    multiply(row[K:], sizes.dim, first * size, last * size, bench.input, every, inner, every, k_column)
    multiply(row[V:], sizes.dim, first * size, last * size, bench.input, every, inner, every, v_column)
    for head in range(first, last):
        place = head * sizes.pool_tokens * size * 4
        keys = floats(cache[0] + place, sizes.pool_tokens * size).reshape((sizes.pool_tokens, size))
        values = floats(cache[1] + place, sizes.pool_tokens * size).reshape((sizes.pool_tokens, size))
        for t in range(count):
            at, text, block = stream.positions[t], stream.texts[t], sizes.block_tokens
            own = stream.blocks[text, at // block] * block + at % block
            cos = floats(weights.ends[COS] + at * size * 2, size // 2)
            sin = floats(weights.ends[SIN] + at * size * 2, size // 2)
            key = inner[t, k_column + head * size : k_column + (head + 1) * size]
            value = inner[t, v_column + head * size : v_column + (head + 1) * size]
            add_bias(row[K_BIAS], head * size, key)
            add_bias(row[V_BIAS], head * size, value)
            if row[K_NORM]:
                rms_norm(key, floats(row[K_NORM], size), sizes.eps, key)
            turn(key, cos, sin)
            for place in range(size):
                keys[own, place], values[own, place] = key[place], value[place]
            for query_head in range(head * group, (head + 1) * group):
                query = inner[t, query_head * size : (query_head + 1) * size]
                add_bias(row[Q_BIAS], query_head * size, query)
                if row[Q_NORM]:
                    rms_norm(query, floats(row[Q_NORM], size), sizes.eps, query)
                turn(query, cos, sin)
                scores, scale = bench.scores[: at + 1], np.float32(size**-0.5)
                for begin in range(0, at + 1, block):
                    first_key = stream.blocks[text, begin // block] * block
                    for i in range(min(block, at + 1 - begin)):
                        scores[begin + i] = dot(query, keys[first_key + i]) * scale
                softmax(scores)
                mix(
                    scores,
                    values,
                    stream.blocks,
                    text,
                    block,
                    stream.out[t, query_head * size : (query_head + 1) * size],
                )


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
    stream: Stream,
    bench: Bench,
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
    stream: Stream,
    bench: Bench,
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
    scores, scale = bench.scores[: at + 1], np.float32((nope + rope) ** -0.5)
    for begin in range(0, at + 1, block):
        own = stream.blocks[text, begin // block] * block
        for i in range(min(block, at + 1 - begin)):
            scores[begin + i] = (dot(absorbed, latents[own + i]) + dot(rotary, rope_keys[own + i])) * scale
    softmax(scores)
    mix(scores, latents, stream.blocks, text, block, bench.experts.plain[0, :rank])
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
