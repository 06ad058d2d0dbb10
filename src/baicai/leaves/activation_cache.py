"""Activations of the frozen layers below a leaf, computed once and cached on disk."""

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from baicai.artefact import explain_disk_errors
from baicai.data.batches import Batch
from baicai.data.shards import TokenShards
from baicai.errors import MachineError
from baicai.model.transformer import Transformer


class ActivationCache:
    """A float32 file [windows, S, D] for each source, with a flag for each window that has been computed.

    A window is computed when it is first used; after a kill at most one is computed again. The files belong to one
    trunk. Their disk space is allocated at once, since a disk that fills up under a memory map kills the process.
    """

    def __init__(self, folder: Path, model: Transformer, sources: Sequence[TokenShards], sequence_tokens: int) -> None:
        """Create or reopen the files.

        Raises: MachineError if the disk cannot hold them.
        """
        self.model, self.device = model, model.embedding.weight.device
        self._streams, self._computed = [], []
        shape = (sequence_tokens, model.config.dim)
        with explain_disk_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
            for source in sources:
                windows, name = source.num_windows(sequence_tokens), source.hash[:16]
                self._streams.append(_open(folder / f"{name}.attended", (windows, *shape), np.float32))
                self._computed.append(_open(folder / f"{name}.filled", (windows,), np.uint8))

    def lower(self, batch: Batch) -> Tensor:
        """Return the stream [B, S, D] that the experts of the first leaf layer read, as `Transformer.lower` does."""
        positions = list(zip(batch.source_B.tolist(), batch.windows_B.tolist(), strict=True))
        missing = [row for row, (source, window) in enumerate(positions) if not self._computed[source][window]]
        if missing:
            # All rows are computed together: the bits of a row must not depend on which others were cached.
            stream_BSD = self.model.lower(batch.tokens_BS1[:, :-1].to(self.device)).float()
            for row in missing:
                source, window = positions[row]
                self._streams[source][window] = stream_BSD[row].cpu().numpy()
                self._computed[source][window] = 1
            return stream_BSD
        rows = np.stack([self._streams[source][window] for source, window in positions])
        return torch.from_numpy(rows).to(self.device)


def _open(path: Path, shape: tuple[int, ...], dtype: type[np.generic]) -> np.ndarray:
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    if not path.exists() or path.stat().st_size != size:
        free = shutil.disk_usage(path.parent).free
        if size > free:
            raise MachineError(
                f"cached activations need {size / 1e9:.1f} GB, {path.parent} has {free / 1e9:.1f} GB free: "
                "set cache_activations=false"
            )
        with path.open("wb") as file:
            file.truncate(size)
            if hasattr(os, "posix_fallocate"):  # not on macOS and Windows
                os.posix_fallocate(file.fileno(), 0, size)
    return np.memmap(path, dtype=dtype, mode="r+", shape=shape)
