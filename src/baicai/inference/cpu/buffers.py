"""Data layout of the compiled step: model sizes, weight addresses, and the buffers of the step and its threads.

A matrix is three numbers: its kind, the address of its rows, and the address of their scales (int8 only).

Shape suffixes: T tokens of this step, P positions, V vocabulary; the others are those of `baicai.model`.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from baicai.inference.cpu.kernels import Activations

MAX_STEP_TOKENS = 16
"""Maximum number of tokens in a step of a single sequence."""
IDLE_SPINS = 1_000_000
"""Polls for the next step, about a millisecond, before an idle thread sleeps."""
SLEEP_SECONDS = 0.05
"""Maximum sleep of an idle thread before it polls again."""
BARRIER, SUBMITTED, STOP = 0, 8, 16
"""Indices into `StepBuffers.counters`."""

Q, K, V, OUT, GATE, UP, DOWN, Q_DOWN, KV_DOWN, KV_UP = range(0, 30, 3)
Q_BIAS, K_BIAS, V_BIAS, Q_NORM, K_NORM, ATTENTION_NORM, SHARED_NORM, LAYER_COLUMNS = range(30, 38)
"""Columns of a layer's row in `Weights.layers`; the value is 0 where a layer lacks the weight."""
ROUTER, EXPERT_GATE, EXPERT_UP, EXPERT_DOWN, CHOICE_BIAS, LEAF_COLUMNS = 0, 3, 6, 9, 12, 13
"""Columns of a leaf's row in `Weights.leaves`."""
EMBEDDING, HEAD, NORM, COS, SIN = 0, 3, 6, 7, 8
MTP_PROJECTION, HIDDEN_NORM, EMBEDDING_NORM, DRAFT_NORM, TOP_COLUMNS = 9, 12, 13, 14, 15
"""Indices into `Weights.top`; those of this line belong to the MTP module."""


class Sizes(NamedTuple):
    """Sizes of the network and its KV cache; 0 for parts that the network lacks."""

    dim: int
    layers: int
    vocab: int
    hidden: int
    max_tokens: int
    """Maximum length of one sequence."""
    block_tokens: int
    """Tokens in one block of the KV cache."""
    pool_tokens: int
    """Capacity of each layer's KV cache, in tokens of all sequences together."""
    heads: int
    kv_heads: int
    head_dim: int
    """Size of a query and key head; in latent attention, without the rotary part."""
    rope_dim: int
    value_dim: int
    kv_rank: int
    """Rank of the KV latents; 0 unless attention is latent."""
    q_rank: int
    first_leaf_layer: int
    leaves: int
    experts: int
    expert_hidden: int
    topk_group: int
    top_k: int
    scaling: float
    eps: float
    int8: bool
    threads: int


class Weights(NamedTuple):
    """Addresses of all weights and caches."""

    layers: NDArray[np.int64]
    """One row per layer, and one for the block of the MTP module if there is one, [layers, LAYER_COLUMNS]."""
    leaves: NDArray[np.int64]
    """Weights of the leaves, [layers with leaves, leaves, LEAF_COLUMNS]."""
    top: NDArray[np.int64]
    """Weights outside the layers, [TOP_COLUMNS]."""
    caches: NDArray[np.int64]
    """Caches of each layer, [layers, 2]: keys [J, P, C] and values [J, P, C]; in latent attention, latents [P, R] and
    rotary keys [P, C]. P is `pool_tokens`."""


class StepBuffers(NamedTuple):
    """Buffers that all threads of a step share."""

    x_TD: NDArray[np.float32]
    """Residual stream."""
    inner: NDArray[np.float32]
    """Queries, keys and values of a layer, or the hidden activations of its feed-forward, [T, columns]."""
    out: NDArray[np.float32]
    """Output of attention, [T, H * C], or hidden activations of the experts, [T * K, F]."""
    router: NDArray[np.float32]
    """Router logits, [T, G * E]."""
    leaf_weights_TG: NDArray[np.float32]
    """Routing weight of each leaf, summed over the layers."""
    hidden_TD: NDArray[np.float32]
    logits_TV: NDArray[np.float32]
    tokens: NDArray[np.int64]
    positions: NDArray[np.int64]
    """Position of each token in its sequence."""
    slots: NDArray[np.int64]
    """Row of each token's sequence in `block_tables`. Tokens of one sequence are in order."""
    block_tables: NDArray[np.int64]
    """KV-cache blocks of each sequence, [sequences, blocks per sequence]."""
    on_TG: NDArray[np.bool_]
    """Active leaves of each token."""
    logit_rows: NDArray[np.int64]
    """Tokens of the step whose logits are requested."""
    command: NDArray[np.int64]
    """Number of tokens, 1 if the MTP module runs (else 0), and number of entries in `logit_rows`, [3]."""
    barriers: NDArray[np.int64]
    """Number of barriers passed so far, [1]."""
    counters: NDArray[np.int64]
    """Atomic counters `BARRIER`, `SUBMITTED` and `STOP`, each in its own cache line."""


class ThreadBuffers(NamedTuple):
    """Buffers of one thread."""

    input: Activations
    """Input of the next matrix product, one row per token."""
    experts: Activations
    """Input of the experts' down-projections, one row per assignment."""
    scratch: NDArray[np.float32]
    """Intermediate results, [T, columns]."""
    scores: NDArray[np.float32]
    """Attention scores, [query heads per key head, max_tokens]."""
    choice: NDArray[np.float32]
    """Routing scores of all experts for one token, [G * E]."""
    leaf_scores: NDArray[np.float32]
    expert_ids: NDArray[np.int64]
    """Experts of each token, [T, top_k]. A token-expert assignment is an index into the flattened array."""
    assignments: NDArray[np.int64]
    """Assignments, sorted by expert, then by token."""
    assignment_tokens: NDArray[np.int64]
    """Token of each sorted assignment."""
    expert_ends: NDArray[np.int64]
    """End of each expert's range in `assignments`; the last entry is for assignments without an expert."""
    indices: NDArray[np.int64]
    """0, 1, 2, ...: row numbers for products that use every row."""
    expert_weights: NDArray[np.float32]
