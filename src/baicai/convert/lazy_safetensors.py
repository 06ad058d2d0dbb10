"""Lazily read safetensors files that may be larger than memory, and write them one tensor at a time.

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
SINGLE_FILE, INDEX_FILE = "model.safetensors", "model.safetensors.index.json"
MAX_HEADER_BYTES = 100_000_000


@dataclass(frozen=True)
class LazyTensor:
    """A tensor whose rows are read on demand."""

    dtype: torch.dtype
    shape: tuple[int, ...]
    load: Callable[[int, int], Tensor]
    """Loads the rows [first, stop)."""

    def read(self) -> Tensor:
        """Read the whole tensor."""
        return self.load(0, self.shape[0])

    def row(self, number: int) -> "LazyTensor":
        """Return one row as a lazy tensor."""
        return LazyTensor(self.dtype, self.shape[1:], lambda first, stop: self.load(number, number + 1)[0][first:stop])

    def map(self, function: Callable[[Tensor], Tensor]) -> "LazyTensor":
        """Apply a function that works row by row."""
        return LazyTensor(self.dtype, self.shape, lambda first, stop: function(self.load(first, stop)))

    def scaled(self, factor: float) -> "LazyTensor":
        """Multiply the tensor by a scalar."""
        return self if factor == 1 else self.map(lambda rows: rows * factor)

    def resized(self, shape: tuple[int, ...]) -> "LazyTensor":
        """Pad a matrix with zeros or crop zeros, at the bottom and on the right.

        Reading it raises ArtefactError if a cropped element is not zero.
        """

        def load(first: int, stop: int) -> Tensor:
            matrix, (rows, columns) = self.read(), shape
            if matrix[rows:].any() or matrix[:, columns:].any():
                raise ArtefactError(
                    f"a matrix of shape {list(self.shape)} is not zero beyond {list(shape)}: baicai did not write it"
                )
            padded = torch.zeros(shape, dtype=self.dtype)
            overlap = matrix[:rows, :columns]
            padded[: len(overlap), : overlap.shape[1]] = overlap
            return padded[first:stop]

        return self if shape == self.shape else LazyTensor(self.dtype, shape, load)

    @property
    def num_bytes(self) -> int:
        """Size on disk."""
        return math.prod(self.shape) * self.dtype.itemsize


class LazyTensorMapping(Mapping[str, Tensor]):
    """Mapping of lazy tensors that reads a tensor on every lookup and keeps none."""

    def __init__(self, tensors: Mapping[str, LazyTensor]) -> None:
        self._tensors = tensors

    def __getitem__(self, name: str) -> Tensor:
        return self._tensors[name].read()

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    def __len__(self) -> int:
        return len(self._tensors)


def in_memory(tensor: Tensor) -> LazyTensor:
    """Wrap a tensor that is already in memory."""
    return LazyTensor(tensor.dtype, tuple(tensor.shape), lambda first, stop: tensor[first:stop])


def stack(parts: list[LazyTensor]) -> LazyTensor:
    """Stack tensors of equal shape along a new first dimension."""
    dtype = _widest(parts)
    return LazyTensor(
        dtype,
        (len(parts), *parts[0].shape),
        lambda first, stop: torch.stack([part.read().to(dtype) for part in parts[first:stop]]),
    )


def concatenate(parts: list[LazyTensor]) -> LazyTensor:
    """Concatenate tensors along the first dimension."""
    shape, dtype = (sum(part.shape[0] for part in parts), *parts[0].shape[1:]), _widest(parts)
    return LazyTensor(
        dtype, shape, lambda first, stop: torch.cat([part.read().to(dtype) for part in parts])[first:stop]
    )


def _widest(parts: list[LazyTensor]) -> torch.dtype:
    """Return the smallest type that represents all parts exactly."""
    return functools.reduce(torch.promote_types, [part.dtype for part in parts])


def equal(left: LazyTensor, right: LazyTensor, rows: int = 4096) -> bool:
    """Return whether two tensors are equal, reading `rows` rows at a time."""
    return left.shape == right.shape and all(
        torch.equal(
            left.load(first, min(first + rows, left.shape[0])), right.load(first, min(first + rows, left.shape[0]))
        )
        for first in range(0, left.shape[0], rows)
    )


def open_safetensors(path: Path) -> dict[str, LazyTensor]:
    """Open a safetensors file and return its tensors, unread.

    Raises: ArtefactError if it is missing or damaged, or holds types other than 16- and 32-bit floats.
    """
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(length)) if 0 < length < MAX_HEADER_BYTES else None
        data_bytes = path.stat().st_size - 8 - length
    except FileNotFoundError:
        raise ArtefactError(f"{path} is missing: copy the checkpoint again") from None
    except (OSError, ValueError, RecursionError) as error:
        raise ArtefactError(f"{path} is damaged ({error}): copy the checkpoint again") from None
    if not isinstance(header, dict):
        raise ArtefactError(f"{path} is damaged (it has no safetensors header): copy the checkpoint again")
    header.pop("__metadata__", None)
    return {name: _entry(path, name, entry, 8 + length, data_bytes) for name, entry in header.items()}


def _entry(path: Path, name: str, entry: Any, start: int, data_bytes: int) -> LazyTensor:
    try:
        shape, (begin, end), kind = tuple(entry["shape"]), entry["data_offsets"], str(entry["dtype"])
        if not all(type(number) is int and number >= 0 for number in (*shape, begin, end)):
            raise ValueError("sizes must be whole numbers")
        if kind in DTYPES and (
            not 0 <= begin <= end <= data_bytes or math.prod(shape) * DTYPES[kind].itemsize != end - begin
        ):
            raise ValueError(f"{end - begin} bytes for shape {list(shape)}, {data_bytes} in the file")
    except (KeyError, TypeError, ValueError) as error:
        raise ArtefactError(f"{path} is damaged at '{name}' ({error}): copy the checkpoint again") from None
    if kind not in DTYPES:
        raise ArtefactError(
            f"{path}: '{name}' has type {kind}, expected F32, BF16 or F16: use the original, unquantized checkpoint"
        )
    if not shape:
        raise ArtefactError(f"{path}: '{name}' is a scalar, not a weight: use a checkpoint without it")
    return LazyTensor(DTYPES[kind], shape, _loader(path, start + begin, shape, DTYPES[kind]))


def _loader(path: Path, offset: int, shape: tuple[int, ...], dtype: torch.dtype) -> Callable[[int, int], Tensor]:
    row = math.prod(shape[1:]) * dtype.itemsize

    def load(first: int, stop: int) -> Tensor:
        raw = np.fromfile(path, dtype=np.uint8, count=row * (stop - first), offset=offset + row * first)
        if len(raw) != row * (stop - first):
            raise ArtefactError(f"{path} is shorter than when it was opened: copy the checkpoint again")
        return torch.from_numpy(raw).view(dtype).view(stop - first, *shape[1:])

    return load


def open_checkpoint(folder: Path) -> dict[str, LazyTensor]:
    """Open a checkpoint in transformers' format, a single file or shards with an index.

    Raises: ArtefactError if a shard or an indexed tensor is missing or damaged, or the folder only has pickle files.
    """
    index = folder / INDEX_FILE
    if not index.exists():
        if not (folder / SINGLE_FILE).exists() and any(folder.glob("*.bin")):
            raise ArtefactError(
                f"{folder} only has pickle files (.bin), which can run code and are not read: save it as safetensors "
                "with transformers' model.save_pretrained(FOLDER)"
            )
        return open_safetensors(folder / SINGLE_FILE)
    shard_of = read_json(index).get("weight_map")
    if not isinstance(shard_of, dict) or not all(isinstance(name, str) for name in shard_of.values()):
        raise ArtefactError(f"{index} has no weight_map: copy the checkpoint again")
    shards = {name: open_safetensors(folder / Path(name).name) for name in sorted(set(shard_of.values()))}
    for name, shard in shard_of.items():
        if name not in shards[shard]:
            raise ArtefactError(f"{folder / shard} lacks '{name}', which {INDEX_FILE} lists: copy the checkpoint again")
    return {name: shards[shard][name] for name, shard in shard_of.items()}


def write_safetensors(path: Path, tensors: Mapping[str, LazyTensor]) -> None:
    """Write a safetensors file, with one tensor in memory at a time.

    Raises: MachineError if the disk is full.
    """
    # Wide types first, as safetensors does, so that every tensor is aligned to its item size.
    names = sorted(tensors, key=lambda name: (-tensors[name].dtype.itemsize, name))
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name in names:
        tensor = tensors[name]
        begin, end = end, end + tensor.num_bytes
        header[name] = {"dtype": NAMES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [begin, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with explain_disk_errors(path), path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name in names:
            values = tensors[name].read().contiguous()
            assert (values.dtype, tuple(values.shape)) == (tensors[name].dtype, tensors[name].shape), name
            file.write(values.reshape(-1).view(torch.uint8).numpy().data)


def write_checkpoint(folder: Path, tensors: Mapping[str, LazyTensor], max_shard_bytes: int) -> None:
    """Write a checkpoint in transformers' format: one file, or shards of at most `max_shard_bytes` with an index.

    Raises: MachineError if the disk is full.
    """
    shards: list[dict[str, LazyTensor]] = [{}]
    filled = 0
    for name, tensor in tensors.items():
        if shards[-1] and filled + tensor.num_bytes > max_shard_bytes:
            shards.append({})
            filled = 0
        shards[-1][name] = tensor
        filled += tensor.num_bytes
    if len(shards) == 1:
        write_safetensors(folder / SINGLE_FILE, shards[0])
        return
    shard_of: dict[str, str] = {}
    for number, shard in enumerate(shards, 1):
        file = f"model-{number:05d}-of-{len(shards):05d}.safetensors"
        write_safetensors(folder / file, shard)
        shard_of |= dict.fromkeys(shard, file)
    total = sum(tensor.num_bytes for tensor in tensors.values())
    write_json(folder / INDEX_FILE, {"metadata": {"total_size": total}, "weight_map": shard_of})
