"""Training of a student: its data, its loss, and the training loop as a nested run.

Shape suffixes: B sequences, S positions, P tokens of a prompt, T tokens, D width of the student, E of the teacher,
V vocabulary, N samples.
"""

import functools
import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypedDict

import torch
from torch import Tensor

from baicai.artefact import atomic_folder, write_json, write_tensors
from baicai.data.batches import Batch, Batches
from baicai.data.shards import TokenShards
from baicai.distillation.config import DistillRecipe, TeachConfig
from baicai.distillation.measuring.metrics import target_nats
from baicai.distillation.student.initialize import Student
from baicai.distillation.teacher.cache import TeacherCache, read_soft_targets
from baicai.distillation.teacher.models import Teacher
from baicai.distillation.training import losses
from baicai.distillation.training.data_mix import GapWeightedBatches, domain_weight
from baicai.errors import ConfigError
from baicai.inference.generate import generate_batch
from baicai.model.transformer import Transformer
from baicai.run import Run
from baicai.training.loop import LossFunction, loss_curve, mixed_precision, train
from baicai.training.losses import linear_cross_entropy

GAP_MEASUREMENTS = 10
"""Number of times that the gap between student and teacher is measured during training."""

Loss = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
"""From hidden states [T, D], head weights [V, D], targets [T] and the teacher's share [T] to the mean loss."""


@dataclass(frozen=True)
class StudentData:
    """Training text of a student; all three sequences have one entry per source."""

    domains: Sequence[str]
    sources: Sequence[TokenShards]
    weights: Sequence[float]


@dataclass(frozen=True)
class TeacherSignal:
    """The teacher's supervision, and its quality relative to the student's."""

    teacher: Teacher
    caches: Sequence[TeacherCache]
    """Cached soft targets of each source; empty if the teacher runs at every step."""
    end_id: int
    """Token that ends a document."""
    teacher_bits: Mapping[str, float]
    """The teacher's bits per byte on the probe windows of each domain."""
    student_bits: Callable[[Transformer, str], float]
    """From a student and a domain to the student's current bits per byte on the same windows."""


class TrainingResult(TypedDict):
    """Contents of training.json."""

    loss: float
    curve: list[dict[str, float]]
    mix: list[dict[str, float | dict[str, float]]]
    """Data mix and gaps to the teacher over the course of training: step, tokens, and shares and gaps by domain."""


def train_student(
    student: Student, data: StudentData, signal: TeacherSignal | None, config: DistillRecipe, run: Run
) -> None:
    """Train a student and write its weights and a `TrainingResult` to the run's artefact folder.

    Without a signal it trains on real text alone.
    """
    model, parameters, train_config = student.model, student.trainable_parameters(), config.train
    sizes = {"batch_sequences": train_config.batch_sequences, "sequence_tokens": train_config.sequence_tokens}
    loss_of = language_modeling_loss(model, config)
    if signal is None:
        batches = Batches(data.sources, data.weights, **sizes, seed=train_config.seed)
    else:
        measure = functools.partial(_measure_gaps, model, data, signal, config, run)
        every = -(-train_config.steps // GAP_MEASUREMENTS)
        batches = GapWeightedBatches(data.sources, data.weights, measure, every, **sizes, seed=train_config.seed)
        if config.teach.signal != "sequences":  # the generated text is among the sources
            loss_of = distillation_loss(model, signal, config, batches)
    metrics = train(run.out.name, parameters, batches, loss_of, train_config, run)
    mix = {line["step"]: line for line in run.metrics() if "gaps" in line}  # a step may be logged twice after a kill
    with atomic_folder(run.out) as part:
        write_tensors(part / "weights.safetensors", {name: p.detach().cpu() for name, p in parameters.items()})
        write_json(
            part / "training.json",
            {"loss": metrics["loss"], "curve": loss_curve(run, train_config), "mix": list(mix.values())},
        )


def _measure_gaps(
    model: Transformer, data: StudentData, signal: TeacherSignal, config: DistillRecipe, run: Run, step: int
) -> tuple[list[float], list[float]]:
    """Measure and log the gaps, as a `MeasureGaps` function."""
    teacher_bits, weights = signal.teacher_bits, list(data.weights)
    student_bits = {domain: signal.student_bits(model, domain) for domain in dict.fromkeys(data.domains)}
    for domain, bits in student_bits.items():
        if not math.isfinite(bits):
            raise ConfigError(f"{run.out.name}: {bits} bits per byte on '{domain}' at step {step}: lower learning_rate")
    gaps = {domain: bits - teacher_bits[domain] for domain, bits in student_bits.items()}
    if config.mix == "gap":
        weights = [
            domain_weight(importance, teacher_bits[domain], student_bits[domain])
            for domain, importance in zip(data.domains, data.weights, strict=True)
        ]
    shares = dict.fromkeys(student_bits, 0.0)
    for domain, weight in zip(data.domains, weights, strict=True):
        shares[domain] += weight / sum(weights)
    run.log({"step": step, "tokens": step * config.train.step_tokens, "gaps": gaps, "shares": shares})
    return [gaps[domain] for domain in data.domains], weights


def language_modeling_loss(model: Transformer, config: DistillRecipe) -> LossFunction:
    """Return the cross-entropy loss on real or generated text, without soft targets."""

    def loss_of(batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        tokens_BS1 = batch.tokens_BS1.to(model.embedding.weight.device)
        with mixed_precision(config.train, tokens_BS1.device):
            hidden_TD = model.hidden(tokens_BS1[:, :-1]).flatten(0, 1)
            return linear_cross_entropy(hidden_TD, model.head_weight(), tokens_BS1[:, 1:].flatten()), {}

    return loss_of


def distillation_loss(
    model: Transformer, signal: TeacherSignal, config: DistillRecipe, batches: GapWeightedBatches
) -> LossFunction:
    """Return the loss against the teacher's soft targets and real text.

    In a share of the steps, `on_policy`, the student continues prompts of real text itself and only the teacher's
    distribution over the continuation counts. The choice of steps depends on the seed and the step alone.
    """
    teach, train_config = config.teach, config.train

    def loss_of(batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        tokens_BS1 = batch.tokens_BS1.to(model.embedding.weight.device)
        on_policy = random.Random(f"{train_config.seed} {batches.count}").random() < teach.on_policy
        if on_policy:
            prompts_BP = tokens_BS1[:, : tokens_BS1.shape[1] // 2]
            seed = train_config.seed * 2**32 + batches.count
            num_tokens, vocab_size = tokens_BS1.shape[1] - prompts_BP.shape[1], signal.teacher.vocab_size
            generated_BN = generate_batch(model, prompts_BP, num_tokens, seed, vocab_size=vocab_size)
            tokens_BS1 = torch.cat([prompts_BP, generated_BN], 1)
        targets_T = tokens_BS1[:, 1:].flatten()
        with mixed_precision(train_config, tokens_BS1.device):
            hidden_TD, head_VD = model.hidden(tokens_BS1[:, :-1]).flatten(0, 1), model.head_weight()
            if on_policy:
                share_BS = (torch.arange(tokens_BS1.shape[1] - 1) >= prompts_BP.shape[1] - 1).float()
                share_T = share_BS.repeat(len(tokens_BS1))
                _, loss = _online_signal(signal.teacher, teach, tokens_BS1)
            else:
                teacher_nats, loss = _text_signal(signal, teach, batch, tokens_BS1)
                student_nats = functools.partial(target_nats, model, hidden_TD.detach(), targets_T)
                share_T = _gated_share(teach, signal, batches, batch, teacher_nats, student_nats)
            share_T = share_T.to(hidden_TD.device)
            return loss(hidden_TD, head_VD, targets_T, share_T), {"teacher_share": share_T.mean()}

    return loss_of


def _text_signal(
    signal: TeacherSignal, teach: TeachConfig, batch: Batch, tokens_BS1: Tensor
) -> tuple[Callable[[], Tensor], Loss]:
    """Return a function for the teacher's nats of the real next tokens, [T], and the loss against its soft targets."""
    if not signal.caches:
        return _online_signal(signal.teacher, teach, tokens_BS1)
    rows = read_soft_targets(signal.caches, batch)
    nats_T, samples_TN = (rows_BS.to(tokens_BS1.device).flatten(0, 1) for rows_BS in (rows.nats_BS, rows.samples_BSN))

    def loss(hidden_TD: Tensor, head_VD: Tensor, targets_T: Tensor, share_T: Tensor) -> Tensor:
        return losses.linear_sampled_loss(hidden_TD, head_VD, targets_T, samples_TN, share_T)

    return lambda: nats_T, loss


def _online_signal(teacher: Teacher, teach: TeachConfig, tokens_BS1: Tensor) -> tuple[Callable[[], Tensor], Loss]:
    """Return the same as `_text_signal`, from a forward pass of the teacher."""
    teacher_TE = teacher.hidden(tokens_BS1[:, :-1]).flatten(0, 1)

    def loss(hidden_TD: Tensor, head_VD: Tensor, targets_T: Tensor, share_T: Tensor) -> Tensor:
        vocab_VD = head_VD[: teacher.vocab_size]  # further rows stand for no token
        divergence = select_divergence(teach)
        return losses.linear_divergence(hidden_TD, vocab_VD, targets_T, teacher_TE, teacher.logits, share_T, divergence)

    return functools.partial(target_nats, teacher, teacher_TE, tokens_BS1[:, 1:].flatten()), loss


def select_divergence(teach: TeachConfig) -> losses.Divergence:
    """Return the divergence that a recipe selects."""
    if teach.divergence == "jensen_shannon":
        return functools.partial(losses.jensen_shannon, beta=teach.beta, temperature=teach.temperature)
    divergence = losses.forward_kl if teach.divergence == "forward_kl" else losses.reverse_kl
    return functools.partial(divergence, temperature=teach.temperature)


def _gated_share(
    teach: TeachConfig,
    signal: TeacherSignal,
    batches: GapWeightedBatches,
    batch: Batch,
    teacher_nats: Callable[[], Tensor],
    student_nats: Callable[[], Tensor],
) -> Tensor:
    """Return the teacher's share in the loss of each token, [T], 0 where the gate is closed.

    The nats are functions because gates by domain never need them.
    """
    inputs_BS = batch.tokens_BS1[:, :-1]
    if teach.gate in ("ability", "off"):
        gaps = torch.tensor(batches.gaps)[batch.source_B]
        share_B = torch.where((gaps > 0) | (teach.gate == "off"), teach.share, 0.0)
        return share_B.repeat_interleave(inputs_BS.shape[1])
    nats_T, group_T = teacher_nats(), None
    if teach.gate == "document":
        group_T = losses.document_ids(inputs_BS, signal.end_id).flatten().to(nats_T.device)
    return losses.teacher_share(nats_T, student_nats(), teach.share, group_T)
