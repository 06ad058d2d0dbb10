"""Weights in int8: a scale for each row, made once for each artefact and kept in the user's folder."""

from collections.abc import Mapping

import torch
from torch import Tensor

from baicai.artefact import atomic_folder, home_folder, locked, read_tensors, remove_leftovers, write_tensors
from baicai.inference.cpu.simd import INT8_BLOCK
from baicai.inference.cpu.weight_table import SCALES


def quantize(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Return codes [..., rows, places up to a whole block] plus 128, uint8, and scales [..., rows], float32.

    Every row is rounded to 255 steps between its largest value and the opposite of it.
    """
    weight = weight.float()
    scale = weight.abs().amax(-1).clamp(min=torch.finfo(torch.float32).tiny) / 127
    codes = (weight / scale.unsqueeze(-1)).round().add(128).to(torch.uint8)
    missing = -weight.shape[-1] % INT8_BLOCK
    return torch.nn.functional.pad(codes, (0, missing), value=128), scale


def load_int8_weights(digest: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return an artefact's matrices in int8, memory-mapped; they are made if this is the first time.

    Routers are left out: what they choose is not to change.
    """
    folder = home_folder() / "int8" / digest
    with locked(folder):
        if not folder.exists():
            remove_leftovers(folder)
            found: dict[str, Tensor] = {}
            for name, tensor in tensors.items():
                if tensor.ndim >= 2 and "router" not in name:
                    found[name], found[name + SCALES] = quantize(tensor)
            with atomic_folder(folder) as part:
                write_tensors(part / "weights.safetensors", found)
    return read_tensors(folder / "weights.safetensors")
