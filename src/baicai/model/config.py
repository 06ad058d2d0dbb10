"""Sizes of a network. Everything that is not a size is code."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from baicai.config import Count, Positive, recipe

Layers = Annotated[int, Field(ge=1, le=1024)]
Length = Annotated[int, Field(ge=2, le=2**21)]
Head = Annotated[int, Field(ge=1, le=1024)]
"""What a network is made of before its tensors are looked at has limits: a stranger's file may say anything."""


@recipe
class GQAConfig:
    """Grouped-query attention; with as many key heads as query heads it is plain multi-head attention."""

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
            raise ValueError(f"head_dim {self.head_dim} must be even: rotary positions turn pairs")
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
            raise ValueError(f"rope_head_dim {self.rope_head_dim} must be even: rotary positions turn pairs")
        return self


@recipe
class RopeScaling:
    """How rotary frequencies are stretched, so that a trunk reads further than it was first trained to."""

    kind: Literal["linear", "llama3", "yarn"]
    factor: Annotated[float, Field(ge=1)]
    original_max_tokens: Count | None = None
    """Longest sequence before the stretch; llama3 and yarn need it."""
    low_freq_factor: Positive = 1.0
    """Of llama3: waves longer than original_max_tokens over this are stretched whole."""
    high_freq_factor: Positive = 4.0
    """Of llama3: waves shorter than original_max_tokens over this are left alone."""
    beta_fast: Positive = 32.0
    """Of yarn: features that turn more often than this within original_max_tokens are left alone."""
    beta_slow: Positive = 1.0
    """Of yarn: features that turn less often than this are stretched whole."""
    truncate: bool = True
    """Of yarn: the two bounds are rounded to whole features."""
    attention_factor: Positive | None = None
    """Of yarn: scales cosines and sines; None stands for 0.1 ln(factor) + 1."""

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
    """Longest sequence, prompt and answer together."""
    norm_eps: Positive = 1e-6
    rope_theta: Positive = 10000.0
    tied_head: bool = True
    """The output projection is the embedding matrix."""
    rope_scaling: Annotated[RopeScaling | None, Field(exclude_if=lambda scaling: scaling is None)] = None
    mtp: Annotated[bool, Field(exclude_if=lambda on: not on)] = False
    """Whether there is a multi-token prediction module. An unset key is not written: hashes stay what they were."""


@recipe
class LeafConfig:
    """Sizes of a leaf; the leaves of one model share them."""

    first_layer: Annotated[int, Field(ge=-1)] = -1
    """Lowest layer with experts; layers below it never see a leaf. -1 in a recipe: the upper half of the trunk."""
    num_experts: Count = 8
    """Experts in each of its layers."""
    expert_dim: Count = 64
    """Hidden size of an expert."""
    top_k: Count = 4
    """Experts that a token uses in a layer, of all leaves together."""
    routed_scaling_factor: Positive = 1.0

    @model_validator(mode="after")
    def _check(self) -> "LeafConfig":
        if self.top_k > self.num_experts:
            raise ValueError(f"top_k {self.top_k} must be at most num_experts {self.num_experts}")
        return self
