"""Feed-forward of the compiled step: shared expert, router and routed experts. Threads split the rows of matrices."""

import numpy as np

from baicai.inference.cpu.barrier import barrier_wait
from baicai.inference.cpu.buffers import (
    BARRIER,
    CHOICE_BIAS,
    DOWN,
    EXPERT_DOWN,
    EXPERT_GATE,
    EXPERT_UP,
    GATE,
    ROUTER,
    UP,
    Sizes,
    StepBuffers,
    ThreadBuffers,
    Weights,
)
from baicai.inference.cpu.kernels import Floats, add, float32_at, njit_exact, njit_fast, prepare, sigmoid, thread_range
from baicai.inference.cpu.matmul import multiply


@njit_fast
def choose_experts(sizes: Sizes, weights: Weights, layer: int, step: StepBuffers, local: ThreadBuffers, t: int) -> None:
    """Choose the experts of token `t`; source as `baicai.model.router.choose_experts`."""
    experts, leaves, choice = sizes.experts, sizes.leaves, local.choice
    for leaf in range(leaves):
        if not step.on_TG[t, leaf]:
            choice[leaf * experts : (leaf + 1) * experts] = np.float32(-np.inf)
            local.leaf_scores[leaf] = -np.inf
            continue
        bias = float32_at(weights.leaves[layer, leaf, CHOICE_BIAS], experts)
        best, second = np.float32(-np.inf), np.float32(-np.inf)
        for expert in range(experts):
            expert_id = leaf * experts + expert
            score = sigmoid(step.router[t, expert_id]) + bias[expert]
            choice[expert_id] = score
            if score > best:
                best, second = score, best
            elif score > second:
                second = score
        local.leaf_scores[leaf] = best + second if experts > 1 else best
    num_leaves = min(sizes.topk_group, leaves)
    if num_leaves < leaves:
        for _ in range(num_leaves):
            leaf = np.argmax(local.leaf_scores[:leaves])
            local.leaf_scores[leaf] = -np.inf
        for leaf in range(leaves):
            if local.leaf_scores[leaf] != -np.inf:
                choice[leaf * experts : (leaf + 1) * experts] = np.float32(-np.inf)
    for k in range(sizes.top_k):
        expert_id = np.argmax(choice[: leaves * experts])
        if choice[expert_id] == -np.inf:  # no further expert is available
            local.expert_ids[t, k] = leaves * experts
            continue
        local.expert_ids[t, k] = expert_id
        local.expert_weights[t, k] = sigmoid(step.router[t, expert_id]) * np.float32(sizes.scaling)
        choice[expert_id] = -np.inf


@njit_fast
def feed_forward(
    sizes: Sizes,
    weights: Weights,
    layer: int,
    step: StepBuffers,
    local: ThreadBuffers,
    count: int,
    thread: int,
    barriers: int,
) -> int:
    """Add the shared and routed experts of a layer to the residual stream; returns the number of barriers passed."""
    row, inner, hidden, routed = weights.layers[layer], step.inner, sizes.hidden, layer - sizes.first_leaf_layer
    sparse, rows_T = sizes.leaves > 0 and routed >= 0 and layer < sizes.layers, local.indices[:count]
    first, last = thread_range(hidden, thread, sizes.threads)
    multiply(row[GATE:], sizes.dim, first, last, local.input, rows_T, inner, rows_T, 0)
    multiply(row[UP:], sizes.dim, first, last, local.input, rows_T, inner, rows_T, hidden)
    for t in range(count):
        swiglu(inner[t, first:last], inner[t, hidden + first : hidden + last], np.float32(1))
    if sparse:
        first, last = thread_range(sizes.leaves * sizes.experts, thread, sizes.threads)
        for leaf in range(first // sizes.experts, -(-last // sizes.experts)):
            if not any_token_uses(step, leaf, count):
                continue
            begin = leaf * sizes.experts
            multiply(
                weights.leaves[routed, leaf, ROUTER:], sizes.dim, max(first - begin, 0),
                min(last - begin, sizes.experts), local.input, rows_T, step.router, rows_T, begin,
            )  # fmt: skip
    barriers = barrier_wait(step.counters, BARRIER, sizes.threads, barriers)
    if sparse:
        barriers = expert_gates(sizes, weights, routed, step, local, count, thread, barriers)
    for t in range(count):
        local.input.plain[t, :hidden] = inner[t, :hidden]
        prepare(local.input, t, hidden, sizes.int8)
    first, last = thread_range(sizes.dim, thread, sizes.threads)
    multiply(row[DOWN:], hidden, first, last, local.input, rows_T, local.scratch, rows_T, 0)
    for t in range(count):
        add(step.x_TD[t, first:last], local.scratch[t, first:last])
    start = 0
    while sparse and start < local.expert_ends[-2]:
        expert_id = local.expert_ids[divmod(local.assignments[start], sizes.top_k)]
        stop = local.expert_ends[expert_id]
        pairs, tokens = local.assignments[start:stop], local.assignment_tokens[start:stop]
        leaf, expert = divmod(expert_id, sizes.experts)
        down, shift, size = weights.leaves[routed, leaf, EXPERT_DOWN:], expert * sizes.dim, sizes.expert_hidden
        multiply(down, size, shift + first, shift + last, local.experts, pairs, local.scratch, tokens, -shift)
        for i in range(start, stop):
            t = local.assignment_tokens[i]
            add(step.x_TD[t, first:last], local.scratch[t, first:last])
        start = stop
    return barrier_wait(step.counters, BARRIER, sizes.threads, barriers)


@njit_fast
def any_token_uses(step: StepBuffers, leaf: int, count: int) -> bool:
    """Return whether a leaf is active for any token of the step."""
    used = False
    for t in range(count):
        used |= step.on_TG[t, leaf]
    return used


@njit_exact
def swiglu(gates: Floats, ups: Floats, weight: float) -> None:
    """Replace the gates by `weight * silu(gates) * ups`."""
    for j in range(len(gates)):
        left = gates[j]
        gates[j] = left * sigmoid(left) * ups[j] * weight


@njit_fast
def group_by_expert(sizes: Sizes, local: ThreadBuffers, count: int) -> None:
    """Sort the assignments of this step by expert, so that each expert's weights are read once."""
    expert_ends, ids = local.expert_ends, local.expert_ids
    expert_ends[:] = 0
    for t in range(count):
        for k in range(sizes.top_k):
            expert_ends[ids[t, k]] += 1
    for i in range(1, len(expert_ends)):
        expert_ends[i] += expert_ends[i - 1]
    for t in range(count - 1, -1, -1):
        for k in range(sizes.top_k):
            expert_ends[ids[t, k]] -= 1
            i = expert_ends[ids[t, k]]
            local.assignments[i], local.assignment_tokens[i] = t * sizes.top_k + k, t
    for i in range(len(expert_ends) - 1):
        expert_ends[i] = expert_ends[i + 1]
    expert_ends[-1] = count * sizes.top_k


@njit_fast
def expert_gates(
    sizes: Sizes,
    weights: Weights,
    routed: int,
    step: StepBuffers,
    local: ThreadBuffers,
    count: int,
    thread: int,
    barriers: int,
) -> int:
    """Route the tokens and compute the input of the experts' down-projections.

    Each thread computes a part of it and, after a barrier, prepares all of it for itself.
    """
    size, top_k = sizes.expert_hidden, sizes.top_k
    for t in range(count):
        choose_experts(sizes, weights, routed, step, local, t)
        if thread == 0:
            for k in range(top_k):
                leaf = local.expert_ids[t, k] // sizes.experts
                if leaf < sizes.leaves:
                    step.leaf_weights_TG[t, leaf] += local.expert_weights[t, k]
    group_by_expert(sizes, local, count)
    first, last = thread_range(count * top_k * size, thread, sizes.threads)
    start = 0
    while start < local.expert_ends[-2]:
        expert_id = local.expert_ids[divmod(local.assignments[start], top_k)]
        group_start, stop = start, local.expert_ends[expert_id]
        number, start = stop - group_start, stop
        # Threads split rows in multiples of four, as int8 rows are multiplied four at a time: a product must not depend
        # on where a thread's range begins.
        begin = max(-(-(first - group_start * size) // (4 * number)) * 4, 0)
        end = min(-(-(last - group_start * size) // (4 * number)) * 4, size)
        if begin >= end:
            continue
        leaf, expert = divmod(expert_id, sizes.experts)
        row, low, high = weights.leaves[routed, leaf], expert * size + begin, expert * size + end
        pairs, tokens, column = (
            local.assignments[group_start:stop],
            local.assignment_tokens[group_start:stop],
            -expert * size,
        )
        multiply(row[EXPERT_GATE:], sizes.dim, low, high, local.input, tokens, step.out, pairs, column)
        multiply(row[EXPERT_UP:], sizes.dim, low, high, local.input, tokens, local.scratch, tokens, column)
        for i in range(group_start, stop):
            t, k = divmod(local.assignments[i], top_k)
            swiglu(step.out[local.assignments[i], begin:end], local.scratch[t, begin:end], local.expert_weights[t, k])
    barriers = barrier_wait(step.counters, BARRIER, sizes.threads, barriers)
    for i in range(count * top_k):
        local.experts.plain[i, :size] = step.out[i, :size]
        prepare(local.experts, i, size, sizes.int8)
    return barriers
