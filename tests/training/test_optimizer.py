"""Muon against its slow twin, and who trains what."""

import pytest
import torch
from torch import Tensor, nn

from baicai.training.optimizer import Muon, make_optimizers, orthogonalize, restore, state_tensors, training_bytes


def matrix(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("shape", [(16, 16), (8, 32), (32, 8), (3, 8, 16), (3, 16, 8)])
def test_singular_values_approach_one_and_vectors_stay(shape: tuple[int, ...]) -> None:
    result = orthogonalize(matrix(*shape))
    assert result.dtype == torch.float32
    assert result.shape == shape
    values = torch.linalg.svdvals(result)
    assert 0.6 < float(values.min()) <= float(values.max()) < 1.3
    left, _, right = torch.linalg.svd(matrix(*shape), full_matrices=False)
    polar = left @ right
    assert float((result * polar).sum() / (result.norm() * polar.norm())) > 0.97


def test_a_gradient_of_zero_changes_nothing() -> None:
    assert torch.equal(orthogonalize(torch.zeros(4, 8)), torch.zeros(4, 8))


@pytest.mark.parametrize("shape", [(8, 16), (16, 8), (3, 8, 16)])
def test_muon_matches_its_slow_twin(shape: tuple[int, ...]) -> None:
    parameters = [nn.Parameter(matrix(*shape, seed=seed)) for seed in range(2)]
    slow = [parameter.detach().clone() for parameter in parameters]
    momentum = [torch.zeros(shape) for _ in parameters]
    optimizer = Muon(parameters, learning_rate=0.1, weight_decay=0.2)
    for step in range(3):
        for number, parameter in enumerate(parameters):
            gradient = matrix(*shape, seed=10 * step + number)
            parameter.grad = gradient.clone()
            momentum[number] = 0.95 * momentum[number] + 0.05 * gradient
            ahead = 0.95 * momentum[number] + 0.05 * gradient
            moves = torch.stack([orthogonalize(m) for m in ahead.reshape(-1, *shape[-2:])]).reshape(shape)
            slow[number] = slow[number] * (1 - 0.1 * 0.2) - 0.1 * 0.2 * max(shape[-2:]) ** 0.5 * moves
        optimizer.step()
    for parameter, expected in zip(parameters, slow, strict=True):
        torch.testing.assert_close(parameter.detach(), expected, atol=2e-3, rtol=0)


def test_muon_trains_inner_matrices_and_adamw_the_rest() -> None:
    shapes = {
        "embedding.weight": (8, 4),
        "head.weight": (8, 4),
        "layers.0.shared.up.weight": (8, 4),
        "layers.1.router_ED": (2, 4),
        "layers.1.gate_EFD": (2, 3, 4),
        "probe/rows.0": (2, 4),
        "norm.weight": (4,),
    }
    parameters = {name: nn.Parameter(torch.ones(shape)) for name, shape in shapes.items()}
    optimizers = make_optimizers(parameters, learning_rate=1e-3, weight_decay=0.1)
    for parameter in parameters.values():
        parameter.grad = torch.ones_like(parameter)
    for optimizer in optimizers:
        optimizer.step()
    state = state_tensors(optimizers, parameters)
    inner = {name.split("/")[1] for name in state if name.endswith("/momentum")}
    assert inner == {"layers.0.shared.up.weight", "layers.1.gate_EFD"}
    assert {name for name in shapes if f"optimizer/{name}/exp_avg_sq" in state} == shapes.keys() - inner
    held = sum(tensor.numel() for key, tensor in state.items() if not key.endswith("/step"))
    assert training_bytes(parameters) == 4 * (held + sum(p.numel() for p in parameters.values()))


def test_state_is_restored() -> None:
    def fresh() -> dict[str, nn.Parameter]:
        return {"up": nn.Parameter(matrix(4, 8)), "norm": nn.Parameter(torch.ones(4))}

    def step(parameters: dict[str, nn.Parameter], optimizers: list[torch.optim.Optimizer], seed: int) -> None:
        for parameter in parameters.values():
            parameter.grad = matrix(*parameter.shape, seed=seed)
        for optimizer in optimizers:
            optimizer.step()

    trained = fresh()
    optimizers = make_optimizers(trained, learning_rate=0.1, weight_decay=0.1)
    step(trained, optimizers, 1)
    restored = {name: nn.Parameter(parameter.detach().clone()) for name, parameter in trained.items()}
    resumed = make_optimizers(restored, learning_rate=0.1, weight_decay=0.1)
    restore(resumed, restored, {key: tensor.clone() for key, tensor in state_tensors(optimizers, trained).items()})
    step(trained, optimizers, 2)
    step(restored, resumed, 2)
    assert all(torch.equal(trained[name], restored[name]) for name in trained)
