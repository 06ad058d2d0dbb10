"""Leaves: a domain's experts in the upper layers of the trunk, and how tokens pass through them.

Shape suffixes: T tokens, D model width, G leaves, E experts of one leaf, K experts a token uses, F expert hidden size.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from baicai.model.config import LeafConfig, ModelConfig
from baicai.model.layers import linear
from baicai.model.router import Choice


class LeafLayer(nn.Module):
    """One layer of a leaf: its router rows, choice bias and stacked experts."""

    bias_E: Tensor

    def __init__(self, dim: int, config: LeafConfig) -> None:
        super().__init__()
        experts, hidden = config.num_experts, config.expert_dim
        self.router_ED = nn.Parameter(torch.empty(experts, dim))
        self.gate_EFD = nn.Parameter(torch.empty(experts, hidden, dim))
        self.up_EFD = nn.Parameter(torch.empty(experts, hidden, dim))
        self.down_EDF = nn.Parameter(torch.empty(experts, dim, hidden))
        self.register_buffer("bias_E", torch.empty(experts))

    def start(self, generator: torch.Generator) -> None:
        """Begin with random features and zero down-projections: the leaf adds exactly nothing."""
        dim = self.router_ED.shape[-1]
        for weight in (self.gate_EFD, self.up_EFD, self.router_ED):
            nn.init.normal_(weight, std=dim**-0.5, generator=generator)
        nn.init.zeros_(self.down_EDF)
        nn.init.zeros_(self.bias_E)


class Leaf(nn.Module):
    """One domain's group of routed experts, a `LeafLayer` for each layer from `config.first_layer` up."""

    def __init__(self, model: ModelConfig, config: LeafConfig) -> None:
        super().__init__()
        assert config.first_layer >= 0, "first_layer is resolved before a leaf is made"
        self.config = config
        numbers = range(config.first_layer, model.num_layers)
        self.layers = nn.ModuleDict({str(number): LeafLayer(model.dim, config) for number in numbers})

    def layer(self, number: int) -> LeafLayer:
        """Return the experts of a layer."""
        found = self.layers[str(number)]
        assert isinstance(found, LeafLayer)
        return found

    def stack(self) -> list[LeafLayer]:
        """Return its layers from the lowest up."""
        return [layer for layer in self.layers.values() if isinstance(layer, LeafLayer)]

    def start(self, seed: int) -> None:
        """Begin: random features, zero output. The same seed gives the same bits."""
        generator = torch.Generator().manual_seed(seed)
        for layer in self.stack():
            layer.start(generator)


def mix_experts(h_TD: Tensor, choice: Choice, layers: Sequence[LeafLayer]) -> Tensor:
    """Return the weighted sum of the chosen experts' outputs, [T, D].

    Tokens are sorted by expert, so each expert is one product over contiguous rows; an expert that no token chose is
    not read.
    """
    tokens, top_k = choice.expert_ids_TK.shape
    experts = layers[0].router_ED.shape[0]
    ids = choice.expert_ids_TK.flatten()
    order = ids.argsort(stable=True)
    counts = torch.bincount(ids, minlength=len(layers) * experts + 1).tolist()
    rows = torch.split(h_TD[order // top_k], counts)
    # Split and unbound once for all: a slice taken by index would make a whole gradient for each expert.
    weights = [(layer.gate_EFD.unbind(), layer.up_EFD.unbind(), layer.down_EDF.unbind()) for layer in layers]
    outputs = []
    for expert, x in enumerate(rows[:-1]):
        if len(x):
            gate_FD, up_FD, down_DF = (stack[expert % experts] for stack in weights[expert // experts])
            outputs.append(linear(F.silu(linear(x, gate_FD)) * linear(x, up_FD), down_DF))
    outputs.append(torch.zeros_like(rows[-1]))
    back = torch.empty_like(order)
    back[order] = torch.arange(len(order), device=order.device)
    out_TKD = torch.cat(outputs)[back].view(tokens, top_k, -1)
    return torch.einsum("tkd,tk->td", out_TKD, choice.weights_TK.to(out_TKD.dtype))
