"""RMSNorm."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812


class RMSNorm(nn.Module):
    """Scale to unit root mean square, in float32. Source: Zhang and Sennrich, 2019."""

    def __init__(self, size: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight.float()
        if x.device.type == "cpu" and torch.is_grad_enabled():
            out: Tensor = _RMSNorm.apply(x.float(), weight, self.eps)  # type: ignore[no-untyped-call]
        else:
            out = F.rms_norm(x.float(), weight.shape, weight, self.eps)
        return out.to(x.dtype)


class _RMSNorm(torch.autograd.Function):
    """RMSNorm for training on a CPU, where PyTorch's own is many small operations and its backward 3 times slower."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        length = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
        scale = length.square_().div_(x.shape[-1]).add_(eps).rsqrt_()
        ctx.save_for_backward(x, weight, scale)
        out: Tensor = (x * scale).mul_(weight)
        return out

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, Tensor | None, None]:
        (grad,), (x, weight, scale) = grad_outputs, ctx.saved_tensors
        normed = x * scale
        grad_weight = (grad * normed).flatten(0, -2).sum(0) if ctx.needs_input_grad[1] else None
        grad_normed = grad * weight
        along = torch.linalg.vecdot(grad_normed, normed).div_(x.shape[-1]).unsqueeze(-1)
        return grad_normed.sub_(normed.mul_(along)).mul_(scale), grad_weight, None
