"""Leaves: a domain's experts in the upper layers of the trunk, and the computation of their outputs.

Shape suffixes: T tokens, D model width, G leaves, E experts of one leaf, K experts a token uses, F expert hidden size.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from baicai.model.config import LeafConfig, ModelConfig
from baicai.model.layers import product_dtype
from baicai.model.router import ExpertChoice

ROWS = 16
"""An expert's rows are padded to a multiple of this: on a CPU each new size of a bfloat16 product costs 1 ms once."""


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

    def initialize(self, generator: torch.Generator) -> None:
        """Draw random features and set down-projections to zero, so that the leaf adds exactly nothing."""
        dim = self.router_ED.shape[-1]
        for weight in (self.gate_EFD, self.up_EFD, self.router_ED):
            nn.init.normal_(weight, std=dim**-0.5, generator=generator)
        nn.init.zeros_(self.down_EDF)
        nn.init.zeros_(self.bias_E)


class Leaf(nn.Module):
    """One domain's group of routed experts, a `LeafLayer` for each layer from `config.first_layer` up."""

    def __init__(self, model: ModelConfig, config: LeafConfig) -> None:
        super().__init__()
        assert config.first_layer >= 0, "first_layer must be resolved before a leaf is made"
        self.config = config
        numbers = range(config.first_layer, model.num_layers)
        self.layers = nn.ModuleDict({str(number): LeafLayer(model.dim, config) for number in numbers})

    def layer(self, number: int) -> LeafLayer:
        """Return the leaf's part of a layer of the trunk."""
        layer = self.layers[str(number)]
        assert isinstance(layer, LeafLayer)
        return layer

    def layer_list(self) -> list[LeafLayer]:
        """Return the leaf's layers, lowest first."""
        return [layer for layer in self.layers.values() if isinstance(layer, LeafLayer)]

    def initialize(self, seed: int) -> None:
        """Draw random features, with zero output. The same seed gives the same bits."""
        generator = torch.Generator().manual_seed(seed)
        for layer in self.layer_list():
            layer.initialize(generator)


def mix_experts(h_TD: Tensor, choice: ExpertChoice, layers: Sequence[LeafLayer]) -> Tensor:
    """Return the weighted sum of the chosen experts' outputs, [T, D].

    Tokens are sorted by expert, so that each expert is one product over contiguous rows. An expert that no token chose
    is not read.
    """
    dtype = product_dtype(h_TD)
    stacks = [stack for layer in layers for stack in (layer.gate_EFD, layer.up_EFD, layer.down_EDF)]
    with torch.autocast(h_TD.device.type, enabled=False):
        out: Tensor = _MixExperts.apply(h_TD, choice.weights_TK, choice.expert_ids_TK, dtype, *stacks)  # type: ignore[no-untyped-call]
        return out.to(h_TD.dtype)


class _MixExperts(torch.autograd.Function):
    """Runs matrix products in `dtype`, one per expert and weight, and other operations for all experts at once.

    Routing weights multiply the inputs of the down-projection, which saves a pass over the wider outputs. The N rows
    are the tokens of each expert, padded with zeros to a multiple of `ROWS`.
    """

    @staticmethod
    def forward(
        ctx: Any, h_TD: Tensor, weights_TK: Tensor, expert_ids_TK: Tensor, dtype: torch.dtype, *stacks: Tensor
    ) -> Tensor:
        experts, hidden, _ = stacks[0].shape
        jobs, slots_N, rows_TK = _sort(expert_ids_TK, experts, len(stacks) // 3)
        short_TD = h_TD.to(dtype)
        x_ND = _to_rows(short_TD, slots_N, rows_TK)
        weights_N1 = torch.cat((weights_TK.flatten(), weights_TK.new_zeros(1))).to(dtype)[slots_N, None]
        gate_NF, up_NF = x_ND.new_empty(len(x_ND), hidden), x_ND.new_empty(len(x_ND), hidden)
        for rows, leaf, expert in jobs:
            torch.mm(x_ND[rows], stacks[leaf][expert].to(dtype).T, out=gate_NF[rows])
            torch.mm(x_ND[rows], stacks[leaf + 1][expert].to(dtype).T, out=up_NF[rows])
        inner_NF, out_ND = F.silu(gate_NF).mul_(up_NF).mul_(weights_N1), _empty_with_zero_row(x_ND)
        for rows, leaf, expert in jobs:
            torch.mm(inner_NF[rows], stacks[leaf + 2][expert].to(dtype).T, out=out_ND[rows])
        ctx.save_for_backward(short_TD, weights_N1, gate_NF, up_NF, slots_N, rows_TK, *stacks)
        ctx.jobs, ctx.h_dtype = jobs, h_TD.dtype
        return _sum_per_token(out_ND, rows_TK)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        short_TD, weights_N1, gate_NF, up_NF, slots_N, rows_TK, *stacks = ctx.saved_tensors
        x_ND = _to_rows(short_TD, slots_N, rows_TK)
        dtype, grads = x_ND.dtype, _allocate_gradients(stacks, ctx.needs_input_grad[4:], ctx.jobs)
        grad_ND = _to_rows(grad_outputs[0].to(dtype), slots_N, rows_TK)
        silu_NF = F.silu(gate_NF)
        product_NF = silu_NF * up_NF
        inner_NF, grad_inner_NF = product_NF * weights_N1, torch.empty_like(product_NF)
        for rows, leaf, expert in ctx.jobs:
            torch.mm(grad_ND[rows], stacks[leaf + 2][expert].to(dtype), out=grad_inner_NF[rows])
            _store_gradient(grads[leaf + 2], expert, grad_ND[rows], inner_NF[rows])
        grad_weights = x_ND.new_zeros(rows_TK.numel() + 1, dtype=torch.float32)
        grad_weights[slots_N] = product_NF.mul_(grad_inner_NF).sum(1).float()
        grad_inner_NF.mul_(weights_N1)
        grad_up_NF = silu_NF.mul_(grad_inner_NF)
        grad_gate_NF = torch.ops.aten.silu_backward(grad_inner_NF.mul_(up_NF), gate_NF)
        for rows, leaf, expert in ctx.jobs:
            _store_gradient(grads[leaf], expert, grad_gate_NF[rows], x_ND[rows])
            _store_gradient(grads[leaf + 1], expert, grad_up_NF[rows], x_ND[rows])
        grad_h_TD = None
        if ctx.needs_input_grad[0]:
            grad_x_ND = _empty_with_zero_row(x_ND)
            for rows, leaf, expert in ctx.jobs:
                torch.mm(grad_gate_NF[rows], stacks[leaf][expert].to(dtype), out=grad_x_ND[rows])
                grad_x_ND[rows].addmm_(grad_up_NF[rows], stacks[leaf + 1][expert].to(dtype))
            grad_h_TD = _sum_per_token(grad_x_ND, rows_TK).to(ctx.h_dtype)
        return grad_h_TD, grad_weights[:-1].view_as(rows_TK), None, None, *grads


def _sort(expert_ids_TK: Tensor, experts: int, leaves: int) -> tuple[list[tuple[slice, int, int]], Tensor, Tensor]:
    """Sort the tokens by expert.

    A slot is a position in [T, K], counted row by row. Slot T * K, one beyond the last, stands for padding rows; row N,
    one beyond the last, stands for slots without an expert.

    Returns: for each expert in use its rows, the index of its leaf's first stack, and its number in the leaf; the slot
    of each row, [N]; and the row of each slot, [T, K].
    """
    ids = expert_ids_TK.flatten()
    counts = torch.bincount(ids, minlength=leaves * experts + 1).tolist()[:-1]
    jobs, rows_of_experts, start = [], [], 0
    for number, count in enumerate(counts):
        if count:
            padded = -(-count // ROWS) * ROWS if count > ROWS else count
            jobs.append((slice(start, start + padded), number // experts * 3, number % experts))
            rows_of_experts.append(torch.arange(start, start + count, device=ids.device))
            start += padded
    slots_N, rows = torch.full((start,), len(ids), device=ids.device), torch.full_like(ids, start)
    if rows_of_experts:
        used_rows, used_slots = torch.cat(rows_of_experts), ids.argsort(stable=True)[: sum(counts)]
        slots_N[used_rows], rows[used_slots] = used_slots, used_rows
    return jobs, slots_N, rows.view_as(expert_ids_TK)


def _to_rows(x_TD: Tensor, slots_N: Tensor, rows_TK: Tensor) -> Tensor:
    """Gather the token of each row, zeros for padding rows, [N, D]."""
    return torch.cat((x_TD, x_TD.new_zeros(1, x_TD.shape[1]))).index_select(0, slots_N // rows_TK.shape[1])


def _empty_with_zero_row(x_ND: Tensor) -> Tensor:
    """Allocate a tensor like `x_ND` with one more row, of zeros, at the end."""
    out = x_ND.new_empty(len(x_ND) + 1, x_ND.shape[1])
    out[-1] = 0
    return out


def _sum_per_token(out_ND: Tensor, rows_TK: Tensor) -> Tensor:
    """Return the sum of each token's rows, [T, D]."""
    return F.embedding_bag(rows_TK, out_ND, mode="sum")  # gathers and adds in one pass


def _allocate_gradients(
    stacks: Sequence[Tensor], needed: Sequence[bool], jobs: Sequence[tuple[slice, int, int]]
) -> list[Tensor | None]:
    """Allocate the gradients that are needed, with zeros for experts that are not in use."""
    used = {(leaf, expert) for _, leaf, expert in jobs}
    grads = [torch.empty_like(stack) if need else None for stack, need in zip(stacks, needed, strict=True)]
    for number, grad in enumerate(grads):
        if grad is not None:
            unused = [expert for expert in range(len(grad)) if (number // 3 * 3, expert) not in used]
            grad[unused] = 0
    return grads


def _store_gradient(grad: Tensor | None, expert: int, left: Tensor, right: Tensor) -> None:
    if grad is not None:
        grad[expert] = left.T @ right
