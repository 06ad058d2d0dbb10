"""The experts of a layer in three grouped matrix products, for CUDA: no loop, and no synchronization with the GPU.

Shape suffixes: T tokens, K experts a token uses, N = T * K rows, E experts of all leaves, D model width, F hidden size.
"""

import weakref
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from baicai.model.experts import LeafLayer, mix_experts
from baicai.model.layers import product_dtype
from baicai.model.router import ExpertChoice

MAX_GROUPS = 1023
"""The kernel prepares each group in one thread of a block."""

GENERATIONS = (9, 10)
"""Compute capabilities that have the kernel: Hopper and the first Blackwell."""

Stack = tuple[Tensor, Tensor, Tensor]
"""Gate [E, F, D], up [E, F, D], down [E, D, F]."""


def can_group(layers: Sequence[LeafLayer], device: torch.device, dtype: torch.dtype) -> bool:
    """Return whether the grouped kernel can run: bfloat16, rows of whole 16 bytes, few enough experts, a recent GPU.

    Otherwise torch would loop over the experts and synchronize with the GPU, as `mix_experts` does.
    """
    if device.type != "cuda" or dtype != torch.bfloat16:
        return False
    experts, hidden, dim = layers[0].gate_EFD.shape
    fits = dim % 8 == 0 and hidden % 8 == 0 and len(layers) * experts <= MAX_GROUPS
    return fits and torch.cuda.get_device_capability(device)[0] in GENERATIONS


class ExpertMixer:
    """Computes the outputs of one layer's experts. On CUDA it stacks those of several leaves into one tensor per kind.

    The grouped kernel needs stacked weights. While leaves are trained, every step copies their weights to bfloat16
    anyway, and stacking is part of that copy. While they are frozen, the stack is cached until a weight or the set of
    active leaves changes; the cache is a second copy of their experts.
    """

    def __init__(self) -> None:
        self._versions: list[object] = []
        self._sources: list[weakref.ref[Tensor]] = []
        self.cached: Stack | None = None

    def mix(self, h_TD: Tensor, choice: ExpertChoice, layers: Sequence[LeafLayer], *, some_absent: bool) -> Tensor:
        """Return the weighted sum of the chosen experts' outputs, [T, D].

        `some_absent` says that some tokens may use fewer than K experts.
        """
        dtype = product_dtype(h_TD)
        if can_group(layers, h_TD.device, dtype):
            return mix_grouped(h_TD, choice, self.stack(layers, dtype), some_absent=some_absent)
        return mix_experts(h_TD, choice, layers)

    def stack(self, layers: Sequence[LeafLayer], dtype: torch.dtype) -> Stack:
        """Return the experts of some layers, stacked, in `dtype`."""
        sources = [tensor for layer in layers for tensor in (layer.gate_EFD, layer.up_EFD, layer.down_EDF)]
        no_copy = len(layers) == 1 and sources[0].dtype == dtype
        if no_copy or (torch.is_grad_enabled() and any(tensor.requires_grad for tensor in sources)):
            return _stack(sources, dtype)
        versions = [dtype, *(tensor._version for tensor in sources)]
        same = versions == self._versions and all(ref() is t for ref, t in zip(self._sources, sources, strict=True))
        if self.cached is None or not same:
            self.cached = None  # freed before the next stack is allocated
            with torch.inference_mode(False), torch.no_grad():  # a backward pass may use the stack, too
                self.cached = _stack(sources, dtype)
            self._versions, self._sources = versions, [weakref.ref(tensor) for tensor in sources]
        return self.cached


def _stack(sources: Sequence[Tensor], dtype: torch.dtype) -> Stack:
    def join(parts: Sequence[Tensor]) -> Tensor:
        return parts[0].to(dtype) if len(parts) == 1 else torch.cat([part.to(dtype) for part in parts])

    return join(sources[0::3]), join(sources[1::3]), join(sources[2::3])


def mix_grouped(h_TD: Tensor, choice: ExpertChoice, stack: Stack, *, some_absent: bool) -> Tensor:
    """Return the weighted sum of the chosen experts' outputs, [T, D], as `mix_experts` does.

    Rows without an expert are sorted to the end, which the kernel neither reads nor writes. Their uninitialised values
    are masked: in the input for the backward pass, in the output for the forward pass.
    """
    gate_EFD, up_EFD, down_EDF = stack
    tokens, top_k = choice.expert_ids_TK.shape
    ids_N, slots_N = choice.expert_ids_TK.flatten().sort(stable=True)
    numbers_E = torch.arange(len(gate_EFD), device=ids_N.device)
    ends_E = torch.searchsorted(ids_N, numbers_E, right=True, out_int32=True)
    absent_N1 = (ids_N == len(gate_EFD))[:, None]
    rows_TK = torch.empty_like(slots_N).scatter_(0, slots_N, torch.arange(len(slots_N), device=slots_N.device))
    rows_TK = rows_TK.view(tokens, top_k)
    x_ND = _to_rows(h_TD.to(gate_EFD.dtype), slots_N, rows_TK)
    if some_absent:
        x_ND = x_ND.masked_fill(absent_N1, 0)
    gate_NF, up_NF = (F.grouped_mm(x_ND, weight_EFD.mT, offs=ends_E) for weight_EFD in (gate_EFD, up_EFD))
    weights_N1 = _to_rows(choice.weights_TK.reshape(-1, 1), slots_N, rows_TK.view(-1, 1)).to(x_ND.dtype)
    out_ND = F.grouped_mm(F.silu(gate_NF) * up_NF * weights_N1, down_EDF.mT, offs=ends_E)
    if some_absent:
        out_ND = out_ND.masked_fill(absent_N1, 0)
    out_TD: Tensor = _SumPerToken.apply(out_ND, slots_N, rows_TK)  # type: ignore[no-untyped-call]
    return out_TD.to(h_TD.dtype)


def _to_rows(x_TD: Tensor, slots_N: Tensor, rows_TK: Tensor) -> Tensor:
    """Gather the token of each row, [N, D]. `rows_TK` is the row of each slot."""
    x_ND: Tensor = _ToRows.apply(x_TD, slots_N, rows_TK)  # type: ignore[no-untyped-call]
    return x_ND


class _ToRows(torch.autograd.Function):
    """This and `_SumPerToken` are each other's backward pass. PyTorch's own would sort the indices again."""

    @staticmethod
    def forward(ctx: Any, x_TD: Tensor, slots_N: Tensor, rows_TK: Tensor) -> Tensor:
        ctx.save_for_backward(slots_N, rows_TK)
        return x_TD[slots_N // rows_TK.shape[1]]

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, None, None]:
        (grad_ND,), (_, rows_TK) = grad_outputs, ctx.saved_tensors
        return grad_ND[rows_TK].sum(1, dtype=torch.float32).to(grad_ND.dtype), None, None


class _SumPerToken(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, out_ND: Tensor, slots_N: Tensor, rows_TK: Tensor) -> Tensor:
        ctx.save_for_backward(slots_N, rows_TK)
        ctx.dtype = out_ND.dtype
        return out_ND[rows_TK].sum(1, dtype=torch.float32)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, None, None]:
        (grad_TD,), (slots_N, rows_TK) = grad_outputs, ctx.saved_tensors
        return grad_TD.to(ctx.dtype)[slots_N // rows_TK.shape[1]], None, None
