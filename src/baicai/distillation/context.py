"""The opened inputs of a distillation: teacher, baseline, tokenizer and texts, checked to fit together."""

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
"""Tokens of each domain's training text on which importance scores and weaknesses of the teacher are measured."""


@dataclasses.dataclass(frozen=True)
class DistillationContext:
    """The opened inputs of a recipe."""

    config: DistillRecipe
    device: torch.device
    teacher: Teacher
    baseline: Teacher | None
    tokenizer: Tokenizer
    """The student's tokenizer."""
    train_shards: Mapping[str, TokenShards]
    """Training text of each domain to keep, in the student's tokens."""
    held_out: HeldOut
    teacher_held_out: HeldOut
    """The held-out text in the teacher's tokens; the same object as `held_out` if both share a tokenizer."""

    def sample_windows(self, domain: str) -> list[Tensor]:
        """Return the beginning of a domain's training text as windows [B, S + 1]."""
        return list(held_out_windows(self.train_shards[domain], self.config.train.sequence_tokens, SAMPLE_TOKENS))

    def find_weaknesses(self) -> dict[str, Weakness]:
        """Compare the teacher with the baseline and with each of its own leaves, on each domain's training text.

        Returns: a `Weakness` per domain; empty if teacher and student have different tokenizers.
        """
        if self.teacher.tokenizer.hash != self.tokenizer.hash:
            return {}
        references: dict[str, LanguageModel] = {"baseline": self.baseline} if self.baseline is not None else {}
        leaf_models = self.teacher.single_leaf_models()
        if len(leaf_models) > 1:
            references |= {f"leaf {leaf} alone": model for leaf, model in leaf_models.items()}
        if self.config.reinforce == "weak" and not references:
            notify("reinforce=weak can only count wrong answers: set baseline=MODEL to compare the teacher with it.")
        return {
            domain: find_weakness(self.teacher, references, self.sample_windows(domain), self.tokenizer, self.device)
            for domain in self.train_shards
        }


def open_context(config: DistillRecipe, run: Run) -> DistillationContext:
    """Open everything that a recipe names and record the hashes in the run.

    Raises: ConfigError, ArtefactError or DataError if an input is missing or does not fit the others.
    """
    device, length = select_device(config.train.device), config.train.sequence_tokens
    tokenizer = Tokenizer.open(find_artefact(config.tokenizer)) if config.tokenizer else None
    text_only = config.teach.signal in ("sequences", "none")
    teacher = open_teacher(config.teacher, None if text_only else tokenizer, device)
    if length > teacher.max_tokens:
        raise ConfigError(
            f"teacher {config.teacher} takes at most {teacher.max_tokens} tokens, but train.sequence_tokens is "
            f"{length}: lower it"
        )
    student_tokenizer = tokenizer or teacher.tokenizer
    if config.reinforce == "never":  # otherwise the teacher gets more leaves first, and its shape is not final
        student_shape(config, teacher.shape, teacher.num_parameters, teacher.sparse, student_tokenizer.vocab_size)
    train_shards = open_sources(config.data, student_tokenizer)
    held_out_shards = open_sources(config.held_out, student_tokenizer)
    for domain, shards in train_shards.items():
        if not shards.num_windows(length):
            raise DataError(
                f"text of '{domain}' has {shards.num_tokens} tokens, but one window needs {length + 1}: add text"
            )
        if config.teach.signal in ("cache", "sequences") and shards.num_tokens > 2 * config.train.trained_tokens:
            notify(
                f"{domain} has {shards.num_tokens:,} tokens. The teacher reads all of them, but the student trains on "
                f"at most {config.train.trained_tokens:,}: set max_tokens to skip the rest."
            )
    hashes = {f"data {domain}": shards.hash for domain, shards in train_shards.items()}
    hashes |= {f"held_out {domain}": shards.hash for domain, shards in held_out_shards.items()}
    run.record_inputs({"teacher": teacher.hash, "tokenizer": student_tokenizer.hash, **hashes})
    held_out = teacher_held_out = build_held_out(held_out_shards, student_tokenizer, length, config.max_tokens)
    if teacher.tokenizer.hash != student_tokenizer.hash:
        teacher_shards = open_sources(config.held_out, teacher.tokenizer)
        teacher_held_out = build_held_out(teacher_shards, teacher.tokenizer, length, config.max_tokens)
    baseline = open_teacher(config.baseline, student_tokenizer, device) if config.baseline else None
    return DistillationContext(
        config, device, teacher, baseline, student_tokenizer, train_shards, held_out, teacher_held_out
    )
