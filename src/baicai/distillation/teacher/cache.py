"""What a teacher says of a corpus, computed once: drawn tokens of each position, and the nats of the real next one.

    manifest.json        whose it is, of what, the settings, and the sha256 of each part that is complete
    samples-00000.bin    records of `part_windows` windows; the last part holds the rest

A part counts from when the manifest names it, so a kill costs at most the one at work. Records are read like tokens,
without a memory map (`data/shards.py` says why), and by window: a batch's rows find theirs wherever they are.

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

FILE = "manifest.json"
M = TypeVar("M")
FORMAT = 1
PART_TOKENS = 2**17
BATCH_TOKENS = 4096


@recipe
class CacheConfig:
    """How a teacher is asked."""

    samples: Annotated[int, Field(ge=0)] = 12
    """Tokens drawn of each position; none leaves the nats of real text, which a gate needs."""
    sequence_tokens: Count = 256
    """As in training: what a teacher says of a token depends on where its window begins."""
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
    """What a teacher says of the next tokens of a batch."""

    samples_BSN: Tensor
    """Drawn ids, int64, each with the weight 1 / N."""
    nats_BS: Tensor
    """The teacher's loss on the real next token, float32."""


class TeacherCache:
    """A complete cache; memory use does not depend on how long it is."""

    def __init__(self, folder: Path, manifest: _Manifest) -> None:
        """Use `write_cache`, which checks what is there."""
        self.folder, self.settings = folder, manifest.settings
        self.record = record_type(manifest.vocab_size, manifest.settings.samples)
        self._manifest = manifest

    @property
    def num_tokens(self) -> int:
        """Of which it says something."""
        return self._manifest.windows * self.settings.sequence_tokens

    @property
    def num_bytes(self) -> int:
        """On the disk."""
        return self.num_tokens * self.record.itemsize

    def window(self, index: int) -> NDArray[np.void]:
        """Return the records [S] of a window of the corpus, with the fields `nats` and `samples`.

        Raises: ArtefactError if a file has been damaged since it was opened.
        """
        number, place = divmod(index, self._manifest.part_windows)
        file, length = self.folder / _part_name(number), self.settings.sequence_tokens
        try:
            found = np.fromfile(file, self.record, length, offset=place * length * self.record.itemsize)
        except OSError as error:
            raise _damaged(file, error.strerror or "cannot be read") from None
        if len(found) != length:
            raise _damaged(file, "it is shorter than when it was opened")
        if found["samples"].size and found["samples"].max() >= self._manifest.vocab_size:
            raise _damaged(file, "it holds a token outside the vocabulary")
        return found


def read_soft_targets(caches: Sequence[TeacherCache], batch: Batch) -> SoftTargets:
    """Return what a teacher says of a batch whose sources are, in this order, the corpora of the caches.

    Raises: ArtefactError if a file has been damaged since it was opened.
    """
    places = zip(batch.source_B.tolist(), batch.windows_B.tolist(), strict=True)
    rows_BS = np.stack([caches[source].window(window) for source, window in places])
    samples_BSN = torch.from_numpy(rows_BS["samples"].astype(np.int64))
    return SoftTargets(samples_BSN, torch.from_numpy(rows_BS["nats"].astype(np.float32)))


def write_cache(folder: Path, teacher: Teacher, shards: TokenShards, settings: CacheConfig) -> TeacherCache:
    """Return the cache in `folder`, after computing what is missing of it; its size is told before.

    Raises: ArtefactError if it is of another teacher, corpus or settings, damaged, or if the teacher's logits are not
    finite; DataError if the corpus is shorter than a window; ConfigError if the teacher takes no window as long;
    MachineError if the disk cannot hold it.
    """
    length, record = settings.sequence_tokens, record_type(teacher.vocab_size, settings.samples)
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
                settings=settings,
                files=[],
            ),
            "teacher's cache",
            free=("windows", "part_windows", "files"),
        )
        _check_files(folder, manifest, record.itemsize)
        _check_room(folder, manifest, record.itemsize)
        _fill(folder, manifest, teacher, shards)
    return TeacherCache(folder, manifest)


def _part_name(number: int) -> str:
    return f"samples-{number:05d}.bin"


def _damaged(file: Path, why: str) -> ArtefactError:
    return ArtefactError(f"{file} is damaged ({why}): remove {file.parent} and make it again")


def _windows_of(manifest: _Manifest, number: int) -> range:
    start = number * manifest.part_windows
    return range(start, min(start + manifest.part_windows, manifest.windows))


def _check_files(folder: Path, manifest: _Manifest, record_bytes: int) -> None:
    for number, digest in enumerate(manifest.files):
        file = folder / _part_name(number)
        expected = len(_windows_of(manifest, number)) * manifest.settings.sequence_tokens * record_bytes
        if not file.exists() or file.stat().st_size != expected or file_hash(file) != digest:
            raise _damaged(file, "its size or sha256 is not the manifest's")


def _check_room(folder: Path, manifest: _Manifest, record_bytes: int) -> None:
    """Tell the size of what is still to be written."""
    windows = manifest.windows - len(manifest.files) * manifest.part_windows
    if windows <= 0:
        return
    tokens = windows * manifest.settings.sequence_tokens
    size, free = tokens * record_bytes, shutil.disk_usage(folder.parent).free
    told = f"the teacher's cache takes {size / 1e9:.3g} GB, {record_bytes} bytes for each of {tokens:,} tokens"
    if size > free:
        raise MachineError(f"{told}, {folder.parent} has {free / 1e9:.3g} GB free: lower samples, or free some")
    notify(f"{told}: {folder}")


def _fill(folder: Path, manifest: _Manifest, teacher: Teacher, shards: TokenShards) -> None:
    parts = -(-manifest.windows // manifest.part_windows)
    progress = Progress("ask the teacher", parts, completed=len(manifest.files))
    with explain_disk_errors(folder), progress:
        folder.mkdir(exist_ok=True)
        for stale in folder.glob(".*.part"):  # what a kill left half-written
            stale.unlink()
        write_json(folder / FILE, to_table(manifest))
        for number in range(len(manifest.files), parts):
            made = list(_records(teacher, shards, manifest, _windows_of(manifest, number)))
            raw = np.concatenate(made).tobytes()
            write_atomic(folder / _part_name(number), raw)
            manifest.files.append(hashlib.sha256(raw).hexdigest())
            write_json(folder / FILE, to_table(manifest))
            nats = float(np.mean([one["nats"].mean() for one in made]))
            progress.update(number + 1, {"parts": number + 1, "teacher_loss": nats})


def _records(teacher: Teacher, shards: TokenShards, manifest: _Manifest, windows: range) -> Iterator[NDArray[np.void]]:
    """Yield the records of a few windows at a time."""
    settings = manifest.settings
    step = max(1, BATCH_TOKENS // settings.sequence_tokens)
    for start in range(windows.start, windows.stop, step):
        some, length = range(start, min(start + step, windows.stop)), settings.sequence_tokens
        tokens_BS1 = np.stack([shards.window(one, length) for one in some])
        chance_BS = np.stack([np.random.default_rng([settings.seed, one]).random(length) for one in some])
        yield sample_teacher_logits(
            teacher, torch.from_numpy(tokens_BS1), torch.from_numpy(chance_BS), settings.samples
        )


def open_or_create_manifest(folder: Path, wanted: M, what: str, free: Collection[str]) -> M:
    """Return the manifest in a folder, or the one that is wanted if there is none; keys that are `free` may differ.

    Raises: ArtefactError if the folder holds something other than `what`, or was made with other values.
    """
    file = folder / FILE
    if not file.exists():
        if folder.is_dir() and any(one.suffix != ".part" for one in folder.iterdir()):  # what a kill left is no content
            raise ArtefactError(f"{folder} exists already and is no {what}: choose another folder")
        return wanted
    try:
        found = from_table(type(wanted), read_json(file), str(file))
    except ConfigError as error:
        raise ArtefactError(f"{error}: remove {folder} and make it again") from None
    told, asked = ({**table.pop("settings"), **table} for table in map(to_table, (found, wanted)))
    for key in asked:
        if key not in free and told[key] != asked[key]:
            raise ArtefactError(
                f"{folder} was made with {key} {str(told[key])[:8]}, wanted is {str(asked[key])[:8]}: choose another "
                "folder, or remove that one"
            )
    return found
