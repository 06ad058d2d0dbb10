"""What a training is told."""

from typing import Annotated, Literal

from pydantic import Field

from baicai.config import Count, Positive, Share, recipe


@recipe
class TrainConfig:
    """How to train: the same keys for every stage."""

    tokens: Count
    """Tokens to train on, all sources together."""
    batch_sequences: Count = 16
    sequence_tokens: Count = 256
    learning_rate: Positive = 2e-3
    warmup_share: Share = 0.02
    final_share: Share = 0.05
    """Last learning rate as a share of the peak."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.1
    clip_norm: Positive = 1.0
    seed: int = 0
    log_steps: Count = 10
    checkpoint_seconds: Annotated[float, Field(ge=0)] = 60.0
    device: Literal["auto", "cpu", "cuda"] = "auto"
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """Of the matrix products; weights and optimizer stay float32. Auto: bfloat16 where it is fast."""
    sharding: Literal["replicate", "shard"] = "replicate"
    """What each process that torchrun starts holds: all, or a share of weights, gradients and optimizer state."""

    @property
    def step_tokens(self) -> int:
        """Tokens of one optimizer step."""
        return self.batch_sequences * self.sequence_tokens

    @property
    def steps(self) -> int:
        """Number of optimizer steps."""
        return max(1, self.tokens // self.step_tokens)

    @property
    def trained_tokens(self) -> int:
        """Tokens that the steps take: the last is taken whole or not at all."""
        return self.steps * self.step_tokens
