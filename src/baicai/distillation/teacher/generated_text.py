"""What a teacher writes itself, for a student with other tokens: it goes from the one to the other as text.

    manifest.json             whose it is, of what, and the settings
    texts/texts-00000.jsonl   a document of each of `part_windows` windows of the corpus
    tokens/                   the same in a student's tokens

Source: Kim and Rush, Sequence-Level Knowledge Distillation, 2016, section 3.2; drawn, where they take the likeliest.
"""

import json
from itertools import takewhile
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from pydantic import Field

from baicai.artefact import explain_disk_errors, locked, write_atomic, write_json
from baicai.config import Count, recipe, to_table
from baicai.data.shards import TokenShards, cached_shards
from baicai.data.tokenizer import Tokenizer
from baicai.distillation.teacher.cache import FILE, open_or_create_manifest
from baicai.distillation.teacher.models import Teacher
from baicai.errors import ConfigError
from baicai.run import Progress

FORMAT = 1
PART_TOKENS = 2**15
"""Written at once."""
NO_TEXT = "\N{REPLACEMENT CHARACTER}"
"""What bytes that are no UTF-8 are read as."""


@recipe
class GeneratedTextConfig:
    """What a teacher is asked to write."""

    sequence_tokens: Count = 256
    """Of the teacher; a window of the corpus for each sequence."""
    prompt_tokens: Count = 32
    """The first tokens of a window, which it goes on after."""
    temperature: Annotated[float, Field(ge=0)] = 1.0
    """0 takes the likeliest token."""
    seed: Annotated[int, Field(ge=0)] = 0

    def __post_init__(self) -> None:
        if self.prompt_tokens >= self.sequence_tokens:
            raise ConfigError(
                f"prompt_tokens = {self.prompt_tokens} leave nothing of sequence_tokens = {self.sequence_tokens} to be "
                "written: lower them"
            )


@recipe
class _Manifest:
    format: int
    teacher: str
    corpus: str
    part_windows: Count
    settings: GeneratedTextConfig


def write_generated_text(
    folder: Path, teacher: Teacher, shards: TokenShards, student_tokenizer: Tokenizer, settings: GeneratedTextConfig
) -> TokenShards:
    """Return what the teacher writes after the beginnings of windows of its corpus, in the student's tokens.

    The text is kept in `folder`: what is missing of it is written, and another student reads the same. A document ends
    where the teacher ends it, or where its sequence is full. What marks the turns of a conversation is left behind.

    Raises: ArtefactError if it is of another teacher, corpus or settings, or if the teacher's logits are not finite;
    DataError if the corpus is shorter than a window; ConfigError if the teacher takes no sequence as long; MachineError
    if the disk is full.
    """
    assert shards.tokenizer_hash == teacher.tokenizer.hash, "the corpus is in the teacher's tokens"
    windows = teacher.num_windows(shards, settings.sequence_tokens)
    wanted = _Manifest(
        format=FORMAT,
        teacher=teacher.hash,
        corpus=shards.hash,
        part_windows=max(1, PART_TOKENS // settings.sequence_tokens),
        settings=settings,
    )
    texts = folder / "texts"
    with locked(folder), explain_disk_errors(folder):
        manifest = open_or_create_manifest(folder, wanted, "teacher's sequences", free=("part_windows",))
        texts.mkdir(parents=True, exist_ok=True)
        for stale in (*folder.glob(".*.part"), *texts.glob(".*.part")):  # what a kill left half-written
            stale.unlink()
        write_json(folder / FILE, to_table(manifest))
        starts = range(0, windows, manifest.part_windows)
        progress = Progress("let the teacher write", len(starts))
        with progress:
            for number, start in enumerate(starts):
                file = texts / f"texts-{number:05d}.jsonl"
                if not file.exists():
                    some = range(start, min(start + manifest.part_windows, windows))
                    written = [
                        json.dumps({"text": text}, ensure_ascii=False) + "\n"
                        for text in _write(teacher, shards, some, settings)
                    ]
                    write_atomic(file, "".join(written).encode())
                progress.update(number + 1, {"parts": number + 1})
        licences = ", ".join(sorted(shards.manifest["licences"]))
        return cached_shards(str(texts), student_tokenizer, folder / "tokens", licence=licences)


def _write(teacher: Teacher, shards: TokenShards, windows: range, settings: GeneratedTextConfig) -> list[str]:
    """Return the document that the teacher makes of the beginning of each window."""
    length, given = settings.sequence_tokens, settings.prompt_tokens
    begin, ends = list(teacher.tokenizer.begin_ids), set(teacher.tokenizer.stop_ids)
    prompts_BP = [[*begin, *shards.window(one, length).tolist()][:given] for one in windows]
    seed = int(np.random.SeedSequence([settings.seed, windows.start]).generate_state(1)[0])
    told_BN = teacher.generate(torch.tensor(prompts_BP), length - given, seed, settings.temperature).tolist()
    texts = []
    for prompt_P, told_N in zip(prompts_BP, told_BN, strict=True):
        begun = list(takewhile(lambda token: token not in ends, reversed(prompt_P)))
        written = takewhile(lambda token: token not in ends, told_N)
        text = teacher.tokenizer.decode([*reversed(begun), *written])
        texts.append(text.lstrip(NO_TEXT).partition(NO_TEXT)[0])  # from the first whole character to the last
    return texts
