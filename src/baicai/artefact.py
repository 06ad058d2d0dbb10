"""Folders that are written whole or not at all, and the hashes that name them."""

import contextlib
import errno
import fcntl
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

from safetensors import SafetensorError, safe_open

from baicai.config import canonical_json
from baicai.errors import ArtefactError, MachineError

if TYPE_CHECKING:  # torch takes 200 MB and a second: what works on text alone does without
    import torch

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_REFUSED = (errno.EACCES, errno.EROFS, errno.EPERM, errno.ENOTDIR, errno.EEXIST, errno.ENAMETOOLONG)


@contextmanager
def explain_disk_errors(path: Path) -> Iterator[None]:
    """Turn a full or forbidden disk into one line; what was there before `path` was written stays."""
    full = MachineError(f"no space left while writing {path}: free some and run the same command again")
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise full from None
        if error.errno in _REFUSED:
            raise MachineError(f"cannot write {path}: {error.strerror}; choose another --out") from None
        raise
    except SafetensorError as error:  # safetensors wraps the system's error in its own
        if any(f"os error {code}" in str(error) for code in _FULL):
            raise full from None
        raise


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield an empty folder beside `path`; on success it is flushed to disk and takes that name at once.

    Raises: MachineError if the disk is full, ArtefactError if `path` exists already.
    """
    with explain_disk_errors(path):
        if path.exists():
            raise ArtefactError(f"{path} exists already: remove it or choose another --out")
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
    """Write a file whole or not at all; others may at no time do more with it than `mode` says.

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
    """Wait until no other process holds `path`, and hold it; the file `.NAME.lock` stays."""
    with explain_disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = (path.parent / f".{path.name}.lock").open("w")
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def remove_leftovers(path: Path) -> None:
    """Remove what a kill left half-written of the folder `path`; nobody may be writing it."""
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
    """Write a value as readable JSON, whole or not at all."""
    write_atomic(path, (json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode())


def read_json(path: Path) -> dict[str, Any]:
    """Return the object in a JSON file.

    Raises: ArtefactError if it is missing or is not a JSON object.
    """
    try:
        value = json.loads(path.read_bytes(), parse_constant=_no_number)
        canonical_json(value)  # refuses what cannot be hashed: numbers beyond float, half characters
    except FileNotFoundError:
        raise ArtefactError(f"{path} is missing: the artefact is incomplete; make or copy it again") from None
    except (ValueError, OSError, RecursionError) as error:
        raise ArtefactError(f"{path} cannot be read ({error}): make or copy the artefact again") from None
    if not isinstance(value, dict):
        raise ArtefactError(f"{path} does not hold a JSON object: make or copy the artefact again")
    return value


def _no_number(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def write_tensors(path: Path, tensors: Mapping[str, "torch.Tensor"]) -> None:
    """Save tensors as safetensors.

    Raises: MachineError if the disk is full.
    """
    from safetensors.torch import save_file

    with explain_disk_errors(path):
        save_file({name: tensor.detach().contiguous().cpu() for name, tensor in tensors.items()}, path)
        path.chmod(path.parent.stat().st_mode & 0o666)  # safetensors leaves 0600 whatever the umask


def read_tensors(path: Path) -> dict[str, "torch.Tensor"]:
    """Return the tensors of a safetensors file, memory-mapped.

    Raises: ArtefactError if the file is missing, truncated or not safetensors.
    """
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (safe_open is no mapping)
    except FileNotFoundError:
        raise ArtefactError(f"{path} is missing: the artefact is incomplete; make or copy it again") from None
    except (SafetensorError, OSError) as error:
        raise ArtefactError(f"{path} is damaged ({error}): make or copy the artefact again") from None


def tensors_hash(tensors: Mapping[str, "torch.Tensor"]) -> str:
    """Return the sha256 over name, dtype, shape and bytes of each tensor, in order of name."""
    import torch

    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().contiguous().cpu()
        digest.update(canonical_json([name, str(tensor.dtype), list(tensor.shape)]))
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def value_hash(value: object) -> str:
    """Return the sha256 of a plain value's canonical JSON."""
    return hashlib.sha256(canonical_json(value)).hexdigest()


def file_hash(path: Path) -> str:
    """Return the sha256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def register_artefact(digest: str, path: Path) -> None:
    """Remember where an artefact lies, so that its hash can be given instead of its path; no error if that fails."""
    entry, place = _index() / digest, str(path.resolve()).encode()
    with contextlib.suppress(OSError, MachineError):
        if not entry.exists() or entry.read_bytes() != place:
            write_atomic(entry, place)


def find_artefact(reference: str | Path) -> Path:
    """Return the folder that a path or a hash (8 hex digits or more) stands for.

    Raises: ArtefactError if there is none, or a short hash fits several.
    """
    text = str(reference)
    if not hash_prefix(reference):
        return Path(reference)
    if len(text) < 8 or set(text) - set("0123456789abcdef"):
        raise ArtefactError(f"{text} does not exist: give the path or the hash of an artefact")
    known = sorted(_index().glob(f"{text}*"))
    places = {entry.name: Path(entry.read_text()) for entry in known}
    present = {digest: place for digest, place in places.items() if place.exists()}
    if len(present) > 1:
        raise ArtefactError(f"hash {text} fits {len(present)} artefacts: give more digits")
    if not present:
        raise ArtefactError(f"no artefact with hash {text} is known on this machine: give its path")
    return next(iter(present.values()))


def hash_prefix(reference: str | Path) -> str:
    """Return the beginning of the hash that an artefact must have: the reference, or nothing if it is a path."""
    try:
        return "" if Path(reference).exists() else str(reference)
    except OSError as error:
        raise ArtefactError(f"{reference} cannot be read ({error.strerror}): check the path") from None


def home_folder() -> Path:
    """Return the folder for what this user's runs share: `$BAICAI_HOME`, or `~/.baicai`."""
    chosen = os.environ.get("BAICAI_HOME")
    return Path(chosen) if chosen else Path.home() / ".baicai"


def _index() -> Path:
    return home_folder() / "index"
