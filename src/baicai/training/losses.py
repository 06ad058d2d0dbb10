"""Losses. Shape suffixes: T tokens, D model width, V vocabulary, G leaves, E experts of one leaf."""

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from baicai.training.compile import MIN_COMPILED_STEPS, compile_if_worthwhile

CHUNK_TOKENS = {"cpu": 256, "cuda": 8192}
"""Tokens whose logits exist at once: few enough for a CPU's cache, or enough to fill a GPU."""

ChunkLoss = Callable[..., tuple[Tensor, Tensor]]
"""Called with the logits [T, V] of a chunk, the number of all tokens, and the rows of further tensors for that chunk.
Returns the chunk's part of the mean loss, and its gradient with respect to the logits, in their type. It may overwrite
the logits."""


class _LinearLoss(torch.autograd.Function):
    """Computes gradients together with the loss, chunk by chunk, so that the logits of all tokens never exist at once.

    Source: Hsu et al., Liger Kernel, 2024, section 3.2.
    """

    @staticmethod
    def forward(ctx: Any, hidden_TD: Tensor, weight_VD: Tensor, chunk_loss: ChunkLoss, *per_token: Tensor) -> Tensor:
        need_hidden, need_weight = ctx.needs_input_grad[:2]
        tokens, chunk = len(hidden_TD), CHUNK_TOKENS[hidden_TD.device.type]
        grad_hidden_TD = torch.empty_like(hidden_TD) if need_hidden else None
        grad_weight_VD = torch.zeros_like(weight_VD, dtype=torch.float32) if need_weight else None
        loss = torch.zeros((), dtype=torch.float32, device=hidden_TD.device)
        for start in range(0, tokens, chunk):
            rows = slice(start, start + chunk)
            logits_TV = F.linear(hidden_TD[rows], weight_VD)
            part, grad_TV = chunk_loss(logits_TV, tokens, *(tensor[rows] for tensor in per_token))
            loss += part
            if grad_hidden_TD is not None:
                grad_hidden_TD[rows] = grad_TV @ weight_VD
            if grad_weight_VD is not None:
                grad_weight_VD += grad_TV.T @ hidden_TD[rows]
        ctx.save_for_backward(grad_hidden_TD, None if grad_weight_VD is None else grad_weight_VD.to(weight_VD.dtype))
        return loss

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        (scale,) = grad_outputs
        scaled = (grad if grad is None else grad * scale for grad in ctx.saved_tensors)
        return *scaled, *(None for _ in ctx.needs_input_grad[2:])


def linear_loss(hidden_TD: Tensor, weight_VD: Tensor, chunk_loss: ChunkLoss, *per_token: Tensor) -> Tensor:
    """Return the mean per-token loss of the logits `hidden @ weight.T`, without holding all of them at once.

    Args:
        hidden_TD: normed output of the last layer.
        weight_VD: output projection.
        chunk_loss: loss of a chunk of logits, and its gradient.
        per_token: further inputs of `chunk_loss`, such as targets; each has one row per token.

    Returns: a scalar, float32.
    """
    kind = hidden_TD.device.type
    if torch.is_autocast_enabled(kind):
        dtype = torch.get_autocast_dtype(kind)
        hidden_TD = hidden_TD.to(dtype)
    weight_VD = weight_VD.to(hidden_TD.dtype)
    with torch.autocast(kind, enabled=False):
        loss: Tensor = _LinearLoss.apply(hidden_TD, weight_VD, chunk_loss, *per_token)  # type: ignore[no-untyped-call]
        return loss


def linear_cross_entropy(hidden_TD: Tensor, weight_VD: Tensor, targets_T: Tensor) -> Tensor:
    """Return the mean cross-entropy, in nats, of `hidden @ weight.T` against the targets, float32."""
    certain_T1 = torch.ones(len(targets_T), 1, device=targets_T.device)
    return linear_soft_cross_entropy(hidden_TD, weight_VD, (targets_T[:, None], certain_T1))


def linear_soft_cross_entropy(hidden_TD: Tensor, weight_VD: Tensor, *targets: tuple[Tensor, Tensor]) -> Tensor:
    """Return the mean cross-entropy, in nats, of `hidden @ weight.T` against sparse distributions, float32.

    A target is a pair of token ids [T, K], which may repeat, and the probability [T, 1] that each id adds to its
    token's distribution. Over all targets the probabilities of a token sum to 1.
    """
    chunk_loss = _cross_entropy_on(hidden_TD.device)
    return linear_loss(hidden_TD, weight_VD, chunk_loss, *(tensor for pair in targets for tensor in pair))


@functools.cache
def _cross_entropy_on(device: torch.device) -> ChunkLoss:
    return compile_if_worthwhile(_cross_entropy, device, MIN_COMPILED_STEPS)  # compiling it takes only seconds


def _cross_entropy(logits_TV: Tensor, tokens: int, *targets: Tensor) -> tuple[Tensor, Tensor]:
    """Cross-entropy as a ChunkLoss; `targets` alternates between ids [T, K] and probabilities [T, 1]."""
    dtype, logits_TV = logits_TV.dtype, logits_TV.float()
    pairs = list(zip(targets[::2], targets[1::2], strict=True))
    logits_TV -= logits_TV.amax(-1, keepdim=True)
    loss = -torch.stack([(share_T1 * logits_TV.gather(1, ids_TK)).sum() for ids_TK, share_T1 in pairs]).sum()
    power_TV = logits_TV.exp_()
    sum_T1 = power_TV.sum(-1, keepdim=True)
    loss += sum_T1.log().sum()
    grad_TV = power_TV.div_(sum_T1 * tokens)
    # Pair by pair: repeated ids then add equal numbers, so the order in which a GPU adds them does not matter.
    for ids_TK, share_T1 in pairs:
        grad_TV.scatter_add_(1, ids_TK, (-share_T1 / tokens).expand(ids_TK.shape))
    return loss / tokens, grad_TV.to(dtype)


def recognition_loss(logits_TGE: Tensor, own_T: Tensor) -> Tensor:
    """Return the binary cross-entropy by which a leaf's router learns to recognise the leaf's own text.

    It covers all experts, not only a token's best, so that experts that are seldom chosen keep learning and stay in
    use. Own and public tokens weigh one half each, whatever their number, so that a token that could be either is left
    alone rather than claimed.

    Args:
        logits_TGE: routing logits.
        own_T: 1 for the leaf's own text, 0 for public text.
    """
    own_T = own_T.to(logits_TGE.dtype)
    targets_TGE = own_T[:, None, None].expand_as(logits_TGE)
    share = own_T.mean()
    weight_T = torch.where(own_T > 0, 0.5 / share, 0.5 / (1 - share))
    return F.binary_cross_entropy_with_logits(logits_TGE, targets_TGE, weight_T[:, None, None])
