"""Causal attention in bfloat16 on a CPU, where PyTorch's own gains nothing from the shorter type.

Shape suffixes: B sequences, H heads, S queries, P keys, C head size.
"""

from typing import Any

import torch
from torch import Tensor

CHUNK_QUERIES = 64
"""Queries whose shares exist at once: what they may not see is mostly left out, and the shares stay in the cache."""


def attend_in_chunks(q_BHSC: Tensor, k_BHPC: Tensor, v_BHPC: Tensor) -> Tensor:
    """Return the attention's output, [B, H, S, C of the values]; the last query sees the last key."""
    out: Tensor = _CausalAttention.apply(q_BHSC, k_BHPC, v_BHPC)  # type: ignore[no-untyped-call]
    return out


class _CausalAttention(torch.autograd.Function):
    """The shares are made again in the backward pass. Source: Dao et al., FlashAttention, 2022, section 3."""

    @staticmethod
    def forward(ctx: Any, q_BHSC: Tensor, k_BHPC: Tensor, v_BHPC: Tensor) -> Tensor:
        q_BHSC, k_BHPC, v_BHPC = q_BHSC * q_BHSC.shape[-1] ** -0.5, k_BHPC.contiguous(), v_BHPC.contiguous()
        out = q_BHSC.new_empty(*q_BHSC.shape[:-1], v_BHPC.shape[-1])
        for rows in _chunks(q_BHSC):
            share_BHSP = _shares(q_BHSC, k_BHPC, rows)
            out[:, :, rows] = share_BHSP @ v_BHPC[:, :, : share_BHSP.shape[-1]]
        ctx.save_for_backward(q_BHSC, k_BHPC, v_BHPC)
        return out

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        q_BHSC, k_BHPC, v_BHPC = ctx.saved_tensors
        grad_BHSC = grad_outputs[0].contiguous()
        grad_q = torch.empty_like(q_BHSC)
        grad_k, grad_v = (torch.zeros_like(x, dtype=torch.float32) for x in (k_BHPC, v_BHPC))
        for rows in _chunks(q_BHSC):
            share_BHSP = _shares(q_BHSC, k_BHPC, rows)
            grad, seen = grad_BHSC[:, :, rows], slice(share_BHSP.shape[-1])
            grad_v[:, :, seen] += share_BHSP.mT @ grad
            grad_share = grad @ v_BHPC[:, :, seen].mT
            grad_score = torch.ops.aten._softmax_backward_data(grad_share, share_BHSP, -1, share_BHSP.dtype)
            grad_q[:, :, rows] = grad_score @ k_BHPC[:, :, seen]
            grad_k[:, :, seen] += grad_score.mT @ q_BHSC[:, :, rows]
        return grad_q * q_BHSC.shape[-1] ** -0.5, grad_k.to(k_BHPC.dtype), grad_v.to(v_BHPC.dtype)


def _chunks(q_BHSC: Tensor) -> list[slice]:
    queries = q_BHSC.shape[2]
    return [slice(start, min(start + CHUNK_QUERIES, queries)) for start in range(0, queries, CHUNK_QUERIES)]


def _shares(q_BHSC: Tensor, k_BHPC: Tensor, rows: slice) -> Tensor:
    """Return what each query of the rows takes of each key that one of them sees."""
    seen, count = k_BHPC.shape[2] - q_BHSC.shape[2] + rows.stop, rows.stop - rows.start
    score_BHSP = q_BHSC[:, :, rows] @ k_BHPC[:, :, :seen].mT
    later = torch.ones(count, count, dtype=torch.bool, device=score_BHSP.device).triu_(1)
    score_BHSP[..., seen - count :].masked_fill_(later, -torch.inf)
    return score_BHSP.softmax(-1)
