"""Tables of a model's weight addresses and sizes for the compiled step, and allocation of its buffers."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from baicai.errors import MachineError
from baicai.inference.cpu import buffers
from baicai.inference.cpu.buffers import MAX_STEP_TOKENS, Sizes, StepBuffers, ThreadBuffers, Weights
from baicai.inference.cpu.kernels import BFLOAT16, FLOAT32, INT8, make_activations
from baicai.model.config import GQAConfig
from baicai.model.experts import Leaf
from baicai.model.transformer import KVCache, Transformer

Int8Weights = Mapping[str, Mapping[str, Tensor]]
"""A model's int8 weights: one mapping per leaf, keyed by its name, and the trunk's under the empty name."""
SCALES = ".scales"
"""Suffix that turns a matrix's name into the name of its scales."""
MATRICES = {
    "attention.q.weight": buffers.Q,
    "attention.k.weight": buffers.K,
    "attention.v.weight": buffers.V,
    "attention.out.weight": buffers.OUT,
    "attention.q_down.weight": buffers.Q_DOWN,
    "attention.kv_down.weight": buffers.KV_DOWN,
    "attention.kv_up.weight": buffers.KV_UP,
    "shared.gate.weight": buffers.GATE,
    "shared.up.weight": buffers.UP,
    "shared.down.weight": buffers.DOWN,
}
VECTORS = {
    "attention.q.bias": buffers.Q_BIAS,
    "attention.k.bias": buffers.K_BIAS,
    "attention.v.bias": buffers.V_BIAS,
    "attention.q_norm.weight": buffers.Q_NORM,
    "attention.k_norm.weight": buffers.K_NORM,
    "attention.kv_norm.weight": buffers.K_NORM,
    "attention_norm.weight": buffers.ATTENTION_NORM,
    "shared_norm.weight": buffers.SHARED_NORM,
}
LEAF_MATRICES = {
    "router_ED": buffers.ROUTER,
    "gate_EFD": buffers.EXPERT_GATE,
    "up_EFD": buffers.EXPERT_UP,
    "down_EDF": buffers.EXPERT_DOWN,
}
"""Columns of the weights of one layer: trunk matrices, trunk vectors, leaf matrices."""


class WeightTable:
    """Addresses of a model's weights, and the tensors that must stay alive while they are used."""

    def __init__(
        self,
        model: Transformer,
        leaves: Sequence[str],
        cache: KVCache,
        int8: Int8Weights | None,
        block_tokens: int = 0,
        num_blocks: int = 1,
    ) -> None:
        """Collect the addresses and allocate the KV cache.

        Args:
            int8: int8 weights that replace the model's own; None uses the model's.
            block_tokens: tokens per block of the KV cache; 0 means a whole sequence.
            num_blocks: number of blocks.
        """
        self._tensors: list[Tensor] = []
        self._int8: Int8Weights = int8 or {}
        trunk = model.trunk_tensors()
        self.sizes = _sizes(model, leaves, cache.max_tokens, block_tokens or cache.max_tokens, num_blocks, bool(int8))
        self.weights = Weights(
            self._layers(trunk), self._leaves(model, leaves), self._top_weights(model, trunk), self._caches(cache)
        )

    def _layers(self, trunk: Mapping[str, Tensor]) -> NDArray[np.int64]:
        starts = [f"layers.{number}." for number in range(self.sizes.layers)]
        starts += ["mtp.block."] if "mtp.merge.weight" in trunk else []
        rows = np.zeros((len(starts), buffers.LAYER_COLUMNS), np.int64)
        for start, row in zip(starts, rows, strict=True):
            for name, column in MATRICES.items():
                if start + name in trunk:
                    row[column : column + 3] = self._matrix(trunk, start + name)
            for name, column in VECTORS.items():
                if start + name in trunk:
                    row[column] = self._vector(trunk[start + name])
        return rows

    def _leaves(self, model: Transformer, names: Sequence[str]) -> NDArray[np.int64]:
        first = model.first_leaf_layer
        table = np.zeros((self.sizes.layers - first, len(names), buffers.LEAF_COLUMNS), np.int64)
        for g, name in enumerate(names):
            leaf = model.leaves[name]
            assert isinstance(leaf, Leaf)
            tensors = leaf.state_dict()
            for number, rows in enumerate(table, first):
                start = f"layers.{number}."
                for matrix, column in LEAF_MATRICES.items():
                    rows[g, column : column + 3] = self._matrix(tensors, start + matrix, name)
                rows[g, buffers.CHOICE_BIAS] = self._vector(tensors[f"{start}bias_E"])
        return table

    def _top_weights(self, model: Transformer, trunk: Mapping[str, Tensor]) -> NDArray[np.int64]:
        top = np.zeros(buffers.TOP_COLUMNS, np.int64)
        top[buffers.EMBEDDING : buffers.EMBEDDING + 3] = self._matrix(trunk, "embedding.weight")
        head = "embedding.weight" if model.head is None else "head.weight"
        top[buffers.HEAD : buffers.HEAD + 3] = self._matrix(trunk, head)
        top[buffers.NORM] = self._vector(model.norm.weight)
        top[buffers.COS], top[buffers.SIN] = self._vector(model.rotary.cos), self._vector(model.rotary.sin)
        if model.mtp is not None:
            top[buffers.MTP_PROJECTION : buffers.MTP_PROJECTION + 3] = self._matrix(trunk, "mtp.merge.weight")
            top[buffers.HIDDEN_NORM] = self._vector(model.mtp.hidden_norm.weight)
            top[buffers.EMBEDDING_NORM] = self._vector(model.mtp.embedding_norm.weight)
            top[buffers.DRAFT_NORM] = self._vector(model.mtp.norm.weight)
        return top

    def _caches(self, cache: KVCache) -> NDArray[np.int64]:
        """Allocate each layer's KV cache, in float32, and return the addresses.

        Raises: MachineError if memory runs out.
        """
        sizes = self.sizes
        grouped = ((1, sizes.kv_heads, sizes.pool_tokens, sizes.head_dim),) * 2
        latent = (1, sizes.pool_tokens, sizes.kv_rank), (1, sizes.pool_tokens, sizes.rope_dim)
        layers = [*cache.layers, cache.mtp]
        for layer in layers:
            try:
                layer.buffers = tuple(torch.zeros(shape) for shape in (latent if sizes.kv_rank else grouped))
            except RuntimeError:  # how torch reports that an allocation failed
                raise MachineError(
                    f"not enough memory for a KV cache of {sizes.pool_tokens:,} tokens: lower kv_cache_tokens or "
                    "max_sequences"
                ) from None
            self._tensors += layer.buffers
        return np.array([[room.data_ptr() for room in layer.buffers] for layer in layers], np.int64)

    def _matrix(self, tensors: Mapping[str, Tensor], name: str, leaf: str = "") -> tuple[int, int, int]:
        """Return the kind, the address of the rows and the address of their scales."""
        codes = self._int8.get(leaf, {})
        if name + SCALES in codes:
            self._tensors += (codes[name], codes[name + SCALES])
            return INT8, codes[name].data_ptr(), codes[name + SCALES].data_ptr()
        weight = tensors[name].detach()
        if weight.dtype not in (torch.float32, torch.bfloat16) or weight.shape[-1] % 2:
            weight = weight.float()
        weight = weight.contiguous()
        self._tensors.append(weight)
        return (BFLOAT16 if weight.dtype == torch.bfloat16 else FLOAT32), weight.data_ptr(), 0

    def _vector(self, weight: Tensor) -> int:
        weight = weight.detach().float().contiguous()
        self._tensors.append(weight)
        return weight.data_ptr()


def _sizes(
    model: Transformer, leaves: Sequence[str], max_tokens: int, block_tokens: int, num_blocks: int, int8: bool
) -> Sizes:
    config, attention, leaf = model.config, model.config.attention, model.leaf_config
    if isinstance(attention, GQAConfig):
        kv_heads, head_dim, rope_dim = attention.num_kv_heads, attention.head_dim, attention.head_dim
        value_dim, kv_rank, q_rank = attention.head_dim, 0, 0
    else:
        kv_heads, head_dim, rope_dim = 0, attention.nope_head_dim, attention.rope_head_dim
        value_dim, kv_rank, q_rank = attention.value_head_dim, attention.kv_lora_rank, attention.q_lora_rank or 0
    experts = leaf.num_experts if leaf else 0
    return Sizes(
        dim=config.dim,
        layers=config.num_layers,
        vocab=config.vocab_size,
        hidden=config.ffn_dim,
        max_tokens=max_tokens,
        block_tokens=block_tokens,
        pool_tokens=block_tokens * num_blocks,
        heads=attention.num_heads,
        kv_heads=kv_heads,
        head_dim=head_dim,
        rope_dim=rope_dim,
        value_dim=value_dim,
        kv_rank=kv_rank,
        q_rank=q_rank,
        first_leaf_layer=model.first_leaf_layer,
        leaves=len(leaves),
        experts=experts,
        expert_hidden=leaf.expert_dim if leaf else 0,
        topk_group=model.topk_group,
        top_k=min(leaf.top_k, min(model.topk_group, len(leaves)) * experts) if leaf else 0,
        scaling=leaf.routed_scaling_factor if leaf else 1.0,
        eps=config.norm_eps,
        int8=int8,
        threads=torch.get_num_threads(),
    )


def make_step_buffers(sizes: Sizes, tokens: int = MAX_STEP_TOKENS, max_sequences: int = 1) -> StepBuffers:
    """Allocate the buffers that the threads share, with every token in sequence 0 and all leaves active."""
    top_k = max(1, sizes.top_k)
    grouped = (sizes.heads + 2 * sizes.kv_heads) * sizes.head_dim
    latent = sizes.kv_rank + sizes.rope_dim + sizes.q_rank + sizes.heads * (sizes.head_dim + sizes.rope_dim)
    return StepBuffers(
        x_TD=np.zeros((tokens, sizes.dim), np.float32),
        inner=np.zeros((tokens, max(grouped, latent, 2 * sizes.hidden)), np.float32),
        out=np.zeros((tokens * top_k, max(sizes.heads * sizes.value_dim, sizes.expert_hidden)), np.float32),
        router=np.zeros((tokens, max(1, sizes.leaves * sizes.experts)), np.float32),
        leaf_weights_TG=np.zeros((tokens, sizes.leaves), np.float32),
        hidden_TD=np.zeros((tokens, sizes.dim), np.float32),
        logits_TV=np.zeros((tokens, sizes.vocab), np.float32),
        tokens=np.zeros(tokens, np.int64),
        positions=np.zeros(tokens, np.int64),
        slots=np.zeros(tokens, np.int64),
        block_tables=np.zeros((max_sequences, -(-sizes.max_tokens // sizes.block_tokens)), np.int64),
        on_TG=np.ones((tokens, sizes.leaves), np.bool_),
        logit_rows=np.zeros(tokens, np.int64),
        command=np.zeros(3, np.int64),
        barriers=np.zeros(1, np.int64),
        counters=np.zeros(24, np.int64),
    )


def make_thread_buffers(sizes: Sizes, tokens: int = MAX_STEP_TOKENS) -> ThreadBuffers:
    """Allocate the buffers of one thread."""
    top_k = max(1, sizes.top_k)
    group = sizes.heads // sizes.kv_heads if sizes.kv_heads else 2
    widest = max(2 * sizes.dim, sizes.hidden, sizes.heads * sizes.value_dim, sizes.q_rank)
    return ThreadBuffers(
        input=make_activations(tokens, widest),
        experts=make_activations(tokens * top_k, max(sizes.expert_hidden, sizes.kv_rank, 2)),
        scratch=np.zeros((tokens, max(sizes.dim, sizes.kv_rank, sizes.rope_dim, sizes.expert_hidden)), np.float32),
        scores=np.zeros((group, sizes.max_tokens), np.float32),
        choice=np.zeros(max(1, sizes.leaves * sizes.experts), np.float32),
        leaf_scores=np.zeros(max(1, sizes.leaves), np.float32),
        expert_ids=np.zeros((tokens, top_k), np.int64),
        assignments=np.zeros(tokens * top_k, np.int64),
        assignment_tokens=np.zeros(tokens * top_k, np.int64),
        expert_ends=np.zeros(sizes.leaves * sizes.experts + 1, np.int64),
        indices=np.arange(tokens * top_k),
        expert_weights=np.zeros((tokens, top_k), np.float32),
    )
