"""Causal attention in bfloat16 on a CPU, where PyTorch's own gains nothing from the shorter type.

Shape suffixes: B sequences, H query heads, J key heads, S queries, P keys, C head size, N = B * J, G query heads that
share a key head, Q = G * queries of one chunk.
"""

from typing import Any

import torch
from torch import Tensor

CHUNK_QUERIES = 64
"""Queries per chunk: most masked keys are skipped, and the attention weights of a chunk stay in the CPU's cache."""


def attend_in_chunks(q_BHSC: Tensor, k_BJPC: Tensor, v_BJPC: Tensor) -> Tensor:
    """Return the output of causal attention, [B, H, S, value head size]. The last query sees the last key."""
    heads = k_BJPC.shape[1]
    q_NGSC = (q_BHSC * q_BHSC.shape[-1] ** -0.5).unflatten(1, (heads, -1)).flatten(0, 1)
    parts = (part.flatten(0, 1).contiguous() for part in (k_BJPC, v_BJPC))
    out_NGSC: Tensor = _CausalAttention.apply(q_NGSC, *parts)  # type: ignore[no-untyped-call]
    return out_NGSC.reshape(*q_BHSC.shape[:-1], -1)


class _CausalAttention(torch.autograd.Function):
    """Recomputes attention weights in the backward pass. Source: Dao et al., FlashAttention, 2022, section 3.

    Query heads that share a key head are treated as further queries of that head, so that its keys are read once.
    """

    @staticmethod
    def forward(ctx: Any, q_NGSC: Tensor, k_NPC: Tensor, v_NPC: Tensor) -> Tensor:
        out_NGSC = q_NGSC.new_empty(*q_NGSC.shape[:-1], v_NPC.shape[-1])
        for rows in _chunks(q_NGSC):
            weights_NQP = _attention_weights(q_NGSC, k_NPC, rows)
            out_NGSC[:, :, rows] = (weights_NQP @ v_NPC[:, : weights_NQP.shape[-1]]).view_as(out_NGSC[:, :, rows])
        ctx.save_for_backward(q_NGSC, k_NPC, v_NPC)
        return out_NGSC

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        q_NGSC, k_NPC, v_NPC = ctx.saved_tensors
        grad_q = torch.empty_like(q_NGSC)
        grad_k, grad_v = (torch.zeros_like(x, dtype=torch.float32) for x in (k_NPC, v_NPC))
        for rows in _chunks(q_NGSC):
            weights_NQP = _attention_weights(q_NGSC, k_NPC, rows)
            grad_NQC, seen = grad_outputs[0][:, :, rows].flatten(1, 2), slice(weights_NQP.shape[-1])
            grad_v[:, seen] += weights_NQP.mT @ grad_NQC
            grad_weights = grad_NQC @ v_NPC[:, seen].mT
            grad_score = torch.ops.aten._softmax_backward_data(grad_weights, weights_NQP, -1, weights_NQP.dtype)
            grad_q[:, :, rows] = (grad_score @ k_NPC[:, seen]).view_as(grad_q[:, :, rows])
            grad_k[:, seen] += grad_score.mT @ q_NGSC[:, :, rows].flatten(1, 2)
        return grad_q, grad_k.to(k_NPC.dtype), grad_v.to(v_NPC.dtype)


def _chunks(q_NGSC: Tensor) -> list[slice]:
    queries = q_NGSC.shape[2]
    return [slice(start, min(start + CHUNK_QUERIES, queries)) for start in range(0, queries, CHUNK_QUERIES)]


def _attention_weights(q_NGSC: Tensor, k_NPC: Tensor, rows: slice) -> Tensor:
    """Return the attention weights of a chunk of queries over the keys that its last query sees, [N, Q, P]."""
    seen, count = k_NPC.shape[1] - q_NGSC.shape[2] + rows.stop, rows.stop - rows.start
    score_NQP = q_NGSC[:, :, rows].flatten(1, 2) @ k_NPC[:, :seen].mT
    later = torch.ones(count, count, dtype=torch.bool, device=score_NQP.device).triu_(1)
    score_NQP.view(len(score_NQP), -1, count, seen)[..., seen - count :].masked_fill_(later, -torch.inf)
    return score_NQP.softmax(-1)
