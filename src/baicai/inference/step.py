"""One step of the network, compiled: every thread runs `run_step`, each with its share of the rows of every matrix.

The arithmetic of a token does not depend on how many tokens the step has.
"""

import numpy as np

from baicai.inference.attention import grouped_attention, latent_attention
from baicai.inference.feed_forward import feed_forward
from baicai.inference.kernels import add, compiled, floats, multiply, prepare, read_row, rms_norm, share
from baicai.inference.layout import (
    ATTENTION_NORM,
    EMBEDDING,
    HEAD,
    IDLE_LOOKS,
    MET,
    NORM,
    ORDERED,
    OUT,
    SHARED_NORM,
    STOP,
    Bench,
    Sizes,
    Stream,
    Weights,
)
from baicai.inference.sync import meet, read, wait_for


@compiled
def norm_all(sizes: Sizes, weight: int, stream: Stream, bench: Bench, count: int) -> None:
    """Norm the stream of every token into this thread's input."""
    for t in range(count):
        rms_norm(stream.x_TD[t, : sizes.dim], floats(weight, sizes.dim), sizes.eps, bench.input.plain[t, : sizes.dim])
        prepare(bench.input, t, sizes.dim, sizes.int8)


@compiled
def run_step(
    sizes: Sizes, weights: Weights, stream: Stream, bench: Bench, start: int, count: int, thread: int, meetings: int
) -> int:
    """Take `count` tokens at positions from `start` through the network: normed hidden states and logits.

    `meetings` is how often the threads have met before; how often they have now is returned.
    """
    dim = sizes.dim
    if thread == 0:
        for t in range(count):
            stream.x_TD[t] = np.float32(0)
            read_row(weights.ends[EMBEDDING:], dim, stream.tokens[t], np.float32(1), stream.x_TD[t])
            stream.leaf_weights_TG[t] = np.float32(0)
    meetings = meet(stream.counters, MET, sizes.threads, meetings)
    for layer in range(sizes.layers):
        norm_all(sizes, weights.layers[layer, ATTENTION_NORM], stream, bench, count)
        if sizes.kv_rank:
            meetings = latent_attention(sizes, weights, layer, stream, bench, start, count, thread, meetings)
        else:
            grouped_attention(sizes, weights, layer, stream, bench, start, count, thread)
        meetings = meet(stream.counters, MET, sizes.threads, meetings)
        places = sizes.heads * sizes.value_dim
        for t in range(count):
            bench.input.plain[t, :places] = stream.out[t, :places]
            prepare(bench.input, t, places, sizes.int8)
        first, last = share(dim, thread, sizes.threads)
        multiply(weights.layers[layer, OUT:], places, first, last, bench.input, 0, count, bench.scratch, 0, 0)
        for t in range(count):
            add(stream.x_TD[t, first:last], bench.scratch[t, first:last])
        meetings = meet(stream.counters, MET, sizes.threads, meetings)
        norm_all(sizes, weights.layers[layer, SHARED_NORM], stream, bench, count)
        meetings = feed_forward(sizes, weights, layer, stream, bench, count, thread, meetings)
    norm_all(sizes, weights.ends[NORM], stream, bench, count)
    if thread == 0:
        stream.hidden_TD[:count] = bench.input.plain[:count, :dim]
    first, last = share(sizes.vocab, thread, sizes.threads)
    multiply(weights.ends[HEAD:], dim, first, last, bench.input, 0, count, stream.logits_TV, 0, 0)
    return meet(stream.counters, MET, sizes.threads, meetings)


@compiled
def serve(
    sizes: Sizes, weights: Weights, stream: Stream, bench: Bench, thread: int, meetings: int, orders: int
) -> tuple[int, int]:
    """Take part in every step that is ordered, until none has been for a while; return meetings and orders so far."""
    while wait_for(stream.counters, ORDERED, orders + 1, IDLE_LOOKS):
        if read(stream.counters, STOP):
            break
        meetings = run_step(sizes, weights, stream, bench, stream.order[0], stream.order[1], thread, meetings)
        orders += 1
    return meetings, orders
