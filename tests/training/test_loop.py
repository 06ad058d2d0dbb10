"""The training loop: golden losses, and that a kill at any moment changes no bit."""

import math
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from baicai.data.batches import Batch, Batches
from baicai.data.shards import TokenShards, write_tokens
from baicai.data.tokenizer import Tokenizer
from baicai.errors import ConfigError, MachineError
from baicai.model.config import GQAConfig, ModelConfig
from baicai.model.transformer import Transformer
from baicai.run import Run
from baicai.training import loop
from baicai.training.config import TrainConfig
from baicai.training.loop import LossFunction, mixed_precision, select_device, train
from baicai.training.losses import linear_cross_entropy

VOCAB = 32
SIZES = ModelConfig(
    vocab_size=VOCAB,
    dim=16,
    num_layers=2,
    ffn_dim=32,
    max_tokens=16,
    attention=GQAConfig(num_heads=2, num_kv_heads=1, head_dim=8, qk_norm=True),
)
TRAIN = TrainConfig(tokens=10 * 4 * 16, batch_sequences=4, sequence_tokens=16, learning_rate=3e-3, log_steps=1)
DEVICES = [
    "cpu",
    pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")),
]


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> list[TokenShards]:
    """Two sources of tokens in which each is followed by one of two."""
    alphabet = SimpleNamespace(vocab_size=VOCAB, hash="0" * 64, bytes_per_token=lambda: np.ones(VOCAB, np.int64))
    folder, sources = tmp_path_factory.mktemp("shards"), []
    for number in range(2):
        generator = torch.Generator().manual_seed(number)
        steps = torch.randint(1, 3, (600,), generator=generator)
        tokens = ((steps * (number + 1)).cumsum(0) % VOCAB).numpy()
        source_folder = folder / str(number)
        sources.append(write_tokens(tokens, cast(Tokenizer, alphabet), source_folder, source="test", licence="CC0-1.0"))
    return sources


class Clock:
    """Time that passes by a second whenever it is asked for."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def monotonic(self) -> float:
        self.seconds += 1
        return self.seconds


class Stage:
    """A tiny trunk to train."""

    def __init__(self, shards: list[TokenShards], config: TrainConfig = TRAIN, device: str = "cpu") -> None:
        self.config, self.device = config, device
        self.model = Transformer(SIZES)
        self.model.initialize(0)
        self.model.to(device)
        self.batches = Batches(shards, [3.0, 1.0], batch_sequences=4, sequence_tokens=16, seed=0)
        self.steps = 0

    def loss_of(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        self.steps += 1
        tokens_BS = batch.tokens_BS1.to(self.device)
        hidden_TD = self.model.hidden(tokens_BS[:, :-1]).flatten(0, 1)
        loss = linear_cross_entropy(hidden_TD, self.model.head_weight(), tokens_BS[:, 1:].flatten())
        return loss, {"tokens": tokens_BS.sum()}

    def train(self, run: Run, loss_of: LossFunction | None = None) -> dict[str, Any]:
        parameters = dict(self.model.named_parameters())
        return train("test", parameters, self.batches, loss_of or self.loss_of, self.config, run)

    def state(self) -> dict[str, Tensor]:
        return {name: tensor.detach().clone() for name, tensor in self.model.state_dict().items()}


def stopped_at(stage: Stage, step: int, change: Callable[[Tensor], Tensor] | None = None) -> LossFunction:
    """The stage's loss, which dies at a step or, given a change, is spoilt from there on."""

    def loss_of(batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        loss, parts = stage.loss_of(batch)
        if stage.steps <= step:
            return loss, parts
        if change is None:
            raise KeyboardInterrupt
        return change(loss), parts

    return loss_of


def figures(run: Run) -> list[dict[str, Any]]:
    return [{key: value for key, value in line.items() if key != "tokens_per_second"} for line in run.metrics()]


GOLDEN = [3.5089, 3.4609, 3.4525, 3.4169, 3.3882, 3.3808, 3.3316, 3.3411, 3.339, 3.3326]


def test_losses_of_ten_steps_are_unchanged(shards: list[TokenShards], tmp_path: Path) -> None:
    stage = Stage(shards)
    with Run(tmp_path / "out", TRAIN) as run:
        last = stage.train(run)
        lines = run.metrics()
    assert [line["loss"] for line in lines] == pytest.approx(GOLDEN, abs=1e-3)
    assert [line["step"] for line in lines] == list(range(1, 11))
    assert lines[0]["learning_rate"] == TRAIN.learning_rate
    assert lines[9]["learning_rate"] < 0.1 * TRAIN.learning_rate
    assert last["loss"] == lines[9]["loss"]
    assert last["step"] == 10


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("kills", [(0,), (1,), (4,), (9,), (2, 5, 9)])
def test_law_8_killed_and_resumed_equals_uninterrupted_bit_for_bit(
    shards: list[TokenShards], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kills: tuple[int, ...], device: str
) -> None:
    monkeypatch.setattr(loop, "time", Clock())  # a checkpoint every two or three steps
    config = TrainConfig(**{**vars(TRAIN), "checkpoint_seconds": 5.0, "device": device})
    whole = Stage(shards, config, device)
    with Run(tmp_path / "whole", config) as run:
        whole.train(run)
        expected = figures(run)
    begun = []
    for kill in kills:
        stage = Stage(shards, config, device)
        with Run(tmp_path / "broken", config) as run:
            checkpoint = run.resume()
            begun.append(checkpoint.state["step"] if checkpoint else 0)
            stage.steps = begun[-1]
            with pytest.raises(KeyboardInterrupt):
                stage.train(run, stopped_at(stage, kill))
    last = Stage(shards, config, device)
    with Run(tmp_path / "broken", config) as run:
        last.train(run)
        assert figures(run) == expected
    if len(kills) == 3:
        assert begun[0] == begun[1] == 0
        assert 0 < begun[2] < kills[1], "some steps were done twice, and not all of them"
    for name, tensor in whole.state().items():
        assert torch.equal(tensor, last.state()[name]), name


def test_a_finished_run_is_not_trained_further(shards: list[TokenShards], tmp_path: Path) -> None:
    first, again = Stage(shards), Stage(shards)
    with Run(tmp_path / "out", TRAIN) as run:
        before = first.train(run)
        after = again.train(run)
    assert again.steps == 0
    assert {key: after[key] for key in before} == before
    assert all(torch.equal(tensor, again.state()[name]) for name, tensor in first.state().items())


def nan(loss: Tensor) -> Tensor:
    return loss * math.nan


def steep(loss: Tensor) -> Tensor:
    """Finite, with a gradient that is not."""
    return loss.detach() + (loss - loss.detach()).sqrt()


@pytest.mark.parametrize("change", [nan, steep])
@pytest.mark.parametrize(("log_steps", "checkpoint_seconds"), [(1, 0.0), (4, 0.0), (1, 60.0)])
def test_a_loss_that_is_not_finite_is_an_error_and_keeps_the_checkpoint(
    shards: list[TokenShards],
    tmp_path: Path,
    change: Callable[[Tensor], Tensor],
    log_steps: int,
    checkpoint_seconds: float,
) -> None:
    config = TrainConfig(**{**vars(TRAIN), "log_steps": log_steps, "checkpoint_seconds": checkpoint_seconds})
    stage = Stage(shards, config)
    with Run(tmp_path / "out", config) as run:
        with pytest.raises(ConfigError, match=r"test: the loss is .* at step 6: lower learning_rate"):
            stage.train(run, stopped_at(stage, 5, change))
        checkpoint = run.resume()
        assert all(math.isfinite(line["loss"]) for line in run.metrics())
    if checkpoint_seconds:
        assert checkpoint is None
    else:
        assert checkpoint is not None
        assert checkpoint.state["step"] == 5
        assert all(tensor.isfinite().all() for tensor in checkpoint.tensors.values())


def test_only_the_given_parameters_change(shards: list[TokenShards], tmp_path: Path) -> None:
    stage = Stage(shards)
    before = stage.state()
    chosen = {name: p for name, p in stage.model.named_parameters() if name.startswith("layers.1")}
    for name, parameter in stage.model.named_parameters():
        parameter.requires_grad_(name in chosen)
    with Run(tmp_path / "out", TRAIN) as run:
        train("test", chosen, stage.batches, stage.loss_of, TRAIN, run)
    moved = {name for name, tensor in stage.state().items() if not torch.equal(tensor, before[name])}
    assert moved == set(chosen)


def test_vectors_do_not_decay_and_matrices_do(shards: list[TokenShards], tmp_path: Path) -> None:
    vector, matrix = nn.Parameter(torch.ones(4)), nn.Parameter(torch.ones(4, 4))
    batches = Stage(shards).batches

    def loss_of(_: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        return 0.0 * (vector.sum() + matrix.sum()), {}

    with Run(tmp_path / "out", TRAIN) as run:
        train("test", {"vector": vector, "matrix": matrix}, batches, loss_of, TRAIN, run)
        rates = [line["learning_rate"] for line in run.metrics()]
    assert torch.equal(vector.detach(), torch.ones(4))
    decayed = math.prod(1 - TRAIN.weight_decay * rate for rate in rates)
    torch.testing.assert_close(matrix.detach(), torch.full((4, 4), decayed), rtol=1e-5, atol=0)


def test_gradients_are_clipped_to_the_norm(shards: list[TokenShards], tmp_path: Path) -> None:
    parameter = nn.Parameter(torch.zeros(16))

    def loss_of(_: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        return 100.0 * parameter.sum(), {}

    config = TrainConfig(**{**vars(TRAIN), "tokens": TRAIN.step_tokens, "clip_norm": 0.5})
    optimizer_saw: list[float] = []
    step = torch.optim.AdamW.step

    def spy(self: torch.optim.AdamW, *args: Any) -> Any:
        assert parameter.grad is not None
        optimizer_saw.append(float(parameter.grad.norm()))
        return step(self, *args)

    with pytest.MonkeyPatch.context() as patch, Run(tmp_path / "out", config) as run:
        patch.setattr(torch.optim.AdamW, "step", spy)
        train("test", {"p": parameter}, Stage(shards).batches, loss_of, config, run)
        assert run.metrics()[0]["gradient_norm"] == pytest.approx(400)
    assert optimizer_saw == pytest.approx([0.5])


def test_steps_are_counted_from_tokens() -> None:
    assert (TRAIN.step_tokens, TRAIN.steps) == (64, 10)
    assert TrainConfig(tokens=1).steps == 1
    assert TrainConfig(tokens=2 * 4096 - 1).steps == 1


def test_a_missing_device_is_a_one_line_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert select_device("auto").type == select_device("cpu").type == "cpu"
    with pytest.raises(MachineError, match=r"device=cuda, but this machine or .* has no CUDA: use device=cpu"):
        select_device("cuda")


@pytest.mark.parametrize(
    ("dtype", "fast", "product"),
    [
        ("auto", False, torch.float32),
        ("auto", True, torch.bfloat16),
        ("float32", True, torch.float32),
        ("bfloat16", False, torch.bfloat16),
    ],
)
def test_products_have_the_configured_or_the_fast_type(
    monkeypatch: pytest.MonkeyPatch, dtype: str, fast: bool, product: torch.dtype
) -> None:
    monkeypatch.setattr("baicai.training.loop.has_fast_bfloat16", lambda device: fast)
    config = TrainConfig(**{**vars(TRAIN), "dtype": dtype})
    with mixed_precision(config, torch.device("cpu")):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == product
