"""The training loss equals one computed with torch.nn.functional from both models' full logits and the gate."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from baicai.data.batches import Batch
from baicai.data.shards import write_shards
from baicai.data.sources import SourceConfig
from baicai.data.tokenizer import Tokenizer
from baicai.distillation.config import DistillRecipe, TeachConfig
from baicai.distillation.teacher.cache import CacheConfig, read_soft_targets, write_cache
from baicai.distillation.teacher.models import Teacher, open_teacher
from baicai.distillation.training.data_mix import GapWeightedBatches
from baicai.distillation.training.train_student import TeacherSignal, distillation_loss, language_modeling_loss
from baicai.errors import ConfigError
from baicai.model.transformer import Transformer
from baicai.training.config import TrainConfig
from baicai.training.loop import LossFunction
from tests.convert.models import make_model
from tests.data.texts import document
from tests.distillation.conftest import CPU

LENGTH, SHARE = 24, 0.7
GAPS = [0.3, -0.1]
TRAIN = TrainConfig(tokens=1, batch_sequences=6, sequence_tokens=LENGTH, seed=3, dtype="float32", device="cpu")
GATES = ["ability", "document", "token", "off"]


@dataclasses.dataclass(frozen=True)
class Setup:
    """A batch, a teacher and a student."""

    teacher: Teacher
    student: Transformer
    signal: TeacherSignal
    batches: GapWeightedBatches
    batch: Batch

    def loss_of(self, **teach: Any) -> LossFunction:
        config = TeachConfig(**{"share": SHARE, "signal": "cache" if self.signal.caches else "online"} | teach)
        text = [SourceConfig(path="text", domain="text")]
        recipe = DistillRecipe(teacher="teacher", data=text, held_out=text, teach=config, train=TRAIN)
        return distillation_loss(self.student, self.signal, recipe, self.batches)

    def logits(self, tokens_BS: Tensor) -> tuple[Tensor, Tensor]:
        """Return the student's and the teacher's logits over the tokenizer's vocabulary, each [T, V]."""
        vocab_size = self.teacher.vocab_size
        ours, theirs = self.student(tokens_BS)[..., :vocab_size], self.teacher.logits(self.teacher.hidden(tokens_BS))
        return ours.flatten(0, 1), theirs.flatten(0, 1)


def set_up(teacher: Teacher, folder: Path, cached: bool) -> Setup:
    """Prepare two texts of short documents and an untrained student."""
    texts = [[document(40 * n + i, 3 + i % 7) for i in range(60)] for n in range(2)]
    sources = [write_shards(text, teacher.tokenizer, folder / f"text-{n}") for n, text in enumerate(texts)]
    config = CacheConfig(samples=12, sequence_tokens=LENGTH)
    caches = [write_cache(folder / f"cache-{n}", teacher, shards, config) for n, shards in enumerate(sources)]
    student = Transformer(dataclasses.replace(teacher.shape.model, num_layers=1))
    student.initialize(5)
    torch.nn.init.normal_(student.embedding.weight, std=0.08, generator=torch.Generator().manual_seed(6))
    bits = {"text": 1.0}
    end_id = teacher.tokenizer.end_id
    signal = TeacherSignal(teacher, caches if cached else [], end_id, bits, student_bits=lambda *_: 1.0)
    batches = GapWeightedBatches(
        sources, [1, 1], lambda _: (GAPS, [1, 1]), 100, batch_sequences=6, sequence_tokens=LENGTH, seed=3
    )
    return Setup(teacher, student, signal, batches, batches.next())


@pytest.fixture
def online(teacher: Teacher, tmp_path: Path) -> Setup:
    return set_up(teacher, tmp_path, cached=False)


@pytest.fixture
def cached(teacher: Teacher, tmp_path: Path) -> Setup:
    return set_up(teacher, tmp_path, cached=True)


def kl(p_TV: Tensor, q_TV: Tensor) -> Tensor:
    """KL(p || q) of logits, [T]."""
    return F.kl_div(q_TV.log_softmax(-1), p_TV.log_softmax(-1), reduction="none", log_target=True).sum(-1)


def jensen_shannon(ours_TV: Tensor, theirs_TV: Tensor, beta: float) -> Tensor:
    mixed_TV = (beta * theirs_TV.softmax(-1) + (1 - beta) * ours_TV.softmax(-1)).log()
    return beta * kl(theirs_TV, mixed_TV) + (1 - beta) * kl(ours_TV, mixed_TV)


DIVERGENCES: dict[str, tuple[dict[str, Any], Callable[[Tensor, Tensor], Tensor]]] = {
    "forward": ({"divergence": "forward_kl"}, lambda ours, theirs: kl(theirs, ours)),
    "reverse": ({"divergence": "reverse_kl"}, kl),
    "jensen-shannon": (
        {"divergence": "jensen_shannon", "beta": 0.2},
        lambda ours, theirs: jensen_shannon(ours, theirs, 0.2),
    ),
    "forward at 2": (
        {"divergence": "forward_kl", "temperature": 2.0},
        lambda ours, theirs: 4 * kl(theirs / 2, ours / 2),
    ),
}


def plain_share(gate: str, setup: Setup, ours_T: Tensor, theirs_T: Tensor) -> Tensor:
    """Return the teacher's share of each token, by a loop over nats of the real next tokens."""
    inputs, share_BS = setup.batch.tokens_BS1[:, :-1].tolist(), torch.zeros(6, LENGTH)
    worse_BS = (theirs_T - ours_T).view(6, LENGTH)
    for row, source in enumerate(setup.batch.source_B.tolist()):
        starts = [position for position, token in enumerate(inputs[row]) if token == setup.signal.end_id]
        spans = {
            "ability": [(0, LENGTH)],
            "off": [(0, LENGTH)],
            "token": [(position, position + 1) for position in range(LENGTH)],
            "document": list(zip([0, *starts], [*starts, LENGTH], strict=True)),
        }
        for start, stop in spans[gate]:
            followed = {"ability": GAPS[source] > 0, "off": True}.get(gate, float(worse_BS[row, start:stop].sum()) <= 0)
            share_BS[row, start:stop] = SHARE * followed
    return share_BS.flatten()


def check(setup: Setup, loss_of: LossFunction, nats_T: Tensor, real_T: Tensor, share_T: Tensor) -> None:
    """Check the loss and its gradients against the plain mixture."""
    expected, parameters = (share_T * nats_T + (1 - share_T) * real_T).mean(), list(setup.student.parameters())
    gradients = torch.autograd.grad(expected, parameters)
    loss, parts = loss_of(setup.batch)
    torch.testing.assert_close(loss, expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(parts["teacher_share"], share_T.mean())
    torch.testing.assert_close(torch.autograd.grad(loss, parameters), gradients, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("gate", GATES)
@pytest.mark.parametrize(("teach", "divergence"), DIVERGENCES.values(), ids=DIVERGENCES)
def test_loss_against_full_distribution(
    online: Setup, gate: str, teach: dict[str, Any], divergence: Callable[[Tensor, Tensor], Tensor]
) -> None:
    ours_TV, theirs_TV = online.logits(online.batch.tokens_BS1[:, :-1])
    targets_T = online.batch.tokens_BS1[:, 1:].flatten()
    real_T, teacher_T = (F.cross_entropy(logits, targets_T, reduction="none") for logits in (ours_TV, theirs_TV))
    share_T = plain_share(gate, online, real_T.detach(), teacher_T)
    assert len(share_T.unique()) == (1 if gate == "off" else 2), "the gate is partly open, partly closed"
    check(online, online.loss_of(gate=gate, **teach), divergence(ours_TV, theirs_TV), real_T, share_T)


@pytest.mark.parametrize("gate", GATES)
def test_loss_against_sampled_tokens(cached: Setup, gate: str) -> None:
    ours_TV, _ = cached.logits(cached.batch.tokens_BS1[:, :-1])
    real_T = F.cross_entropy(ours_TV, cached.batch.tokens_BS1[:, 1:].flatten(), reduction="none")
    rows = read_soft_targets(cached.signal.caches, cached.batch)
    samples_TN = rows.samples_BSN.flatten(0, 1)
    sampled_T = torch.stack([F.cross_entropy(ours_TV, ids_T, reduction="none") for ids_T in samples_TN.T]).mean(0)
    share_T = plain_share(gate, cached, real_T.detach(), rows.nats_BS.flatten())
    check(cached, cached.loss_of(gate=gate), sampled_T, real_T, share_T)


def test_loss_on_real_text_alone(online: Setup) -> None:
    text = [SourceConfig(path="text", domain="text")]
    loss_of = language_modeling_loss(
        online.student, DistillRecipe(teacher="teacher", data=text, held_out=text, train=TRAIN)
    )
    logits_TV = online.student(online.batch.tokens_BS1[:, :-1]).flatten(0, 1)
    expected = F.cross_entropy(logits_TV, online.batch.tokens_BS1[:, 1:].flatten())
    torch.testing.assert_close(loss_of(online.batch), (expected, {}), atol=1e-6, rtol=1e-6)


def record_inputs(setup: Setup, monkeypatch: pytest.MonkeyPatch) -> list[Tensor]:
    """Record the inputs of the teacher's forward passes from here on."""
    inputs: list[Tensor] = []
    hidden = setup.teacher.hidden
    monkeypatch.setattr(setup.teacher, "hidden", lambda tokens_BS: inputs.append(tokens_BS) or hidden(tokens_BS))
    return inputs


@pytest.mark.parametrize("signal", ["cache", "online"])
def test_teacher_scores_the_students_own_text(
    teacher: Teacher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, signal: str
) -> None:
    setup = set_up(teacher, tmp_path, cached=signal == "cache")
    inputs = record_inputs(setup, monkeypatch)
    loss_of = setup.loss_of(on_policy=1.0)
    loss_of(setup.batch)
    (read_BS,) = inputs
    prompt_tokens = (LENGTH + 1) // 2
    assert torch.equal(read_BS[:, :prompt_tokens], setup.batch.tokens_BS1[:, :prompt_tokens]), "the prompt is real text"
    assert not torch.equal(read_BS[:, prompt_tokens:], setup.batch.tokens_BS1[:, prompt_tokens:-1])
    ours_TV, theirs_TV = setup.logits(read_BS)
    next_BS = torch.cat([read_BS[:, 1:], read_BS[:, :1]], 1)  # the last target has no weight
    real_T = F.cross_entropy(ours_TV, next_BS.flatten(), reduction="none")
    share_T = (torch.arange(LENGTH) >= prompt_tokens - 1).float().repeat(6)
    check(setup, loss_of, kl(theirs_TV, ours_TV), real_T, share_T)


def test_on_policy_text_depends_on_the_step_alone(online: Setup, monkeypatch: pytest.MonkeyPatch) -> None:
    inputs = record_inputs(online, monkeypatch)
    for count in (1, 2, 1):
        online.batches.count = count
        torch.manual_seed(count)
        online.loss_of(on_policy=1.0)(online.batch)
    assert torch.equal(inputs[0], inputs[2])
    assert not torch.equal(inputs[0], inputs[1])


def test_on_policy_is_the_share_of_on_policy_steps(online: Setup) -> None:
    loss_of, shares = online.loss_of(on_policy=0.25, gate="off"), []
    for count in range(1, 61):
        online.batches.count = count
        shares.append(round(float(loss_of(online.batch)[1]["teacher_share"]), 4))
    on_policy = round((LENGTH - (LENGTH + 1) // 2 + 1) / LENGTH, 4)
    assert set(shares) == {on_policy, SHARE}
    assert shares.count(on_policy) / 60 == pytest.approx(0.25, abs=0.12)


@pytest.mark.parametrize("on_policy", [0.0, 1.0])
def test_rows_beyond_the_vocabulary_are_ignored(
    tokenizer: Tokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, on_policy: float
) -> None:
    make_model(tmp_path / "teacher", tokenizer, num_leaves=1, vocab_size=tokenizer.vocab_size + 200)
    teacher = open_teacher(tmp_path / "teacher" / "model", None, CPU)
    setup = set_up(teacher, tmp_path, cached=False)
    assert len(setup.student.embedding.weight) == teacher.vocab_size + 200
    inputs = record_inputs(setup, monkeypatch)
    loss, _ = setup.loss_of(on_policy=on_policy, gate="off")(setup.batch)
    assert inputs[0].max() < teacher.vocab_size
    loss.backward()
    gradient = setup.student.embedding.weight.grad
    assert loss.isfinite()
    assert gradient is not None
    assert not gradient[teacher.vocab_size :].any()
    assert gradient[: teacher.vocab_size].any(1).all()


def test_cache_rejects_losses_that_need_the_full_distribution() -> None:
    for wrong in ({"divergence": "reverse_kl"}, {"divergence": "jensen_shannon"}, {"temperature": 2.0}):
        with pytest.raises(ConfigError, match=r"a cache holds tokens sampled .+: use teach\.signal=online"):
            TeachConfig(**wrong)
    for signal in ("sequences", "none"):
        with pytest.raises(ConfigError, match=f"on_policy needs a teacher .+, and teach.signal={signal} has none"):
            TeachConfig(signal=signal, on_policy=0.1)
