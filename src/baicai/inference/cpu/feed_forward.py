"""Feed-forward of the compiled step: shared expert, router, chosen experts; every thread has some of the rows."""

import numpy as np

from baicai.inference.cpu.barrier import meet
from baicai.inference.cpu.buffers import (
    CHOICE_BIAS,
    DOWN,
    EXPERT_DOWN,
    EXPERT_GATE,
    EXPERT_UP,
    GATE,
    MET,
    ROUTER,
    UP,
    Sizes,
    StepBuffers,
    ThreadBuffers,
    Weights,
)
from baicai.inference.cpu.kernels import Floats, add, compiled, exact, floats, prepare, share, sigmoid
from baicai.inference.cpu.matmul import multiply


@compiled
def choose(sizes: Sizes, weights: Weights, layer: int, stream: StepBuffers, bench: ThreadBuffers, t: int) -> None:
    """Choose a token's experts; source as `baicai.model.router.choose_experts`."""
    experts, leaves, choice = sizes.experts, sizes.leaves, bench.choice
    for leaf in range(leaves):
        if not stream.on_TG[t, leaf]:
            choice[leaf * experts : (leaf + 1) * experts] = np.float32(-np.inf)
            bench.leaf_scores[leaf] = -np.inf
            continue
        bias = floats(weights.leaves[layer, leaf, CHOICE_BIAS], experts)
        best, second = np.float32(-np.inf), np.float32(-np.inf)
        for expert in range(experts):
            place = leaf * experts + expert
            score = sigmoid(stream.router[t, place]) + bias[expert]
            choice[place] = score
            if score > best:
                best, second = score, best
            elif score > second:
                second = score
        bench.leaf_scores[leaf] = best + second if experts > 1 else best
    kept = min(sizes.topk_group, leaves)
    if kept < leaves:
        for _ in range(kept):
            leaf = np.argmax(bench.leaf_scores[:leaves])
            bench.leaf_scores[leaf] = -np.inf
        for leaf in range(leaves):
            if bench.leaf_scores[leaf] != -np.inf:
                choice[leaf * experts : (leaf + 1) * experts] = np.float32(-np.inf)
    for k in range(sizes.top_k):
        place = np.argmax(choice[: leaves * experts])
        if choice[place] == -np.inf:  # there is no further one
            bench.expert_ids[t, k] = leaves * experts
            continue
        bench.expert_ids[t, k] = place
        bench.expert_weights[t, k] = sigmoid(stream.router[t, place]) * np.float32(sizes.scaling)
        choice[place] = -np.inf


@compiled
def feed_forward(
    sizes: Sizes,
    weights: Weights,
    layer: int,
    stream: StepBuffers,
    bench: ThreadBuffers,
    count: int,
    thread: int,
    meetings: int,
) -> int:
    """Add the shared expert and the chosen experts of this layer to the stream."""
    row, inner, hidden, routed = weights.layers[layer], stream.inner, sizes.hidden, layer - sizes.first_leaf_layer
    sparse, every = sizes.leaves > 0 and routed >= 0 and layer < sizes.layers, bench.numbers[:count]
    first, last = share(hidden, thread, sizes.threads)
    multiply(row[GATE:], sizes.dim, first, last, bench.input, every, inner, every, 0)
    multiply(row[UP:], sizes.dim, first, last, bench.input, every, inner, every, hidden)
    for t in range(count):
        swish(inner[t, first:last], inner[t, hidden + first : hidden + last], np.float32(1))
    if sparse:
        first, last = share(sizes.leaves * sizes.experts, thread, sizes.threads)
        for leaf in range(first // sizes.experts, -(-last // sizes.experts)):
            if not is_on(stream, leaf, count):
                continue
            begin = leaf * sizes.experts
            multiply(
                weights.leaves[routed, leaf, ROUTER:], sizes.dim, max(first - begin, 0),
                min(last - begin, sizes.experts), bench.input, every, stream.router, every, begin,
            )  # fmt: skip
    meetings = meet(stream.counters, MET, sizes.threads, meetings)
    if sparse:
        meetings = expert_gates(sizes, weights, routed, stream, bench, count, thread, meetings)
    for t in range(count):
        bench.input.plain[t, :hidden] = inner[t, :hidden]
        prepare(bench.input, t, hidden, sizes.int8)
    first, last = share(sizes.dim, thread, sizes.threads)
    multiply(row[DOWN:], hidden, first, last, bench.input, every, bench.scratch, every, 0)
    for t in range(count):
        add(stream.x_TD[t, first:last], bench.scratch[t, first:last])
    start = 0
    while sparse and start < bench.ends[-2]:
        place = bench.expert_ids[divmod(bench.jobs[start], sizes.top_k)]
        stop = bench.ends[place]
        jobs, owners = bench.jobs[start:stop], bench.owners[start:stop]
        leaf, expert = divmod(place, sizes.experts)
        down, shift, size = weights.leaves[routed, leaf, EXPERT_DOWN:], expert * sizes.dim, sizes.expert_hidden
        multiply(down, size, shift + first, shift + last, bench.experts, jobs, bench.scratch, owners, -shift)
        for i in range(start, stop):
            t = bench.owners[i]
            add(stream.x_TD[t, first:last], bench.scratch[t, first:last])
        start = stop
    return meet(stream.counters, MET, sizes.threads, meetings)


@compiled
def is_on(stream: StepBuffers, leaf: int, count: int) -> bool:
    """Return whether a leaf is on for one of the step's tokens."""
    found = False
    for t in range(count):
        found |= stream.on_TG[t, leaf]
    return found


@exact
def swish(gates: Floats, ups: Floats, weight: float) -> None:
    """Leave weight * silu(gate) * up where the gates were."""
    for place in range(len(gates)):
        left = gates[place]
        gates[place] = left * sigmoid(left) * ups[place] * weight


@compiled
def sort_jobs(sizes: Sizes, bench: ThreadBuffers, count: int) -> None:
    """Put the jobs of this step in the order of their experts, so that each expert's weights are read once."""
    ends, ids = bench.ends, bench.expert_ids
    ends[:] = 0
    for t in range(count):
        for k in range(sizes.top_k):
            ends[ids[t, k]] += 1
    for place in range(1, len(ends)):
        ends[place] += ends[place - 1]
    for t in range(count - 1, -1, -1):
        for k in range(sizes.top_k):
            ends[ids[t, k]] -= 1
            place = ends[ids[t, k]]
            bench.jobs[place], bench.owners[place] = t * sizes.top_k + k, t
    for place in range(len(ends) - 1):
        ends[place] = ends[place + 1]
    ends[-1] = count * sizes.top_k


@compiled
def expert_gates(
    sizes: Sizes,
    weights: Weights,
    routed: int,
    stream: StepBuffers,
    bench: ThreadBuffers,
    count: int,
    thread: int,
    meetings: int,
) -> int:
    """Choose experts and prepare what their down-projections read; each thread makes a part and then takes all."""
    size, top_k = sizes.expert_hidden, sizes.top_k
    for t in range(count):
        choose(sizes, weights, routed, stream, bench, t)
        if thread == 0:
            for k in range(top_k):
                leaf = bench.expert_ids[t, k] // sizes.experts
                if leaf < sizes.leaves:
                    stream.leaf_weights_TG[t, leaf] += bench.expert_weights[t, k]
    sort_jobs(sizes, bench, count)
    first, last = share(count * top_k * size, thread, sizes.threads)
    start = 0
    while start < bench.ends[-2]:
        place = bench.expert_ids[divmod(bench.jobs[start], top_k)]
        begun, stop = start, bench.ends[place]
        number, start = stop - begun, stop
        # Rows are shared out in fours, as int8 rows are multiplied: a product must not depend on where a share begins.
        begin = max(-(-(first - begun * size) // (4 * number)) * 4, 0)
        end = min(-(-(last - begun * size) // (4 * number)) * 4, size)
        if begin >= end:
            continue
        leaf, expert = divmod(place, sizes.experts)
        row, low, high = weights.leaves[routed, leaf], expert * size + begin, expert * size + end
        jobs, owners, column = bench.jobs[begun:stop], bench.owners[begun:stop], -expert * size
        multiply(row[EXPERT_GATE:], sizes.dim, low, high, bench.input, owners, stream.out, jobs, column)
        multiply(row[EXPERT_UP:], sizes.dim, low, high, bench.input, owners, bench.scratch, owners, column)
        for i in range(begun, stop):
            t, k = divmod(bench.jobs[i], top_k)
            swish(stream.out[bench.jobs[i], begin:end], bench.scratch[t, begin:end], bench.expert_weights[t, k])
    meetings = meet(stream.counters, MET, sizes.threads, meetings)
    for i in range(count * top_k):
        bench.experts.plain[i, :size] = stream.out[i, :size]
        prepare(bench.experts, i, size, sizes.int8)
    return meetings
