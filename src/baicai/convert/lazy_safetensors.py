"""Tensors of files larger than memory: read one at a time when they are asked for, written one after another.

Files are read with plain reads, not through a memory map: mapped pages would count as the process's memory.
"""

import functools
import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from baicai.artefact import explain_disk_errors, read_json, write_json
from baicai.errors import ArtefactError

DTYPES = {"F32": torch.float32, "BF16": torch.bfloat16, "F16": torch.float16}
NAMES = {dtype: name for name, dtype in DTYPES.items()}
SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
MAX_HEADER_BYTES = 100_000_000


@dataclass(frozen=True)
class StoredTensor:
    """A tensor that is read when asked for, whole or some of its rows."""

    dtype: torch.dtype
    shape: tuple[int, ...]
    load: Callable[[int, int], Tensor]
    """Return the rows from the first number up to the second."""

    def read(self) -> Tensor:
        """Return the whole tensor."""
        return self.load(0, self.shape[0])

    def row(self, number: int) -> "StoredTensor":
        """Return one row as a tensor of its own."""
        return StoredTensor(
            self.dtype, self.shape[1:], lambda first, stop: self.load(number, number + 1)[0][first:stop]
        )

    def changed(self, change: Callable[[Tensor], Tensor]) -> "StoredTensor":
        """Return the tensor with a change of its values that works row by row."""
        return StoredTensor(self.dtype, self.shape, lambda first, stop: change(self.load(first, stop)))

    def times(self, factor: float) -> "StoredTensor":
        """Return the tensor multiplied by a number."""
        return self if factor == 1 else self.changed(lambda rows: rows * factor)

    def fitted(self, shape: tuple[int, ...]) -> "StoredTensor":
        """Return a matrix with zeros added below or to the right, or taken away there.

        Reading it raises ArtefactError if what is taken away is not zero.
        """

        def load(first: int, stop: int) -> Tensor:
            whole, (rows, columns) = self.read(), shape
            if whole[rows:].any() or whole[:, columns:].any():
                raise ArtefactError(f"a matrix of {list(self.shape)} is not zero beyond {list(shape)}: it is not ours")
            padded = torch.zeros(shape, dtype=self.dtype)
            kept = whole[:rows, :columns]
            padded[: len(kept), : kept.shape[1]] = kept
            return padded[first:stop]

        return self if shape == self.shape else StoredTensor(self.dtype, shape, load)

    @property
    def num_bytes(self) -> int:
        """Size on disk."""
        return math.prod(self.shape) * self.dtype.itemsize


class Reading(Mapping[str, Tensor]):
    """Stored tensors as a mapping that reads each when it is looked up, and keeps none."""

    def __init__(self, tensors: Mapping[str, StoredTensor]) -> None:
        self._tensors = tensors

    def __getitem__(self, name: str) -> Tensor:
        return self._tensors[name].read()

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    def __len__(self) -> int:
        return len(self._tensors)


def held(tensor: Tensor) -> StoredTensor:
    """Return a tensor that is in memory already."""
    return StoredTensor(tensor.dtype, tuple(tensor.shape), lambda first, stop: tensor[first:stop])


def stacked(parts: list[StoredTensor]) -> StoredTensor:
    """Return tensors of one shape as the rows of a new one."""
    dtype = _widest(parts)
    return StoredTensor(
        dtype,
        (len(parts), *parts[0].shape),
        lambda first, stop: torch.stack([part.read().to(dtype) for part in parts[first:stop]]),
    )


def concatenated(parts: list[StoredTensor]) -> StoredTensor:
    """Return tensors one below the other."""
    shape, dtype = (sum(part.shape[0] for part in parts), *parts[0].shape[1:]), _widest(parts)
    return StoredTensor(
        dtype, shape, lambda first, stop: torch.cat([part.read().to(dtype) for part in parts])[first:stop]
    )


def _widest(parts: list[StoredTensor]) -> torch.dtype:
    """Return the type that holds all of these exactly."""
    return functools.reduce(torch.promote_types, [part.dtype for part in parts])


def same(one: StoredTensor, other: StoredTensor, rows: int = 4096) -> bool:
    """Return whether two tensors have the same values, reading some rows at a time."""
    return one.shape == other.shape and all(
        torch.equal(
            one.load(first, min(first + rows, one.shape[0])), other.load(first, min(first + rows, one.shape[0]))
        )
        for first in range(0, one.shape[0], rows)
    )


def open_file(path: Path) -> dict[str, StoredTensor]:
    """Return the tensors of a safetensors file.

    Raises: ArtefactError if it is missing, damaged, or holds other than floats of 16 or 32 bits.
    """
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(length)) if 0 < length < MAX_HEADER_BYTES else None
        room = path.stat().st_size - 8 - length
    except FileNotFoundError:
        raise ArtefactError(f"{path} is missing: copy the checkpoint again") from None
    except (OSError, ValueError, RecursionError) as error:
        raise ArtefactError(f"{path} is damaged ({error}): copy the checkpoint again") from None
    if not isinstance(header, dict):
        raise ArtefactError(f"{path} is damaged (it has no safetensors header): copy the checkpoint again")
    header.pop("__metadata__", None)
    return {name: _entry(path, name, entry, 8 + length, room) for name, entry in header.items()}


def _entry(path: Path, name: str, entry: Any, start: int, room: int) -> StoredTensor:
    try:
        shape, (begin, end), kind = tuple(entry["shape"]), entry["data_offsets"], str(entry["dtype"])
        if not all(type(number) is int and number >= 0 for number in (*shape, begin, end)):
            raise ValueError("sizes must be whole numbers")
        if kind in DTYPES and (
            not 0 <= begin <= end <= room or math.prod(shape) * DTYPES[kind].itemsize != end - begin
        ):
            raise ValueError(f"{end - begin} bytes for shape {list(shape)}, {room} in the file")
    except (KeyError, TypeError, ValueError) as error:
        raise ArtefactError(f"{path} is damaged at '{name}' ({error}): copy the checkpoint again") from None
    if kind not in DTYPES:
        raise ArtefactError(
            f"{path}: '{name}' is {kind}, not F32, BF16 or F16: give the original checkpoint, not a quantised one"
        )
    if not shape:
        raise ArtefactError(f"{path}: '{name}' is a single number, not a weight: give a checkpoint without it")
    return StoredTensor(DTYPES[kind], shape, _loader(path, start + begin, shape, DTYPES[kind]))


def _loader(path: Path, offset: int, shape: tuple[int, ...], dtype: torch.dtype) -> Callable[[int, int], Tensor]:
    row = math.prod(shape[1:]) * dtype.itemsize

    def load(first: int, stop: int) -> Tensor:
        raw = np.fromfile(path, dtype=np.uint8, count=row * (stop - first), offset=offset + row * first)
        if len(raw) != row * (stop - first):
            raise ArtefactError(f"{path} is shorter than when it was opened: copy the checkpoint again")
        return torch.from_numpy(raw).view(dtype).view(stop - first, *shape[1:])

    return load


def open_checkpoint(folder: Path) -> dict[str, StoredTensor]:
    """Return the tensors of a checkpoint in transformers' format, of one file or several shards.

    Raises: ArtefactError if a shard or a tensor of the index is missing or damaged, or there are pickles only.
    """
    index = folder / INDEX
    if not index.exists():
        if not (folder / SINGLE).exists() and any(folder.glob("*.bin")):
            raise ArtefactError(
                f"{folder} holds pickles (.bin), which can run code and are not read: save it as safetensors, with "
                "transformers' model.save_pretrained(FOLDER)"
            )
        return open_file(folder / SINGLE)
    places = read_json(index).get("weight_map")
    if not isinstance(places, dict) or not all(isinstance(name, str) for name in places.values()):
        raise ArtefactError(f"{index} has no weight_map: copy the checkpoint again")
    shards = {name: open_file(folder / Path(name).name) for name in sorted(set(places.values()))}
    for name, shard in places.items():
        if name not in shards[shard]:
            raise ArtefactError(
                f"{folder / shard} lacks '{name}', which {INDEX} places there: copy the checkpoint again"
            )
    return {name: shards[shard][name] for name, shard in places.items()}


def write_file(path: Path, tensors: Mapping[str, StoredTensor]) -> None:
    """Write tensors as safetensors, holding one at a time.

    Raises: MachineError if the disk is full.
    """
    # Wide types first, as safetensors does: then every tensor lies at a multiple of its item size.
    names = sorted(tensors, key=lambda name: (-tensors[name].dtype.itemsize, name))
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name in names:
        one = tensors[name]
        begin, end = end, end + one.num_bytes
        header[name] = {"dtype": NAMES[one.dtype], "shape": list(one.shape), "data_offsets": [begin, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with explain_disk_errors(path), path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name in names:
            tensor = tensors[name].read().contiguous()
            assert (tensor.dtype, tuple(tensor.shape)) == (tensors[name].dtype, tensors[name].shape), name
            file.write(tensor.reshape(-1).view(torch.uint8).numpy().data)


def write_checkpoint(folder: Path, tensors: Mapping[str, StoredTensor], max_shard_bytes: int) -> None:
    """Write tensors in transformers' format: one file, or shards of at most `max_shard_bytes` and an index.

    Raises: MachineError if the disk is full.
    """
    shards: list[dict[str, StoredTensor]] = [{}]
    filled = 0
    for name, tensor in tensors.items():
        if shards[-1] and filled + tensor.num_bytes > max_shard_bytes:
            shards.append({})
            filled = 0
        shards[-1][name] = tensor
        filled += tensor.num_bytes
    if len(shards) == 1:
        write_file(folder / SINGLE, shards[0])
        return
    places: dict[str, str] = {}
    for number, shard in enumerate(shards, 1):
        file = f"model-{number:05d}-of-{len(shards):05d}.safetensors"
        write_file(folder / file, shard)
        places |= dict.fromkeys(shard, file)
    total = sum(tensor.num_bytes for tensor in tensors.values())
    write_json(folder / INDEX, {"metadata": {"total_size": total}, "weight_map": places})
