"""Training a student: what it reads, what it pays, and the training as a run of its own.

Shape suffixes: B sequences, S positions, P tokens of a prompt, T tokens, D width of the student, E of the teacher,
V vocabulary, N samples.
"""

import functools
import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

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
"""How often a training looks at what the student still lacks."""

Loss = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
"""From hidden states [T, D], head [V, D], targets [T] and the teacher's share [T] to the mean loss."""


@dataclass(frozen=True)
class StudentData:
    """What a student reads; the sequences have one entry for each source."""

    abilities: Sequence[str]
    sources: Sequence[TokenShards]
    weights: Sequence[float]


@dataclass(frozen=True)
class TeacherSignal:
    """What a student hears beside the text, and how it stands."""

    teacher: Teacher
    caches: Sequence[TeacherCache]
    """Of each source; none if the teacher is asked at every step."""
    end_id: int
    teacher_bits: Mapping[str, float]
    """The teacher's bits per byte on a probe of each ability."""
    student_bits: Callable[[Transformer, str], float]
    """The same of a student as it is now."""


def train_student(
    student: Student, data: StudentData, signal: TeacherSignal | None, config: DistillRecipe, run: Run
) -> None:
    """Train a student, and write its weights and how it went to the run's artefact folder."""
    model, settings = student.model, config.train
    sizes = {"batch_sequences": settings.batch_sequences, "sequence_tokens": settings.sequence_tokens}
    if signal is None:
        batches = Batches(data.sources, data.weights, **sizes, seed=settings.seed)
        loss_of = language_modeling_loss(model, config)
    else:
        measure = functools.partial(_measure, model, data, signal, config, run)
        every = -(-settings.steps // GAP_MEASUREMENTS)
        batches = GapWeightedBatches(data.sources, data.weights, measure, every, **sizes, seed=settings.seed)
        by_text = config.teach.signal == "sequences"  # what the teacher says is among the text
        loss_of = (
            language_modeling_loss(model, config) if by_text else distillation_loss(model, signal, config, batches)
        )
    metrics = train(run.out.name, student.trainable_parameters(), batches, loss_of, settings, run)
    mix = {line["step"]: line for line in run.metrics() if "gaps" in line}  # one may be there twice after a kill
    with atomic_folder(run.out) as part:
        write_tensors(
            part / "weights.safetensors", {name: p.detach().cpu() for name, p in student.trainable_parameters().items()}
        )
        write_json(
            part / "training.json",
            {"loss": metrics["loss"], "curve": loss_curve(run, settings), "mix": list(mix.values())},
        )


def _measure(
    model: Transformer, data: StudentData, signal: TeacherSignal, config: DistillRecipe, run: Run, count: int
) -> tuple[list[float], list[float]]:
    """Return a Measure's results, and log them."""
    theirs, weights = signal.teacher_bits, list(data.weights)
    ours = {name: signal.student_bits(model, name) for name in dict.fromkeys(data.abilities)}
    for name, bits in ours.items():
        if not math.isfinite(bits):
            raise ConfigError(f"{run.out.name}: {bits} bits per byte of '{name}' at step {count}: lower learning_rate")
    gaps = {name: ours[name] - theirs[name] for name in ours}
    if config.mix == "gap":
        weights = [
            domain_weight(wanted, theirs[name], ours[name])
            for name, wanted in zip(data.abilities, data.weights, strict=True)
        ]
    shares = dict.fromkeys(ours, 0.0)
    for name, one in zip(data.abilities, weights, strict=True):
        shares[name] += one / sum(weights)
    run.log({"step": count, "tokens": count * config.train.step_tokens, "gaps": gaps, "shares": shares})
    return [gaps[name] for name in data.abilities], weights


def language_modeling_loss(model: Transformer, config: DistillRecipe) -> LossFunction:
    """Return the loss of a student that no teacher tells more than the text does."""

    def loss_of(batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        tokens_BS1 = batch.tokens_BS1.to(model.embedding.weight.device)
        with mixed_precision(config.train, tokens_BS1.device):
            hidden_TD = model.hidden(tokens_BS1[:, :-1]).flatten(0, 1)
            return linear_cross_entropy(hidden_TD, model.head_weight(), tokens_BS1[:, 1:].flatten()), {}

    return loss_of


def distillation_loss(
    model: Transformer, signal: TeacherSignal, config: DistillRecipe, batches: GapWeightedBatches
) -> LossFunction:
    """Return the loss of a student on real text and on what its teacher says of it, or of the student's own words."""
    teach, settings = config.teach, config.train

    def loss_of(batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        tokens_BS1 = batch.tokens_BS1.to(model.embedding.weight.device)
        own_words = random.Random(f"{settings.seed} {batches.count}").random() < teach.on_policy
        if own_words:
            prompts_BP = tokens_BS1[:, : tokens_BS1.shape[1] // 2]
            seed = settings.seed * 2**32 + batches.count
            num_tokens, known = tokens_BS1.shape[1] - prompts_BP.shape[1], signal.teacher.vocab_size
            more_BN = generate_batch(model, prompts_BP, num_tokens, seed, vocab_size=known)
            tokens_BS1 = torch.cat([prompts_BP, more_BN], 1)
        targets_T = tokens_BS1[:, 1:].flatten()
        with mixed_precision(settings, tokens_BS1.device):
            hidden_TD, head_VD = model.hidden(tokens_BS1[:, :-1]).flatten(0, 1), model.head_weight()
            if own_words:
                share_BS = (torch.arange(tokens_BS1.shape[1] - 1) >= prompts_BP.shape[1] - 1).float()
                share_T = share_BS.repeat(len(tokens_BS1))
                _, loss = _asked(signal.teacher, teach, tokens_BS1)
            else:
                theirs_T, loss = _heard(signal, teach, batch, tokens_BS1)
                ours_T = functools.partial(target_nats, model, hidden_TD.detach(), targets_T)
                share_T = _share(teach, signal, batches, batch, theirs_T, ours_T)
            share_T = share_T.to(hidden_TD.device)
            return loss(hidden_TD, head_VD, targets_T, share_T), {"teacher_share": share_T.mean()}

    return loss_of


def _heard(
    signal: TeacherSignal, teach: TeachConfig, batch: Batch, tokens_BS1: Tensor
) -> tuple[Callable[[], Tensor], Loss]:
    """Return what gives the teacher's nats of the real next tokens, and the loss by what it says of them."""
    if not signal.caches:
        return _asked(signal.teacher, teach, tokens_BS1)
    rows = read_soft_targets(signal.caches, batch)
    nats_T, samples_TN = (rows_BS.to(tokens_BS1.device).flatten(0, 1) for rows_BS in (rows.nats_BS, rows.samples_BSN))

    def loss(hidden_TD: Tensor, head_VD: Tensor, targets_T: Tensor, share_T: Tensor) -> Tensor:
        return losses.linear_sampled_loss(hidden_TD, head_VD, targets_T, samples_TN, share_T)

    return lambda: nats_T, loss


def _asked(teacher: Teacher, teach: TeachConfig, tokens_BS1: Tensor) -> tuple[Callable[[], Tensor], Loss]:
    teacher_TE = teacher.hidden(tokens_BS1[:, :-1]).flatten(0, 1)

    def loss(hidden_TD: Tensor, head_VD: Tensor, targets_T: Tensor, share_T: Tensor) -> Tensor:
        known_VD = head_VD[: teacher.vocab_size]  # rows beyond stand for nothing
        divergence = select_divergence(teach)
        return losses.linear_divergence(hidden_TD, known_VD, targets_T, teacher_TE, teacher.logits, share_T, divergence)

    return functools.partial(target_nats, teacher, teacher_TE, tokens_BS1[:, 1:].flatten()), loss


def select_divergence(teach: TeachConfig) -> losses.Divergence:
    """Return the divergence that a recipe names."""
    if teach.divergence == "jensen_shannon":
        return functools.partial(losses.jensen_shannon, beta=teach.beta, temperature=teach.temperature)
    kind = losses.forward_kl if teach.divergence == "forward_kl" else losses.reverse_kl
    return functools.partial(kind, temperature=teach.temperature)


def _share(
    teach: TeachConfig,
    signal: TeacherSignal,
    batches: GapWeightedBatches,
    batch: Batch,
    theirs_T: Callable[[], Tensor],
    ours_T: Callable[[], Tensor],
) -> Tensor:
    """Return each token's share of the teacher, [T]."""
    inputs_BS = batch.tokens_BS1[:, :-1]
    if teach.gate in ("ability", "off"):
        gaps = torch.tensor(batches.gaps)[batch.source_B]
        share_B = torch.where((gaps > 0) | (teach.gate == "off"), teach.share, 0.0)
        return share_B.repeat_interleave(inputs_BS.shape[1])
    group_T = losses.document_ids(inputs_BS, signal.end_id).flatten() if teach.gate == "document" else None
    nats_T = theirs_T()
    return losses.teacher_share(nats_T, ours_T(), teach.share, None if group_T is None else group_T.to(nats_T.device))
