"""Sizes of a network. Everything that is not a size is code."""

from typing import Literal

from pydantic import model_validator

from baicai.config import recipe


@recipe
class GQAConfig:
    """Grouped-query attention; with as many key heads as query heads it is plain multi-head attention."""

    num_heads: int
    num_kv_heads: int
    head_dim: int
    qk_norm: bool = False
    """RMSNorm over each query and key head, as in Qwen3."""
    qkv_bias: bool = False
    """Biases on the query, key and value projections, as in Qwen2."""
    kind: Literal["gqa"] = "gqa"

    @model_validator(mode="after")
    def _check(self) -> "GQAConfig":
        if self.num_kv_heads < 1 or self.num_heads % self.num_kv_heads:
            raise ValueError(f"num_heads {self.num_heads} is not a multiple of num_kv_heads {self.num_kv_heads}")
        if self.head_dim < 2 or self.head_dim % 2:
            raise ValueError(f"head_dim {self.head_dim} must be even: rotary positions turn pairs")
        return self


@recipe
class MLAConfig:
    """Multi-head latent attention: the cache holds one small vector per token (DeepSeek-V2, section 2.1)."""

    kind: Literal["mla"]
    num_heads: int
    kv_lora_rank: int
    q_lora_rank: int | None = None
    nope_head_dim: int
    rope_head_dim: int
    value_head_dim: int

    @model_validator(mode="after")
    def _check(self) -> "MLAConfig":
        if self.rope_head_dim < 2 or self.rope_head_dim % 2:
            raise ValueError(f"rope_head_dim {self.rope_head_dim} must be even: rotary positions turn pairs")
        return self


@recipe
class ModelConfig:
    """Sizes of a trunk."""

    vocab_size: int
    dim: int
    num_layers: int
    ffn_dim: int
    """Hidden size of the shared expert."""
    attention: GQAConfig | MLAConfig
    max_tokens: int = 2048
    """Longest sequence, prompt and answer together."""
    norm_eps: float = 1e-6
    rope_theta: float = 10000.0
    tied_head: bool = True
    """The output projection is the embedding matrix."""

    @model_validator(mode="after")
    def _check(self) -> "ModelConfig":
        for name in ("vocab_size", "dim", "num_layers", "ffn_dim", "max_tokens"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} {getattr(self, name)} must be at least 1")
        return self


@recipe
class LeafConfig:
    """Sizes of a leaf; the leaves of one model share them."""

    first_layer: int = -1
    """Lowest layer with experts; layers below it never see a leaf. -1 in a recipe: the upper half of the trunk."""
    num_experts: int = 8
    """Experts in each of its layers."""
    expert_dim: int = 64
    """Hidden size of an expert."""
    top_k: int = 4
    """Experts that a token uses in a layer, of all leaves together."""
    routed_scaling_factor: float = 1.0

    @model_validator(mode="after")
    def _check(self) -> "LeafConfig":
        if not 1 <= self.top_k <= self.num_experts:
            raise ValueError(f"top_k {self.top_k} must be between 1 and num_experts {self.num_experts}")
        if self.first_layer < -1 or self.expert_dim < 1:
            raise ValueError("first_layer must be at least 0 (-1: upper half) and expert_dim at least 1")
        return self
