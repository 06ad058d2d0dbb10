"""Cache of a teacher's sampled logits on a corpus, computed once and shared by all students.

    manifest.json        teacher, corpus and settings, and the sha256 of each complete part
    samples-00000.bin    records of `part_windows` windows; the last part holds the rest

A record holds the tokens sampled at a position and the teacher's negative log-likelihood of the real next token. A part
is complete once the manifest names it, so a kill costs at most the part in progress. Records are read without a memory
map (`data/shards.py` explains why) and by window, which gives random access for the rows of a batch.

Shape suffixes: B sequences, S positions, N samples.
"""

import hashlib
import shutil
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Annotated, NamedTuple, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from baicai.artefact import explain_disk_errors, file_hash, locked, read_json, write_atomic, write_json
from baicai.config import Count, from_table, recipe, to_table
from baicai.data.batches import Batch
from baicai.data.shards import TokenShards
from baicai.distillation.teacher.logit_sampling import record_type, sample_teacher_logits
from baicai.distillation.teacher.models import Teacher
from baicai.errors import ArtefactError, ConfigError, MachineError
from baicai.run import Progress, notify

MANIFEST_FILE = "manifest.json"
M = TypeVar("M")
FORMAT = 1
PART_TOKENS = 2**17
BATCH_TOKENS = 4096
"""Tokens per file and per forward pass of the teacher."""


@recipe
class CacheConfig:
    """Sampling of a teacher's logits."""

    samples: Annotated[int, Field(ge=0)] = 12
    """Tokens sampled at each position. With 0 the cache only holds the nats of real text, for a gate."""
    sequence_tokens: Count = 256
    """Window length; must equal that of training, since the teacher's predictions depend on where a window begins."""
    seed: Annotated[int, Field(ge=0)] = 0


@recipe
class _Manifest:
    format: int
    teacher: str
    corpus: str
    vocab_size: int
    windows: int
    part_windows: Count
    settings: CacheConfig
    files: list[str]


class SoftTargets(NamedTuple):
    """Sampled soft targets for the next tokens of a batch."""

    samples_BSN: Tensor
    """Sampled token ids, int64, each with probability mass 1 / N."""
    nats_BS: Tensor
    """Negative log-likelihood of the real next token under the teacher, float32."""


class TeacherCache:
    """A complete cache on disk; memory use does not depend on its size."""

    def __init__(self, folder: Path, manifest: _Manifest) -> None:
        """Use `write_cache` instead, which verifies the files."""
        self.folder, self.settings = folder, manifest.settings
        self.record = record_type(manifest.vocab_size, manifest.settings.samples)
        self._manifest = manifest

    @property
    def num_tokens(self) -> int:
        """Number of tokens covered by the cache."""
        return self._manifest.windows * self.settings.sequence_tokens

    @property
    def num_bytes(self) -> int:
        """Size of all records on disk."""
        return self.num_tokens * self.record.itemsize

    def window(self, index: int) -> NDArray[np.void]:
        """Return the records [S] of a window of the corpus, with the fields `nats` and `samples`.

        Raises: ArtefactError if the file was damaged after the cache was opened.
        """
        number, offset = divmod(index, self._manifest.part_windows)
        file, length = self.folder / _part_name(number), self.settings.sequence_tokens
        try:
            records = np.fromfile(file, self.record, length, offset=offset * length * self.record.itemsize)
        except OSError as error:
            raise _damaged(file, error.strerror or "cannot be read") from None
        if len(records) != length:
            raise _damaged(file, "it is shorter than when it was opened")
        if records["samples"].size and records["samples"].max() >= self._manifest.vocab_size:
            raise _damaged(file, "it contains a token outside the vocabulary")
        return records


def read_soft_targets(caches: Sequence[TeacherCache], batch: Batch) -> SoftTargets:
    """Read the soft targets of a batch; `caches` are those of its sources, in the same order.

    Raises: ArtefactError if a file was damaged after its cache was opened.
    """
    rows = zip(batch.source_B.tolist(), batch.windows_B.tolist(), strict=True)
    rows_BS = np.stack([caches[source].window(window) for source, window in rows])
    samples_BSN = torch.from_numpy(rows_BS["samples"].astype(np.int64))
    return SoftTargets(samples_BSN, torch.from_numpy(rows_BS["nats"].astype(np.float32)))


def write_cache(folder: Path, teacher: Teacher, shards: TokenShards, config: CacheConfig) -> TeacherCache:
    """Open the cache in `folder`, computing the parts that are missing; their size is announced first.

    Raises: ArtefactError if it belongs to another teacher, corpus or config, is damaged, or a logit is not finite;
    DataError if the corpus is shorter than a window; ConfigError if a window exceeds the teacher's context;
    MachineError if the disk is too small.
    """
    length, record = config.sequence_tokens, record_type(teacher.vocab_size, config.samples)
    windows, part_windows = teacher.num_windows(shards, length), max(1, PART_TOKENS // length)
    with locked(folder):
        manifest = open_or_create_manifest(
            folder,
            _Manifest(
                format=FORMAT,
                teacher=teacher.hash,
                corpus=shards.hash,
                vocab_size=teacher.vocab_size,
                windows=windows,
                part_windows=part_windows,
                settings=config,
                files=[],
            ),
            "a teacher's cache",
            ignored=("windows", "part_windows", "files"),
        )
        _check_files(folder, manifest, record.itemsize)
        _check_disk_space(folder, manifest, record.itemsize)
        _fill(folder, manifest, teacher, shards)
    return TeacherCache(folder, manifest)


def _part_name(number: int) -> str:
    return f"samples-{number:05d}.bin"


def _damaged(file: Path, why: str) -> ArtefactError:
    return ArtefactError(f"{file} is damaged ({why}): remove {file.parent} to compute it again")


def _windows_of(manifest: _Manifest, number: int) -> range:
    start = number * manifest.part_windows
    return range(start, min(start + manifest.part_windows, manifest.windows))


def _check_files(folder: Path, manifest: _Manifest, record_bytes: int) -> None:
    for number, digest in enumerate(manifest.files):
        file = folder / _part_name(number)
        expected = len(_windows_of(manifest, number)) * manifest.settings.sequence_tokens * record_bytes
        if not file.exists() or file.stat().st_size != expected or file_hash(file) != digest:
            raise _damaged(file, "its size or sha256 does not match the manifest")


def _check_disk_space(folder: Path, manifest: _Manifest, record_bytes: int) -> None:
    """Announce the size of the parts that are missing."""
    windows = manifest.windows - len(manifest.files) * manifest.part_windows
    if windows <= 0:
        return
    tokens = windows * manifest.settings.sequence_tokens
    size, free = tokens * record_bytes, shutil.disk_usage(folder.parent).free
    needed = f"the teacher's cache takes {size / 1e9:.3g} GB, {record_bytes} bytes for each of {tokens:,} tokens"
    if size > free:
        raise MachineError(
            f"{needed}, but {folder.parent} has {free / 1e9:.3g} GB free: lower samples, or free disk space"
        )
    notify(f"{needed}: {folder}")


def _fill(folder: Path, manifest: _Manifest, teacher: Teacher, shards: TokenShards) -> None:
    parts = -(-manifest.windows // manifest.part_windows)
    progress = Progress("cache the teacher", parts, completed=len(manifest.files))
    with explain_disk_errors(folder), progress:
        folder.mkdir(exist_ok=True)
        for stale in folder.glob(".*.part"):  # left incomplete by a kill
            stale.unlink()
        write_json(folder / MANIFEST_FILE, to_table(manifest))
        for number in range(len(manifest.files), parts):
            batches = list(_records(teacher, shards, manifest, _windows_of(manifest, number)))
            raw = np.concatenate(batches).tobytes()
            write_atomic(folder / _part_name(number), raw)
            manifest.files.append(hashlib.sha256(raw).hexdigest())
            write_json(folder / MANIFEST_FILE, to_table(manifest))
            nats = float(np.mean([records["nats"].mean() for records in batches]))
            progress.update(number + 1, {"parts": number + 1, "teacher_loss": nats})


def _records(teacher: Teacher, shards: TokenShards, manifest: _Manifest, windows: range) -> Iterator[NDArray[np.void]]:
    """Yield the records of a range of windows in batches."""
    config, length = manifest.settings, manifest.settings.sequence_tokens
    step = max(1, BATCH_TOKENS // length)
    for start in range(windows.start, windows.stop, step):
        batch = range(start, min(start + step, windows.stop))
        tokens_BS1 = np.stack([shards.window(index, length) for index in batch])
        uniform_BS = np.stack([np.random.default_rng([config.seed, index]).random(length) for index in batch])
        yield sample_teacher_logits(teacher, torch.from_numpy(tokens_BS1), torch.from_numpy(uniform_BS), config.samples)


def open_or_create_manifest(folder: Path, expected: M, kind: str, ignored: Collection[str]) -> M:
    """Return the manifest in a folder, or `expected` if the folder is new; keys in `ignored` may differ.

    Raises: ArtefactError if the folder holds something other than `kind`, or was made with other values.
    """
    file = folder / MANIFEST_FILE
    if not file.exists():
        if folder.is_dir() and any(
            path.suffix != ".part" for path in folder.iterdir()
        ):  # .part files are left by kills
            raise ArtefactError(f"{folder} already exists and is not {kind}: choose another folder")
        return expected
    try:
        manifest = from_table(type(expected), read_json(file), str(file))
    except ConfigError as error:
        raise ArtefactError(f"{error}: remove {folder} to compute it again") from None
    stored, required = ({**table.pop("settings"), **table} for table in map(to_table, (manifest, expected)))
    for key in required:
        if key not in ignored and stored[key] != required[key]:
            raise ArtefactError(
                f"{folder} was made with {key} {str(stored[key])[:8]}, expected {str(required[key])[:8]}: choose "
                "another folder, or remove this one"
            )
    return manifest
