"""Probes of the source: they learn, they teach the trunk, and they see training alone."""

import pytest
import torch

from baicai.model.config import GQAConfig, ModelConfig
from baicai.model.transformer import Transformer
from baicai.training.probes import SourceProbes

SIZES = ModelConfig(
    vocab_size=32,
    dim=16,
    num_layers=3,
    ffn_dim=32,
    max_tokens=16,
    attention=GQAConfig(num_heads=2, num_kv_heads=1, head_dim=8),
)


@pytest.fixture
def model() -> Transformer:
    model = Transformer(SIZES)
    model.initialize(0)
    return model


def test_the_loss_starts_at_chance_and_falls(model: Transformer) -> None:
    probes = SourceProbes(model, 4, 1)
    optimizer = torch.optim.AdamW([*model.parameters(), *probes.parameters()], lr=1e-2)
    source_BS = torch.arange(4)[:, None].expand(4, 8)
    tokens_BS = 8 * source_BS + torch.arange(8)  # each source has words of its own
    losses = []
    for _ in range(20):
        model.hidden(tokens_BS)
        loss = probes.loss(source_BS)
        loss.backward()  # type: ignore[no-untyped-call]
        assert model.embedding.weight.grad is not None
        assert model.embedding.weight.grad.abs().sum() > 0 or not losses, "rows at zero send nothing back at first"
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert losses[0] == pytest.approx(torch.tensor(4.0).log().item())
    assert losses[-1] < 0.5 * losses[0]


def test_one_probe_per_upper_layer_reads_the_normed_stream(model: Transformer) -> None:
    probes = SourceProbes(model, 2, 1)
    assert [tuple(row.shape) for row in probes.rows] == [(2, 16)] * 2
    with torch.no_grad():
        for row_KD in probes.rows:
            row_KD[0] = 1.0
    seen = []
    model.layers[1].shared_norm.register_forward_hook(lambda *call: seen.append(call[2]))  # type: ignore[union-attr]
    model.layers[2].shared_norm.register_forward_hook(lambda *call: seen.append(call[2]))  # type: ignore[union-attr]
    model.hidden(torch.arange(8)[None])
    sums = torch.stack([h.sum(-1) for h in seen])
    expected = torch.nn.functional.softplus(sums).mean()  # source 1 of two, whose logit is 0
    torch.testing.assert_close(probes.loss(torch.ones(1, 8, dtype=torch.int64)), expected)


def test_generation_is_not_recorded(model: Transformer) -> None:
    probes = SourceProbes(model, 2, 0)
    with torch.no_grad():
        model.hidden(torch.arange(8)[None])
    model.hidden(torch.arange(4)[None])
    assert probes.loss(torch.zeros(1, 4, dtype=torch.int64)).isfinite()


def test_loss_of_a_single_source_is_zero(model: Transformer) -> None:
    probes = SourceProbes(model, 1, 0)
    model.hidden(torch.arange(4)[None])
    assert probes.loss(torch.zeros(1, 4, dtype=torch.int64)).item() == 0
