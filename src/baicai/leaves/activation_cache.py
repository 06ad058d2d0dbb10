"""What the frozen layers below a leaf say of each token, computed once and kept on disk."""

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
    """One float32 file of [windows, S, D] for each source, and a flag for each window that is filled.

    A window is filled when it is first met; a kill leaves at worst a window that is computed again. The files belong to
    one trunk; their room on the disk is taken at once, since a disk that fills up under a map kills the process.
    """

    def __init__(self, folder: Path, model: Transformer, sources: Sequence[TokenShards], sequence_tokens: int) -> None:
        """Make or reopen the files.

        Raises: MachineError if the disk cannot hold them.
        """
        self.model, self.device = model, model.embedding.weight.device
        self._streams, self._filled = [], []
        shape = (sequence_tokens, model.config.dim)
        with explain_disk_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
            for source in sources:
                windows, name = source.num_windows(sequence_tokens), source.hash[:16]
                self._streams.append(_open(folder / f"{name}.attended", (windows, *shape), np.float32))
                self._filled.append(_open(folder / f"{name}.filled", (windows,), np.uint8))

    def lower(self, batch: Batch) -> Tensor:
        """Return the stream [B, S, D] as the first leaf layer's experts read it."""
        places = list(zip(batch.source_B.tolist(), batch.windows_B.tolist(), strict=True))
        missing = [row for row, (source, window) in enumerate(places) if not self._filled[source][window]]
        if missing:
            # All rows are computed together: the bits of a row must not depend on which others were known.
            stream_BSD = self.model.lower(batch.tokens_BS1[:, :-1].to(self.device)).float()
            for row in missing:
                source, window = places[row]
                self._streams[source][window] = stream_BSD[row].cpu().numpy()
                self._filled[source][window] = 1
            return stream_BSD
        rows = np.stack([self._streams[source][window] for source, window in places])
        return torch.from_numpy(rows).to(self.device)


def _open(path: Path, shape: tuple[int, ...], dtype: type[np.generic]) -> np.ndarray:
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    if not path.exists() or path.stat().st_size != size:
        free = shutil.disk_usage(path.parent).free
        if size > free:
            need = f"cached activations need {size / 1e9:.1f} GB, {path.parent} has {free / 1e9:.1f} GB"
            raise MachineError(f"{need}: set cache_activations=false")
        with path.open("wb") as file:
            file.truncate(size)
            if hasattr(os, "posix_fallocate"):  # macOS has none
                os.posix_fallocate(file.fileno(), 0, size)
    return np.memmap(path, dtype=dtype, mode="r+", shape=shape)
