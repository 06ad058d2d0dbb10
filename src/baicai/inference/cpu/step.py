"""One step of the network, compiled: every thread runs `take_part`, each with its share of the rows of every matrix.

The arithmetic of a token does not depend on how many tokens the step has.
"""

import numpy as np

from baicai.inference.cpu.attention import grouped_attention, latent_attention
from baicai.inference.cpu.barrier import meet, post, read, wait_for
from baicai.inference.cpu.buffers import (
    ATTENTION_NORM,
    DRAFT_NORM,
    EMBEDDING,
    EMBEDDING_NORM,
    HEAD,
    HIDDEN_NORM,
    MERGE,
    MET,
    NORM,
    ORDERED,
    OUT,
    SHARED_NORM,
    STOP,
    Sizes,
    StepBuffers,
    ThreadBuffers,
    Weights,
)
from baicai.inference.cpu.feed_forward import feed_forward
from baicai.inference.cpu.kernels import add, compiled, floats, prepare, read_row, rms_norm, share
from baicai.inference.cpu.matmul import multiply


@compiled
def norm_all(sizes: Sizes, weight: int, stream: StepBuffers, bench: ThreadBuffers, count: int) -> None:
    """Norm the stream of every token into this thread's input."""
    for t in range(count):
        rms_norm(stream.x_TD[t, : sizes.dim], floats(weight, sizes.dim), sizes.eps, bench.input.plain[t, : sizes.dim])
        prepare(bench.input, t, sizes.dim, sizes.int8)


@compiled
def merge(
    sizes: Sizes, weights: Weights, stream: StepBuffers, bench: ThreadBuffers, count: int, thread: int, meetings: int
) -> int:
    """Begin the MTP module: the output in stream.hidden_TD and the next token's embedding make its stream."""
    dim, ends, every = sizes.dim, weights.ends, bench.numbers[:count]
    for t in range(count):
        pair = bench.input.plain[t]
        rms_norm(stream.hidden_TD[t], floats(ends[HIDDEN_NORM], dim), sizes.eps, pair[:dim])
        rms_norm(stream.x_TD[t], floats(ends[EMBEDDING_NORM], dim), sizes.eps, pair[dim : 2 * dim])
        prepare(bench.input, t, 2 * dim, sizes.int8)
    meetings = meet(stream.counters, MET, sizes.threads, meetings)
    first, last = share(dim, thread, sizes.threads)
    multiply(ends[MERGE:], 2 * dim, first, last, bench.input, every, stream.x_TD, every, 0)
    return meet(stream.counters, MET, sizes.threads, meetings)


@compiled
def run_step(
    sizes: Sizes,
    weights: Weights,
    stream: StepBuffers,
    bench: ThreadBuffers,
    count: int,
    drafting: int,
    thread: int,
    meetings: int,
) -> int:
    """Take `count` tokens, of one text or several, through the network: normed hidden states, and logits where wanted.

    If drafting, the MTP module takes them instead, beside what stream.hidden_TD holds.
    `meetings` is how often the threads have met before; how often they have now is returned.
    """
    dim, every = sizes.dim, bench.numbers[:count]
    if thread == 0:
        for t in range(count):
            stream.x_TD[t] = np.float32(0)
            read_row(weights.ends[EMBEDDING:], dim, stream.tokens[t], np.float32(1), stream.x_TD[t])
            stream.leaf_weights_TG[t] = np.float32(0)
    meetings = meet(stream.counters, MET, sizes.threads, meetings)
    if drafting:
        meetings = merge(sizes, weights, stream, bench, count, thread, meetings)
    for layer in range(sizes.layers if drafting else 0, sizes.layers + drafting):
        norm_all(sizes, weights.layers[layer, ATTENTION_NORM], stream, bench, count)
        if sizes.kv_rank:
            meetings = latent_attention(sizes, weights, layer, stream, bench, count, thread, meetings)
        else:
            meetings = grouped_attention(sizes, weights, layer, stream, bench, count, thread, meetings)
        meetings = meet(stream.counters, MET, sizes.threads, meetings)
        places = sizes.heads * sizes.value_dim
        for t in range(count):
            bench.input.plain[t, :places] = stream.out[t, :places]
            prepare(bench.input, t, places, sizes.int8)
        first, last = share(dim, thread, sizes.threads)
        multiply(weights.layers[layer, OUT:], places, first, last, bench.input, every, bench.scratch, every, 0)
        for t in range(count):
            add(stream.x_TD[t, first:last], bench.scratch[t, first:last])
        meetings = meet(stream.counters, MET, sizes.threads, meetings)
        norm_all(sizes, weights.layers[layer, SHARED_NORM], stream, bench, count)
        meetings = feed_forward(sizes, weights, layer, stream, bench, count, thread, meetings)
    norm_all(sizes, weights.ends[DRAFT_NORM if drafting else NORM], stream, bench, count)
    if thread == 0:
        stream.hidden_TD[:count] = bench.input.plain[:count, :dim]
    first, last = share(sizes.vocab, thread, sizes.threads)
    told = stream.told[: stream.order[2]]
    multiply(weights.ends[HEAD:], dim, first, last, bench.input, told, stream.logits_TV, told, 0)
    return meet(stream.counters, MET, sizes.threads, meetings)


@compiled
def take_part(
    sizes: Sizes, weights: Weights, stream: StepBuffers, bench: ThreadBuffers, thread: int, orders: int, patience: int
) -> int:
    """Do a thread's part: the first orders the step that `stream.order` describes; nothing can come in between.

    The others take part in every step that is ordered, until none was for so many looks; how many were is returned.
    One function for all: each that holds a step takes as long to compile as the step itself.
    """
    if thread == 0:
        post(stream.counters, ORDERED)
    while thread == 0 or wait_for(stream.counters, ORDERED, orders + 1, patience):
        if thread > 0 and read(stream.counters, STOP):
            break
        count, drafting = stream.order[0], stream.order[1]
        meetings = run_step(sizes, weights, stream, bench, count, drafting, thread, stream.meetings[0])
        orders += 1
        if thread == 0:
            stream.meetings[0] = meetings
            break
    return orders
