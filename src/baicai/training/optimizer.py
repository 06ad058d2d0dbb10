"""The optimizer and its state as named tensors."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn


def adamw(parameters: Mapping[str, nn.Parameter], *, learning_rate: float, weight_decay: float) -> torch.optim.AdamW:
    """Return AdamW (Loshchilov and Hutter, 2019) that decays matrices and leaves vectors alone."""
    matrices = [p for p in parameters.values() if p.ndim >= 2]
    vectors = [p for p in parameters.values() if p.ndim < 2]
    groups = [{"params": matrices, "weight_decay": weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    return torch.optim.AdamW([g for g in groups if g["params"]], lr=learning_rate, betas=(0.9, 0.95), fused=True)


def state_tensors(optimizer: torch.optim.Optimizer, parameters: Mapping[str, nn.Parameter]) -> dict[str, Tensor]:
    """Return the optimizer's state, keyed `optimizer/PARAMETER/KIND`."""
    return {
        f"optimizer/{name}/{kind}": tensor
        for name, parameter in parameters.items()
        for kind, tensor in optimizer.state[parameter].items()
    }


def restore(
    optimizer: torch.optim.Optimizer, parameters: Mapping[str, nn.Parameter], tensors: Mapping[str, Tensor]
) -> None:
    """Put back what `state_tensors` gave."""
    for key, tensor in tensors.items():
        area, *middle, kind = key.split("/")
        if area == "optimizer":
            parameter = parameters["/".join(middle)]
            optimizer.state[parameter][kind] = tensor.to(parameter.device)


def state_bytes(num_parameters: int) -> int:
    """Return the bytes that training holds for float32 parameters beyond their own: gradient and two moments."""
    return 3 * 4 * num_parameters
