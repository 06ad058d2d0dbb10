"""What a distillation works with: its parties and their texts, opened and checked."""

import dataclasses
from collections.abc import Mapping

import torch
from torch import Tensor

from baicai.artefact import find_artefact
from baicai.data.shards import TokenShards
from baicai.data.sources import open_sources
from baicai.data.tokenizer import Tokenizer
from baicai.distillation.config import DistillRecipe
from baicai.distillation.measuring.held_out import HeldOut, build_held_out
from baicai.distillation.measuring.metrics import LanguageModel
from baicai.distillation.student.initialize import student_shape
from baicai.distillation.teacher.models import Teacher, open_teacher
from baicai.distillation.teacher.weakness import Weakness, find_weakness
from baicai.errors import ConfigError, DataError
from baicai.evaluation.bits_per_byte import held_out_windows
from baicai.run import Run, notify
from baicai.training.loop import select_device

SAMPLE_TOKENS = 8192
"""Of each ability's text: what tells which parts of a teacher count, and where it is weak."""


@dataclasses.dataclass(frozen=True)
class DistillationContext:
    """An opened recipe."""

    config: DistillRecipe
    device: torch.device
    teacher: Teacher
    baseline: Teacher | None
    tokenizer: Tokenizer
    """The student's."""
    train_shards: Mapping[str, TokenShards]
    """Text of each wanted ability, in the student's tokens."""
    held_out: HeldOut
    teacher_held_out: HeldOut
    """The same in the teacher's tokens, where those are others."""

    def sample(self, name: str) -> list[Tensor]:
        """Return the beginning of an ability's text, windows [B, S + 1]."""
        return list(held_out_windows(self.train_shards[name], self.config.train.sequence_tokens, SAMPLE_TOKENS))

    def weakness(self) -> dict[str, Weakness]:
        """Return where the teacher is weak on the user's text: worse than the baseline or one of its leaves alone.

        There is none for a teacher that reads other tokens.
        """
        if self.teacher.tokenizer.hash != self.tokenizer.hash:
            return {}
        others: dict[str, LanguageModel] = {"baseline": self.baseline} if self.baseline is not None else {}
        alone = self.teacher.leaves()
        if len(alone) > 1:
            others |= {f"leaf {leaf} alone": reader for leaf, reader in alone.items()}
        if self.config.reinforce == "weak" and not others:
            notify(
                "reinforce=weak knows of wrong answers alone: to compare the teacher with others, give baseline=MODEL."
            )
        return {
            name: find_weakness(self.teacher, others, self.sample(name), self.tokenizer, self.device)
            for name in self.train_shards
        }


def open_context(config: DistillRecipe, run: Run) -> DistillationContext:
    """Return all that a recipe names.

    Raises: ConfigError, ArtefactError or DataError if a part is missing or does not fit the others.
    """
    device, length = select_device(config.train.device), config.train.sequence_tokens
    tokenizer = Tokenizer.open(find_artefact(config.tokenizer)) if config.tokenizer else None
    by_text = config.teach.signal in ("sequences", "none")
    teacher = open_teacher(config.teacher, None if by_text else tokenizer, device)
    if length > teacher.max_tokens:
        raise ConfigError(
            f"teacher {config.teacher} takes at most {teacher.max_tokens} tokens, train.sequence_tokens is {length}: "
            "lower it"
        )
    student_tokenizer = tokenizer or teacher.tokenizer
    if config.reinforce == "never":  # refuse at once what cannot be
        student_shape(config, teacher.shape, teacher.num_parameters, teacher.sparse, student_tokenizer.vocab_size)
    train_shards, held_out_shards = (
        open_sources(sources, student_tokenizer) for sources in (config.data, config.held_out)
    )
    for name, shards in train_shards.items():
        if not shards.num_windows(length):
            raise DataError(f"text of '{name}' has {shards.num_tokens} tokens, a window {length + 1}: add text")
        if config.teach.signal in ("cache", "sequences") and shards.num_tokens > 2 * config.train.trained_tokens:
            notify(
                f"{name} has {shards.num_tokens:,} tokens, all of which the teacher reads, and the student "
                f"{config.train.trained_tokens:,} at most: max_tokens spares it the rest."
            )
    hashes = {f"data {name}": one.hash for name, one in train_shards.items()}
    hashes |= {f"held_out {name}": one.hash for name, one in held_out_shards.items()}
    run.record_inputs({"teacher": teacher.hash, "tokenizer": student_tokenizer.hash, **hashes})
    held_out = teacher_held_out = build_held_out(held_out_shards, student_tokenizer, length, config.max_tokens)
    if teacher.tokenizer.hash != student_tokenizer.hash:
        theirs = open_sources(config.held_out, teacher.tokenizer)
        teacher_held_out = build_held_out(theirs, teacher.tokenizer, length, config.max_tokens)
    baseline = open_teacher(config.baseline, student_tokenizer, device) if config.baseline else None
    return DistillationContext(
        config, device, teacher, baseline, student_tokenizer, train_shards, held_out, teacher_held_out
    )
