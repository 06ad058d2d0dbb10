"""Sizes of a network. Everything that is not a size is code."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from baicai.config import Count, Positive, recipe

Layers = Annotated[int, Field(ge=1, le=1024)]
Length = Annotated[int, Field(ge=2, le=2**21)]
Head = Annotated[int, Field(ge=1, le=1024)]
"""These sizes have limits, since a network is built from a file's sizes before its tensors are checked."""


@recipe
class GQAConfig:
    """Grouped-query attention. With as many key heads as query heads it is multi-head attention."""

    num_heads: Count
    num_kv_heads: Count
    head_dim: Head
    qk_norm: bool = False
    """RMSNorm over each query and key head, as in Qwen3."""
    qkv_bias: bool = False
    """Biases on the query, key and value projections, as in Qwen2."""
    kind: Literal["gqa"] = "gqa"

    @model_validator(mode="after")
    def _check(self) -> "GQAConfig":
        if self.num_heads % self.num_kv_heads:
            raise ValueError(f"num_heads {self.num_heads} is not a multiple of num_kv_heads {self.num_kv_heads}")
        if self.head_dim % 2:
            raise ValueError(f"head_dim {self.head_dim} must be even: rotary positions rotate pairs")
        return self


@recipe
class MLAConfig:
    """Multi-head latent attention: the cache holds one small vector per token (DeepSeek-V2, section 2.1)."""

    kind: Literal["mla"]
    num_heads: Count
    kv_lora_rank: Count
    q_lora_rank: Count | None = None
    nope_head_dim: Count
    rope_head_dim: Head
    value_head_dim: Count

    @model_validator(mode="after")
    def _check(self) -> "MLAConfig":
        if self.rope_head_dim % 2:
            raise ValueError(f"rope_head_dim {self.rope_head_dim} must be even: rotary positions rotate pairs")
        return self


@recipe
class RopeScaling:
    """Scaling of rotary frequencies, which extends the context beyond the length that a model was first trained for."""

    kind: Literal["linear", "llama3", "yarn"]
    factor: Annotated[float, Field(ge=1)]
    original_max_tokens: Count | None = None
    """Maximum sequence length before scaling; required by llama3 and yarn."""
    low_freq_factor: Positive = 1.0
    """llama3: waves longer than original_max_tokens divided by this are fully scaled."""
    high_freq_factor: Positive = 4.0
    """llama3: waves shorter than original_max_tokens divided by this are not scaled."""
    beta_fast: Positive = 32.0
    """yarn: features with more rotations than this within original_max_tokens are not scaled."""
    beta_slow: Positive = 1.0
    """yarn: features with fewer rotations than this within original_max_tokens are fully scaled."""
    truncate: bool = True
    """yarn: whether the two bounds are rounded to whole features."""
    attention_factor: Positive | None = None
    """yarn: factor of cosines and sines; None means 0.1 ln(factor) + 1."""

    @model_validator(mode="after")
    def _check(self) -> "RopeScaling":
        if self.kind != "linear" and self.original_max_tokens is None:
            raise ValueError(f"rope scaling '{self.kind}' needs original_max_tokens")
        if self.low_freq_factor >= self.high_freq_factor:
            raise ValueError("low_freq_factor must be below high_freq_factor")
        return self


@recipe
class ModelConfig:
    """Sizes of a trunk."""

    vocab_size: Count
    dim: Count
    num_layers: Layers
    ffn_dim: Count
    """Hidden size of the shared expert."""
    attention: GQAConfig | MLAConfig
    max_tokens: Length = 2048
    """Maximum sequence length, prompt and output together."""
    norm_eps: Positive = 1e-6
    rope_theta: Positive = 10000.0
    tied_head: bool = True
    """Whether the output projection is the embedding matrix."""
    rope_scaling: Annotated[RopeScaling | None, Field(exclude_if=lambda scaling: scaling is None)] = None
    mtp: Annotated[bool, Field(exclude_if=lambda on: not on)] = False
    """Whether the trunk has a multi-token prediction module. The key is written only if set, for stable hashes."""


@recipe
class LeafConfig:
    """Sizes of a leaf. All leaves of a model have the same sizes."""

    first_layer: Annotated[int, Field(ge=-1)] = -1
    """Lowest layer with experts. -1 in a recipe means the upper half of the trunk."""
    num_experts: Count = 8
    """Experts per layer."""
    expert_dim: Count = 64
    """Hidden size of an expert."""
    top_k: Count = 4
    """Experts that a token uses per layer, over all leaves."""
    routed_scaling_factor: Positive = 1.0

    @model_validator(mode="after")
    def _check(self) -> "LeafConfig":
        if self.top_k > self.num_experts:
            raise ValueError(f"top_k {self.top_k} must be at most num_experts {self.num_experts}")
        return self
