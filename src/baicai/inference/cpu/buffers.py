"""What the compiled step reads and writes: sizes, addresses of weights, and room for what it computes.

A matrix is three numbers: kind, address of the rows, address of the rows' scales.

Shape suffixes: T tokens of this step, P positions, V vocabulary; the others are those of `baicai.model`.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from baicai.inference.cpu.kernels import Vectors

MAX_STEP_TOKENS = 16
IDLE_LOOKS = 1_000_000
"""Looks, about a millisecond, that a thread waits for the next step before it sleeps."""
SLEEP_SECONDS = 0.05
"""How long it sleeps at most before it looks whether there is one."""
MET, ORDERED, STOP = 0, 8, 16
"""Places in `Stream.counters`."""

Q, K, V, OUT, GATE, UP, DOWN, Q_DOWN, KV_DOWN, KV_UP = range(0, 30, 3)
Q_BIAS, K_BIAS, V_BIAS, Q_NORM, K_NORM, ATTENTION_NORM, SHARED_NORM, LAYER_COLUMNS = range(30, 38)
"""Columns of a layer's row in `Weights.layers`; 0 stands for what a layer lacks."""
ROUTER, EXPERT_GATE, EXPERT_UP, EXPERT_DOWN, CHOICE_BIAS, LEAF_COLUMNS = 0, 3, 6, 9, 12, 13
"""Columns of a leaf's row in `Weights.leaves`."""
EMBEDDING, HEAD, NORM, COS, SIN, MERGE, HIDDEN_NORM, EMBEDDING_NORM, DRAFT_NORM, ENDS = 0, 3, 6, 7, 8, 9, 12, 13, 14, 15
"""Places in `Weights.ends`; the last four are the MTP module's."""


class Sizes(NamedTuple):
    """What the step must know of the network; 0 for what it lacks."""

    dim: int
    layers: int
    vocab: int
    hidden: int
    max_tokens: int
    """Of one text."""
    block_tokens: int
    pool_tokens: int
    """Positions that each cache has room for, in blocks, of all texts together."""
    heads: int
    kv_heads: int
    head_dim: int
    """Of queries and keys: in latent attention, without the rotary part."""
    rope_dim: int
    value_dim: int
    kv_rank: int
    """0 unless attention is latent."""
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
    """Addresses of all weights."""

    layers: NDArray[np.int64]
    """Of each layer, and of the MTP module's block where there is one."""
    leaves: NDArray[np.int64]
    """[layers with leaves, leaves, columns]."""
    ends: NDArray[np.int64]
    caches: NDArray[np.int64]
    """[layers, 2]: keys [J, P, C] and values [J, P, C]; in latent attention, latents [P, R] and rotary keys [P, C]; P
    counts the pool's positions."""


class StepBuffers(NamedTuple):
    """What the threads share in a step."""

    x_TD: NDArray[np.float32]
    inner: NDArray[np.float32]
    """[T, columns]: queries, keys and values of a layer, or what its feed-forward holds."""
    out: NDArray[np.float32]
    """[T, H * C]: the attention's output; [T * K, F]: the experts'."""
    router: NDArray[np.float32]
    leaf_weights_TG: NDArray[np.float32]
    """Sums over layers."""
    hidden_TD: NDArray[np.float32]
    logits_TV: NDArray[np.float32]
    tokens: NDArray[np.int64]
    positions: NDArray[np.int64]
    """Of each token in its text."""
    texts: NDArray[np.int64]
    """Of each token: the row of its text in `blocks`. Tokens of one text come in their order."""
    blocks: NDArray[np.int64]
    """[texts, blocks of a text]: which of the pool's blocks hold it."""
    on_TG: NDArray[np.bool_]
    """Leaves that are on for each token."""
    told: NDArray[np.int64]
    """Tokens of the step after which logits are wanted."""
    order: NDArray[np.int64]
    """Number of the step's tokens, 1 where the MTP module takes them, and number of those in `told`."""
    meetings: NDArray[np.int64]
    """How often the threads have met, [1]."""
    counters: NDArray[np.int64]
    """`MET`, `ORDERED` and `STOP`, each in a cache line of its own."""


class ThreadBuffers(NamedTuple):
    """What a thread has for itself."""

    input: Vectors
    experts: Vectors
    scratch: NDArray[np.float32]
    """[T, columns]."""
    scores: NDArray[np.float32]
    """[heads that share keys, max_tokens]."""
    choice: NDArray[np.float32]
    leaf_scores: NDArray[np.float32]
    expert_ids: NDArray[np.int64]
    """[T, top_k]; a token's expert is a job, numbered as these lie in memory."""
    jobs: NDArray[np.int64]
    """Jobs by expert, then by token."""
    owners: NDArray[np.int64]
    """The token of each of these."""
    ends: NDArray[np.int64]
    """Of each expert: where its jobs end; the last is of those without one."""
    numbers: NDArray[np.int64]
    """0, 1, 2 and so on."""
    expert_weights: NDArray[np.float32]
