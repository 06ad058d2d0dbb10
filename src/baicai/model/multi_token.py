"""Multi-token prediction: from the model's output and the next token, a module predicts the token after that.

It is trained with the trunk, and costs nothing unless tokens are drafted. It has no leaves of its own, but reads the
output of the model with its leaves, so that its drafts follow them.

Shape suffixes: B sequences, S positions, D model width.
"""

import torch
from torch import Tensor, nn

from baicai.model.config import ModelConfig
from baicai.model.layers import Block, LayerCache, Linear, Rotary, StartPosition
from baicai.model.norm import RMSNorm


class MultiTokenModule(nn.Module):
    """Multi-token prediction of depth one, with the trunk's embedding, head and rotary positions.

    Source: DeepSeek-V3, section 2.2, equations 21 to 23, with a norm before the head as in its released weights.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.hidden_norm = RMSNorm(config.dim, config.norm_eps)
        self.embedding_norm = RMSNorm(config.dim, config.norm_eps)
        self.merge = Linear(2 * config.dim, config.dim, bias=False)
        self.block = Block(config)
        self.norm = RMSNorm(config.dim, config.norm_eps)

    def forward(
        self, hidden_BSD: Tensor, embedded_BSD: Tensor, rotary: Rotary, start: StartPosition, cache: LayerCache | None
    ) -> Tensor:
        pair = torch.cat((self.hidden_norm(hidden_BSD), self.embedding_norm(embedded_BSD)), dim=-1)
        out: Tensor = self.norm(self.block(self.merge(pair), rotary, start, cache))
        return out
