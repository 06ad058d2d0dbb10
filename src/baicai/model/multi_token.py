"""Multi-token prediction: a module that reads the model's output and its next token, and tells the token after that.

It is trained with the trunk and costs nothing until it is asked to draft. It reads what the model says with its leaves,
so its drafts follow them; it has none of its own. Shape suffixes: B sequences, S positions, D model width.
"""

import torch
from torch import Tensor, nn

from baicai.model.config import ModelConfig
from baicai.model.layers import Block, LayerCache, Linear, Rotary, StartPosition
from baicai.model.norm import RMSNorm


class MultiTokenModule(nn.Module):
    """One prediction depth; embedding, head and rotary positions are the trunk's own.

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
