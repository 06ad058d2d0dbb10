"""One compiled step of the network: every thread runs `run_thread` on its own rows of every weight matrix.

The arithmetic of a token does not depend on how many tokens the step has.
"""

import numpy as np

from baicai.inference.cpu.attention import grouped_attention, latent_attention
from baicai.inference.cpu.barrier import barrier_wait, increment, load_counter, spin_until
from baicai.inference.cpu.buffers import (
    ATTENTION_NORM,
    BARRIER,
    DRAFT_NORM,
    EMBEDDING,
    EMBEDDING_NORM,
    HEAD,
    HIDDEN_NORM,
    MTP_PROJECTION,
    NORM,
    OUT,
    SHARED_NORM,
    STOP,
    SUBMITTED,
    Sizes,
    StepBuffers,
    ThreadBuffers,
    Weights,
)
from baicai.inference.cpu.feed_forward import feed_forward
from baicai.inference.cpu.kernels import add, add_scaled_row, float32_at, njit_fast, prepare, rms_norm, thread_range
from baicai.inference.cpu.matmul import multiply


@njit_fast
def norm_tokens(sizes: Sizes, weight: int, step: StepBuffers, local: ThreadBuffers, count: int) -> None:
    """Write the normalized residual stream of every token to this thread's input."""
    for t in range(count):
        rms_norm(step.x_TD[t, : sizes.dim], float32_at(weight, sizes.dim), sizes.eps, local.input.plain[t, : sizes.dim])
        prepare(local.input, t, sizes.dim, sizes.int8)


@njit_fast
def mtp_projection(
    sizes: Sizes, weights: Weights, step: StepBuffers, local: ThreadBuffers, count: int, thread: int, barriers: int
) -> int:
    """Project the hidden states in `step.hidden_TD` and the next tokens' embeddings to the MTP module's input."""
    dim, top, rows_T = sizes.dim, weights.top, local.indices[:count]
    for t in range(count):
        pair = local.input.plain[t]
        rms_norm(step.hidden_TD[t], float32_at(top[HIDDEN_NORM], dim), sizes.eps, pair[:dim])
        rms_norm(step.x_TD[t], float32_at(top[EMBEDDING_NORM], dim), sizes.eps, pair[dim : 2 * dim])
        prepare(local.input, t, 2 * dim, sizes.int8)
    barriers = barrier_wait(step.counters, BARRIER, sizes.threads, barriers)
    first, last = thread_range(dim, thread, sizes.threads)
    multiply(top[MTP_PROJECTION:], 2 * dim, first, last, local.input, rows_T, step.x_TD, rows_T, 0)
    return barrier_wait(step.counters, BARRIER, sizes.threads, barriers)


@njit_fast
def run_step(
    sizes: Sizes,
    weights: Weights,
    step: StepBuffers,
    local: ThreadBuffers,
    count: int,
    drafting: int,
    thread: int,
    barriers: int,
) -> int:
    """Run `count` tokens, of one sequence or several, through the network to hidden states and requested logits.

    If `drafting`, run them through the MTP module instead, together with the hidden states in `step.hidden_TD`.

    Args:
        barriers: number of barriers that the threads have passed before this step.

    Returns: the number of barriers passed after it.
    """
    dim, rows_T = sizes.dim, local.indices[:count]
    if thread == 0:
        for t in range(count):
            step.x_TD[t] = np.float32(0)
            add_scaled_row(weights.top[EMBEDDING:], dim, step.tokens[t], np.float32(1), step.x_TD[t])
            step.leaf_weights_TG[t] = np.float32(0)
    barriers = barrier_wait(step.counters, BARRIER, sizes.threads, barriers)
    if drafting:
        barriers = mtp_projection(sizes, weights, step, local, count, thread, barriers)
    for layer in range(sizes.layers if drafting else 0, sizes.layers + drafting):
        norm_tokens(sizes, weights.layers[layer, ATTENTION_NORM], step, local, count)
        if sizes.kv_rank:
            barriers = latent_attention(sizes, weights, layer, step, local, count, thread, barriers)
        else:
            barriers = grouped_attention(sizes, weights, layer, step, local, count, thread, barriers)
        barriers = barrier_wait(step.counters, BARRIER, sizes.threads, barriers)
        columns = sizes.heads * sizes.value_dim
        for t in range(count):
            local.input.plain[t, :columns] = step.out[t, :columns]
            prepare(local.input, t, columns, sizes.int8)
        first, last = thread_range(dim, thread, sizes.threads)
        multiply(weights.layers[layer, OUT:], columns, first, last, local.input, rows_T, local.scratch, rows_T, 0)
        for t in range(count):
            add(step.x_TD[t, first:last], local.scratch[t, first:last])
        barriers = barrier_wait(step.counters, BARRIER, sizes.threads, barriers)
        norm_tokens(sizes, weights.layers[layer, SHARED_NORM], step, local, count)
        barriers = feed_forward(sizes, weights, layer, step, local, count, thread, barriers)
    norm_tokens(sizes, weights.top[DRAFT_NORM if drafting else NORM], step, local, count)
    if thread == 0:
        step.hidden_TD[:count] = local.input.plain[:count, :dim]
    first, last = thread_range(sizes.vocab, thread, sizes.threads)
    logit_rows = step.logit_rows[: step.command[2]]
    multiply(weights.top[HEAD:], dim, first, last, local.input, logit_rows, step.logits_TV, logit_rows, 0)
    return barrier_wait(step.counters, BARRIER, sizes.threads, barriers)


@njit_fast
def run_thread(
    sizes: Sizes, weights: Weights, step: StepBuffers, local: ThreadBuffers, thread: int, submitted: int, max_spins: int
) -> int:
    """Run one thread: thread 0 submits the step described by `step.command` and returns after it.

    The other threads run every submitted step and return after `max_spins` polls without a new one. Thread 0 uses the
    same function because every function that contains a step takes as long to compile as the step itself.

    Args:
        submitted: number of steps that this thread has seen.
        max_spins: polls before an idle thread gives up.

    Returns: the number of steps that this thread has seen now.
    """
    if thread == 0:
        increment(step.counters, SUBMITTED)
    while thread == 0 or spin_until(step.counters, SUBMITTED, submitted + 1, max_spins):
        if thread > 0 and load_counter(step.counters, STOP):
            break
        count, drafting = step.command[0], step.command[1]
        barriers = run_step(sizes, weights, step, local, count, drafting, thread, step.barriers[0])
        submitted += 1
        if thread == 0:
            step.barriers[0] = barriers
            break
    return submitted
