"""Optimizers, and their state as named tensors: Muon for matrices inside layers, AdamW for all other parameters."""

from collections import defaultdict
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from baicai.model.layers import has_fast_bfloat16
from baicai.training.distributed import map_over_ranks, shard_like

NOT_MUON = ("embedding", "head", "router", "probe")
"""Matrices whose input or output is not the residual stream; AdamW trains them better."""


class Muon(torch.optim.Optimizer):
    """Muon: momentum with orthogonalised matrices, AdamW's step size and decoupled weight decay.

    torch.optim.Muon takes single matrices. This one takes stacks of experts, and steps all matrices of one shape at
    once.
    Source: Jordan et al., Muon, 2024; step size: Liu et al., Muon is Scalable, 2025, equation 4.
    """

    def __init__(self, parameters: Sequence[nn.Parameter], *, learning_rate: float, weight_decay: float) -> None:
        super().__init__(parameters, {"lr": learning_rate, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Update every parameter that has a gradient."""
        for group in self.param_groups:
            by_shape: dict[tuple[int, ...], list[nn.Parameter]] = defaultdict(list)
            for parameter in group["params"]:
                if parameter.grad is not None:
                    by_shape[parameter.shape].append(parameter)
            for shape, parameters in by_shape.items():
                momenta = torch.stack([self._momentum(parameter) for parameter in parameters])
                updates = map_over_ranks(orthogonalize, momenta)
                size = group["lr"] * 0.2 * max(shape[-2:]) ** 0.5
                for parameter, update in zip(parameters, updates, strict=True):
                    parameter.mul_(1 - group["lr"] * group["weight_decay"]).add_(update, alpha=-size)

    def _momentum(self, parameter: nn.Parameter) -> Tensor:
        assert parameter.grad is not None
        state = self.state[parameter]
        if not state:
            state["momentum"] = torch.zeros_like(parameter)
        state["momentum"].lerp_(parameter.grad, 0.05)
        return parameter.grad.lerp(state["momentum"], 0.95)  # Nesterov momentum


def orthogonalize(matrices: Tensor, steps: int = 5) -> Tensor:
    """Return matrices [..., rows, columns] with the same singular vectors and singular values near 1, float32.

    Source: Jordan et al., Muon, 2024 (a quintic Newton-Schulz iteration, in bfloat16 where that is fast).
    """
    tall = matrices.shape[-2] > matrices.shape[-1]
    x = matrices.mT if tall else matrices
    x = (x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)).to(torch.bfloat16 if has_fast_bfloat16(x.device) else x.dtype)
    for _ in range(steps):
        gram = x @ x.mT
        x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
    result: Tensor = x.mT if tall else x
    return result.float()


def make_optimizers(
    parameters: Mapping[str, nn.Parameter], *, learning_rate: float, weight_decay: float
) -> list[torch.optim.Optimizer]:
    """Make the optimizers of named parameters. Weight decay applies to matrices, not to vectors."""
    inner = [p for name, p in parameters.items() if _is_inner(name, p)]
    outer = [p for name, p in parameters.items() if p.ndim >= 2 and not _is_inner(name, p)]
    vectors = [p for p in parameters.values() if p.ndim < 2]
    optimizers: list[torch.optim.Optimizer] = []
    if inner:
        optimizers.append(Muon(inner, learning_rate=learning_rate, weight_decay=weight_decay))
    groups = [{"params": outer, "weight_decay": weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    groups = [group for group in groups if group["params"]]
    if groups:
        optimizers.append(torch.optim.AdamW(groups, lr=learning_rate, betas=(0.9, 0.95), fused=True))
    return optimizers


def _is_inner(name: str, parameter: Tensor) -> bool:
    return parameter.ndim >= 2 and not any(word in name for word in NOT_MUON)


def training_bytes(parameters: Mapping[str, Tensor]) -> int:
    """Return the bytes of gradients and optimizer state for float32 parameters: one moment for Muon, two for AdamW."""
    return sum(4 * p.numel() * (2 if _is_inner(name, p) else 3) for name, p in parameters.items())


def state_tensors(
    optimizers: Sequence[torch.optim.Optimizer], parameters: Mapping[str, nn.Parameter]
) -> dict[str, Tensor]:
    """Return the optimizers' state, keyed `optimizer/PARAMETER/KIND`."""
    return {
        f"optimizer/{name}/{kind}": tensor
        for optimizer in optimizers
        for name, parameter in parameters.items()
        for kind, tensor in optimizer.state.get(parameter, {}).items()
    }


def restore(
    optimizers: Sequence[torch.optim.Optimizer],
    parameters: Mapping[str, nn.Parameter],
    tensors: Mapping[str, Tensor],
) -> None:
    """Restore the optimizers' state from the result of `state_tensors`."""
    owners = {p: optimizer for optimizer in optimizers for group in optimizer.param_groups for p in group["params"]}
    for key, tensor in tensors.items():
        area, *middle, kind = key.split("/")
        if area == "optimizer":
            parameter = parameters["/".join(middle)]
            owners[parameter].state[parameter][kind] = shard_like(tensor, parameter)
