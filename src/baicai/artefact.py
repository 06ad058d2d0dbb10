"""Artefacts on disk: atomic writes, content hashes, and the index from hashes to paths."""

import contextlib
import errno
import hashlib
import json
import os
import re
import shutil
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import lock_descriptor
from safetensors import SafetensorError, safe_open

from baicai.config import canonical_json
from baicai.errors import ArtefactError, MachineError

if TYPE_CHECKING:  # importing torch costs 200 MB and a second, which code for text alone does not need
    import torch

_DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_DENIED = (errno.EACCES, errno.EROFS, errno.EPERM, errno.ENOTDIR, errno.EEXIST, errno.ENAMETOOLONG)


@contextmanager
def explain_disk_errors(path: Path) -> Iterator[None]:
    """Turn errors of a full or forbidden disk into a one-line MachineError about `path`."""
    full = MachineError(f"no space left while writing {path}: free some and run the same command again")
    try:
        yield
    except OSError as error:
        if error.errno in _DISK_FULL:
            raise full from None
        if error.errno in _DENIED:
            raise MachineError(f"cannot write {path}: {error.strerror}; choose another --out") from None
        raise
    except SafetensorError as error:  # safetensors wraps the operating system's error in its own
        if any(f"os error {code}" in str(error) for code in _DISK_FULL):
            raise full from None
        raise


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Write a folder atomically: yield an empty sibling of `path`, which is synced and renamed to it on success.

    An exception in the body removes the sibling.

    Raises: MachineError if the disk is full, ArtefactError if `path` already exists.
    """
    with explain_disk_errors(path):
        if path.exists():
            raise ArtefactError(f"{path} already exists: remove it or choose another --out")
        part = _part(path)
        try:
            part.mkdir(parents=True)
            yield part
            for file in part.rglob("*"):
                if file.is_file():
                    _sync(file)
            part.rename(path)
            _sync(path.parent)
        finally:
            shutil.rmtree(part, ignore_errors=True)


def write_atomic(path: Path, content: bytes, mode: int = 0o666) -> None:
    """Write a file atomically. Its permissions never exceed `mode`, not even while it is being written.

    Raises: MachineError if the disk is full.
    """
    part = _part(path)
    with explain_disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            part.touch(mode)
            part.write_bytes(content)
            _sync(part)
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)


def _part(path: Path) -> Path:
    return path.parent / f".{path.name}.{uuid.uuid4().hex[:8]}.part"


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock of `path`, waiting until no other process does. The lock file `.NAME.lock` stays on disk.

    A crash releases the lock, since the operating system closes the file.
    """
    with explain_disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = (path.parent / f".{path.name}.lock").open("w")
    with lock:
        lock_descriptor(lock.fileno())
        yield


def remove_leftovers(path: Path) -> None:
    """Remove the temporary siblings that a killed `atomic_folder(path)` left. No process may be writing `path`."""
    name = re.compile(rf"\.{re.escape(path.name)}\.[0-9a-f]{{8}}\.part")
    for part in path.parent.iterdir() if path.parent.is_dir() else ():
        if name.fullmatch(part.name):
            shutil.rmtree(part, ignore_errors=True)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_json(path: Path, value: object) -> None:
    """Write a value as indented JSON, atomically."""
    write_atomic(path, (json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode())


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object from a file.

    Raises: ArtefactError if the file is missing or does not hold a JSON object.
    """
    try:
        value = json.loads(path.read_bytes(), parse_constant=_reject_constant)
        canonical_json(value)  # rejects what cannot be hashed: numbers beyond float, lone surrogates
    except FileNotFoundError:
        raise ArtefactError(f"{path} is missing: the artefact is incomplete; make or copy it again") from None
    except (ValueError, OSError, RecursionError) as error:
        raise ArtefactError(f"{path} cannot be read ({error}): make or copy the artefact again") from None
    if not isinstance(value, dict):
        raise ArtefactError(f"{path} does not hold a JSON object: make or copy the artefact again")
    return value


def _reject_constant(name: str) -> None:
    raise ValueError(f"{name} is not valid JSON")


def write_tensors(path: Path, tensors: Mapping[str, "torch.Tensor"]) -> None:
    """Write tensors to a safetensors file.

    Raises: MachineError if the disk is full.
    """
    from safetensors.torch import save_file

    with explain_disk_errors(path):
        save_file({name: tensor.detach().contiguous().cpu() for name, tensor in tensors.items()}, path)
        path.chmod(path.parent.stat().st_mode & 0o666)  # safetensors writes 0600 whatever the umask is


def read_tensors(path: Path) -> dict[str, "torch.Tensor"]:
    """Read the tensors of a safetensors file, memory-mapped.

    Raises: ArtefactError if the file is missing, truncated or not a safetensors file.
    """
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (safe_open is not a mapping)
    except FileNotFoundError:
        raise ArtefactError(f"{path} is missing: the artefact is incomplete; make or copy it again") from None
    except (SafetensorError, OSError) as error:
        raise ArtefactError(f"{path} is damaged ({error}): make or copy the artefact again") from None


def tensors_hash(tensors: Mapping[str, "torch.Tensor"]) -> str:
    """Return the SHA-256 over name, dtype, shape and bytes of every tensor, sorted by name."""
    import torch

    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().contiguous().cpu()
        digest.update(canonical_json([name, str(tensor.dtype), list(tensor.shape)]))
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def value_hash(value: object) -> str:
    """Return the SHA-256 of a plain value's canonical JSON."""
    return hashlib.sha256(canonical_json(value)).hexdigest()


def file_hash(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def register_artefact(digest: str, path: Path) -> None:
    """Record the path of an artefact in the index, so that its hash can be given instead. Failures are ignored."""
    entry, location = _index() / digest, str(path.resolve()).encode()
    with contextlib.suppress(OSError, MachineError):
        if not entry.exists() or entry.read_bytes() != location:
            write_atomic(entry, location)


def find_artefact(reference: str | Path) -> Path:
    """Return the path of an artefact given by path or by hash (8 hex digits or more).

    Raises: ArtefactError if it does not exist, or if a short hash matches several artefacts.
    """
    text = str(reference)
    if not hash_prefix(reference):
        return Path(reference)
    if len(text) < 8 or set(text) - set("0123456789abcdef"):
        raise ArtefactError(f"{text} does not exist: give the path or the hash of an artefact")
    paths = [Path(entry.read_text()) for entry in sorted(_index().glob(f"{text}*"))]
    paths = [path for path in paths if path.exists()]
    if len(paths) > 1:
        raise ArtefactError(f"hash {text} matches {len(paths)} artefacts: give more digits")
    if not paths:
        raise ArtefactError(f"no artefact with hash {text} is known on this machine: give its path")
    return paths[0]


def hash_prefix(reference: str | Path) -> str:
    """Return the hash prefix that a reference requires of its artefact: the reference itself, or "" if it is a path."""
    try:
        return "" if Path(reference).exists() else str(reference)
    except OSError as error:
        raise ArtefactError(f"{reference} cannot be read ({error.strerror}): check the path") from None


def home_folder() -> Path:
    """Return the folder for data that all runs of a user share: `$BAICAI_HOME`, or `~/.baicai`."""
    home = os.environ.get("BAICAI_HOME")
    return Path(home) if home else Path.home() / ".baicai"


def _index() -> Path:
    return home_folder() / "index"
