"""Attention of the compiled step. Threads split the heads; with grouped heads, all pairs of token and key head."""

import numpy as np

from baicai.inference.cpu.barrier import barrier_wait
from baicai.inference.cpu.buffers import (
    BARRIER,
    COS,
    K_BIAS,
    K_NORM,
    KV_DOWN,
    KV_UP,
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
    add_scaled_row,
    dot,
    exponential,
    float32_at,
    njit_exact,
    njit_fast,
    prepare,
    rms_norm,
    thread_range,
)
from baicai.inference.cpu.matmul import multiply, multiply_rows, prefetch
from baicai.inference.cpu.simd import ADD_ROWS_WIDTH, HAS_AVX512, LANES, MAX_VECTORS, add_rows


@njit_exact
def apply_rope(vector: Floats, cos: Floats, sin: Floats) -> None:
    """Apply the rotary embedding to elements half a vector apart, in place."""
    half = len(vector) // 2
    for j in range(half):
        left, right = vector[j], vector[half + j]
        vector[j] = left * cos[j] - right * sin[j]
        vector[half + j] = right * cos[j] + left * sin[j]


@njit_fast
def deinterleave(vector: Floats, scratch: Floats) -> None:
    """Move neighbouring elements half a vector apart, in place: even elements first, then odd ones."""
    half = len(vector) // 2
    for j in range(half):
        scratch[j], scratch[half + j] = vector[2 * j], vector[2 * j + 1]
    for j in range(2 * half):
        vector[j] = scratch[j]


@njit_fast
def softmax(scores: Floats, scale: float) -> None:
    """Softmax of `scale * scores`, in place."""
    largest = np.float32(-np.inf)
    for value in scores:
        largest = max(largest, value)
    total = np.float32(0)
    for i in range(len(scores)):
        scores[i] = exponential((scores[i] - largest) * scale)
    for i in range(len(scores)):
        total += scores[i]
    inverse = np.float32(1) / total
    for i in range(len(scores)):
        scores[i] *= inverse


@njit_fast
def prefetch_rows(rows_PC: Floats, first: int, rows: int) -> None:
    """Prefetch rows of the next block: hardware prefetchers do not follow the jump to it."""
    prefetch(rows_PC[first:].ctypes.data, rows * rows_PC.strides[0])


@njit_fast
def attention_scores(
    query_GC: Floats, rows_PC: Floats, step: StepBuffers, local: ThreadBuffers, slot: int, size: int, out_GP: Floats
) -> None:
    """Multiply queries by the first rows of a sequence, one per column of `out_GP`; blocks have `size` rows."""
    (queries, columns), count = query_GC.shape, out_GP.shape[1]
    for begin in range(0, count, size):
        first, rows = step.block_tables[slot, begin // size] * size, min(size, count - begin)
        if begin + size < count:
            prefetch_rows(rows_PC, step.block_tables[slot, begin // size + 1] * size, size)
        if HAS_AVX512 and columns % (2 * LANES) == 0:
            address, indices = rows_PC[first:].ctypes.data, local.indices.ctypes.data
            for skipped in range(0, queries, MAX_VECTORS):
                vectors = indices, query_GC[skipped:].ctypes.data, query_GC.strides[0]
                outs = indices, out_GP[skipped:, begin:].ctypes.data, out_GP.strides[0]
                few = min(MAX_VECTORS, queries - skipped)
                multiply_rows(FLOAT32, address, columns, rows, 4 * LANES, vectors, outs, few - 1, (0, 0, 0))
            continue
        for i in range(rows):
            for g in range(queries):
                out_GP[g, begin + i] = dot(query_GC[g], rows_PC[first + i])


@njit_fast
def weighted_sum(shares: Floats, rows_PC: Floats, block_tables: Numbers, slot: int, size: int, out: Floats) -> None:
    """Set `out` to the sum of a sequence's rows, in blocks of `size`, weighted by `shares`."""
    out[:] = np.float32(0)
    wide = len(out) // ADD_ROWS_WIDTH * ADD_ROWS_WIDTH if HAS_AVX512 else 0
    for begin in range(0, len(shares), size):
        first, rows = block_tables[slot, begin // size] * size, min(size, len(shares) - begin)
        if begin + size < len(shares):
            prefetch_rows(rows_PC, block_tables[slot, begin // size + 1] * size, size)
        for j in range(0, wide, ADD_ROWS_WIDTH):
            line, part = rows_PC[first, j:].ctypes.data, shares[begin:].ctypes.data
            add_rows(line, rows_PC.strides[0], rows, part, out[j:].ctypes.data)
        for i in range(rows if wide < len(out) else 0):
            part = shares[begin + i]
            for j in range(wide, len(out)):
                out[j] += part * rows_PC[first + i, j]


@njit_fast
def grouped_attention(
    sizes: Sizes,
    weights: Weights,
    layer: int,
    step: StepBuffers,
    local: ThreadBuffers,
    count: int,
    thread: int,
    barriers: int,
) -> int:
    """Grouped-query attention; writes the heads' outputs to `step.out` and returns the number of barriers passed.

    Threads split the rows of the matrices, and then all pairs of token and key head.
    """
    row, size, kv_heads = weights.layers[layer], sizes.head_dim, sizes.kv_heads
    inner, rows_T, k_column = step.inner, local.indices[:count], sizes.heads * size
    v_column = k_column + kv_heads * size
    first, last = thread_range(sizes.heads * size, thread, sizes.threads)
    multiply(row[Q:], sizes.dim, first, last, local.input, rows_T, inner, rows_T, 0)
    first, last = thread_range(kv_heads * size, thread, sizes.threads)
    multiply(row[K:], sizes.dim, first, last, local.input, rows_T, inner, rows_T, k_column)
    multiply(row[V:], sizes.dim, first, last, local.input, rows_T, inner, rows_T, v_column)
    barriers = barrier_wait(step.counters, BARRIER, sizes.threads, barriers)
    first, last = thread_range(count * kv_heads, thread, sizes.threads)
    for item in range(first, last):
        write_kv(sizes, weights, layer, step, item // kv_heads, item % kv_heads)
    barriers = barrier_wait(step.counters, BARRIER, sizes.threads, barriers)
    for item in range(first, last):
        attend_group(sizes, weights, layer, step, local, item // kv_heads, item % kv_heads)
    return barriers


@njit_fast
def write_kv(sizes: Sizes, weights: Weights, layer: int, step: StepBuffers, t: int, head: int) -> None:
    """Write the key and value of a token and key head to the cache, and normalize and rotate its queries."""
    row, size, inner = weights.layers[layer], sizes.head_dim, step.inner
    group, position, block = sizes.heads // sizes.kv_heads, step.positions[t], sizes.block_tokens
    own = step.block_tables[step.slots[t], position // block] * block + position % block
    cos = float32_at(weights.top[COS] + position * size * 2, size // 2)
    sin = float32_at(weights.top[SIN] + position * size * 2, size // 2)
    key_column = (sizes.heads + head) * size
    value_column = key_column + sizes.kv_heads * size
    key, value = inner[t, key_column : key_column + size], inner[t, value_column : value_column + size]
    add_bias(row[K_BIAS], head * size, key)
    add_bias(row[V_BIAS], head * size, value)
    if row[K_NORM]:
        rms_norm(key, float32_at(row[K_NORM], size), sizes.eps, key)
    apply_rope(key, cos, sin)
    offset = (head * sizes.pool_tokens + own) * size * 4
    cached_key, cached_value = (
        float32_at(weights.caches[layer, 0] + offset, size),
        float32_at(weights.caches[layer, 1] + offset, size),
    )
    for j in range(size):
        cached_key[j], cached_value[j] = key[j], value[j]
    for query_head in range(head * group, (head + 1) * group):
        query = inner[t, query_head * size : (query_head + 1) * size]
        add_bias(row[Q_BIAS], query_head * size, query)
        if row[Q_NORM]:
            rms_norm(query, float32_at(row[Q_NORM], size), sizes.eps, query)
        apply_rope(query, cos, sin)


@njit_fast
def attend_group(
    sizes: Sizes, weights: Weights, layer: int, step: StepBuffers, local: ThreadBuffers, t: int, head: int
) -> None:
    """Attend with the queries of a token that share one key head."""
    size, group, cache = sizes.head_dim, sizes.heads // sizes.kv_heads, weights.caches[layer]
    position, slot, block = step.positions[t], step.slots[t], sizes.block_tokens
    offset = head * sizes.pool_tokens * size * 4
    keys = float32_at(cache[0] + offset, sizes.pool_tokens * size).reshape((sizes.pool_tokens, size))
    values = float32_at(cache[1] + offset, sizes.pool_tokens * size).reshape((sizes.pool_tokens, size))
    columns = slice(head * group * size, (head + 1) * group * size)
    queries, outs = step.inner[t, columns].reshape((group, size)), step.out[t, columns].reshape((group, size))
    scores = local.scores[:group, : position + 1]
    attention_scores(queries, keys, step, local, slot, block, scores)
    for g in range(group):
        softmax(scores[g], np.float32(size**-0.5))
        weighted_sum(scores[g], values, step.block_tables, slot, block, outs[g])


@njit_fast
def add_bias(address: int, first: int, vector: Floats) -> None:
    """Add a bias if the layer has one."""
    if address:
        bias = float32_at(address + 4 * first, len(vector))
        for j in range(len(vector)):
            vector[j] += bias[j]


@njit_fast
def latent_attention(
    sizes: Sizes,
    weights: Weights,
    layer: int,
    step: StepBuffers,
    local: ThreadBuffers,
    count: int,
    thread: int,
    barriers: int,
) -> int:
    """Multi-head latent attention with the heads of this thread; returns the number of barriers passed.

    Keys and values are never expanded: queries are projected to the latents instead.

    Source: DeepSeek-V2, section 2.1.2 and appendix C (absorbed up-projections).
    """
    row, rank, rope = weights.layers[layer], sizes.kv_rank, sizes.rope_dim
    inner, q_column, rows_T = step.inner, rank + rope, local.indices[:count]
    first, last = thread_range(rank + rope, thread, sizes.threads)
    multiply(row[KV_DOWN:], sizes.dim, first, last, local.input, rows_T, inner, rows_T, 0)
    if sizes.q_rank:
        first, last = thread_range(sizes.q_rank, thread, sizes.threads)
        multiply(row[Q_DOWN:], sizes.dim, first, last, local.input, rows_T, inner, rows_T, q_column)
    barriers = barrier_wait(step.counters, BARRIER, sizes.threads, barriers)
    latents = float32_at(weights.caches[layer, 0], sizes.pool_tokens * rank).reshape((sizes.pool_tokens, rank))
    rope_keys = float32_at(weights.caches[layer, 1], sizes.pool_tokens * rope).reshape((sizes.pool_tokens, rope))
    for t in range(count):
        if thread == 0:
            position, block = step.positions[t], sizes.block_tokens
            own = step.block_tables[step.slots[t], position // block] * block + position % block
            cos = float32_at(weights.top[COS] + position * rope * 2, rope // 2)
            sin = float32_at(weights.top[SIN] + position * rope * 2, rope // 2)
            rms_norm(inner[t, :rank], float32_at(row[K_NORM], rank), sizes.eps, latents[own])
            rope_keys[own] = inner[t, rank : rank + rope]
            deinterleave(rope_keys[own], local.scratch[t])
            apply_rope(rope_keys[own], cos, sin)
        if sizes.q_rank:
            query = local.input.plain[t, : sizes.q_rank]
            rms_norm(
                inner[t, q_column : q_column + sizes.q_rank], float32_at(row[Q_NORM], sizes.q_rank), sizes.eps, query
            )
            prepare(local.input, t, sizes.q_rank, sizes.int8)
    size = sizes.head_dim + rope
    first, last = thread_range(sizes.heads, thread, sizes.threads)
    q_places = sizes.q_rank if sizes.q_rank else sizes.dim
    q_first = q_column + sizes.q_rank
    multiply(row[Q:], q_places, first * size, last * size, local.input, rows_T, inner, rows_T, q_first)
    barriers = barrier_wait(step.counters, BARRIER, sizes.threads, barriers)
    for head in range(first, last):
        for t in range(count):
            query = inner[t, q_first + head * size : q_first + (head + 1) * size]
            attend_latent_head(sizes, weights, row, step, local, latents, rope_keys, query, head, t)
    return barriers


@njit_fast
def attend_latent_head(
    sizes: Sizes,
    weights: Weights,
    row: Table,
    step: StepBuffers,
    local: ThreadBuffers,
    latents: Floats,
    rope_keys: Floats,
    query: Floats,
    head: int,
    t: int,
) -> None:
    """Latent attention for one head of one token."""
    rank, rope, nope, size = sizes.kv_rank, sizes.rope_dim, sizes.head_dim, sizes.value_dim
    position, slot, block = step.positions[t], step.slots[t], sizes.block_tokens
    cos = float32_at(weights.top[COS] + position * rope * 2, rope // 2)
    sin = float32_at(weights.top[SIN] + position * rope * 2, rope // 2)
    rotary = query[nope : nope + rope]
    deinterleave(rotary, local.scratch[t])
    apply_rope(rotary, cos, sin)
    absorbed = local.scratch[t, :rank]
    absorbed[:] = np.float32(0)
    first = head * (nope + size)
    for j in range(nope):
        add_scaled_row(row[KV_UP:], rank, first + j, query[j], absorbed)
    scores, rotary_scores = local.scores[:1, : position + 1], local.scores[1:2, : position + 1]
    attention_scores(absorbed.reshape((1, rank)), latents, step, local, slot, block, scores)
    attention_scores(rotary.reshape((1, rope)), rope_keys, step, local, slot, block, rotary_scores)
    add(scores[0], rotary_scores[0])
    softmax(scores[0], np.float32((nope + rope) ** -0.5))
    weighted_sum(scores[0], latents, step.block_tables, slot, block, local.experts.plain[0, :rank])
    prepare(local.experts, 0, rank, sizes.int8)
    multiply(
        row[KV_UP:],
        rank,
        first + nope,
        first + nope + size,
        local.experts,
        local.indices[:1],
        step.out,
        local.indices[t : t + 1],
        head * size - first - nope,
    )
