"""Training configuration, shared by all stages."""

from typing import Annotated, Literal

from pydantic import Field

from baicai.config import Count, Positive, Share, recipe


@recipe
class TrainConfig:
    """Training options: the same keys for every stage."""

    tokens: Count
    """Tokens to train on, over all sources."""
    batch_sequences: Count = 16
    sequence_tokens: Count = 256
    learning_rate: Positive = 2e-3
    warmup_share: Share = 0.02
    final_share: Share = 0.05
    """Final learning rate as a share of the peak."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.1
    clip_norm: Positive = 1.0
    seed: int = 0
    log_steps: Count = 10
    checkpoint_seconds: Annotated[float, Field(ge=0)] = 60.0
    device: Literal["auto", "cpu", "cuda"] = "auto"
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """Type of matrix products; weights and optimizer state stay float32. `auto` is bfloat16 where that is fast."""
    sharding: Literal["replicate", "shard"] = "replicate"
    """Whether each process of torchrun holds all weights, gradients and optimizer state, or only a share of them."""

    @property
    def step_tokens(self) -> int:
        """Tokens in one optimizer step."""
        return self.batch_sequences * self.sequence_tokens

    @property
    def steps(self) -> int:
        """Number of optimizer steps."""
        return max(1, self.tokens // self.step_tokens)

    @property
    def trained_tokens(self) -> int:
        """Tokens that are trained on: `tokens`, rounded down to full steps."""
        return self.steps * self.step_tokens
