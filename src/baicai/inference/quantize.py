"""Int8 weights with one scale per row, quantized once per artefact and cached in the user's folder."""

from collections.abc import Mapping

import torch
from torch import Tensor

from baicai.artefact import atomic_folder, home_folder, locked, read_tensors, remove_leftovers, write_tensors
from baicai.inference.cpu.simd import INT8_BLOCK
from baicai.inference.cpu.weight_table import SCALES


def quantize(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Quantize a matrix symmetrically, to 255 levels between plus and minus the largest magnitude of each row.

    Returns:
        codes plus 128: [..., rows, columns padded to a multiple of INT8_BLOCK], uint8.
        scales: [..., rows], float32.
    """
    weight = weight.float()
    scale = weight.abs().amax(-1).clamp(min=torch.finfo(torch.float32).tiny) / 127
    codes = (weight / scale.unsqueeze(-1)).round().add(128).to(torch.uint8)
    padding = -weight.shape[-1] % INT8_BLOCK
    return torch.nn.functional.pad(codes, (0, padding), value=128), scale


def load_int8_weights(digest: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return an artefact's matrices in int8, memory-mapped. The first call for `digest` quantizes and caches them.

    Routers are left out, so that the choice of experts does not change.
    """
    folder = home_folder() / "int8" / digest
    with locked(folder):
        if not folder.exists():
            remove_leftovers(folder)
            quantized: dict[str, Tensor] = {}
            for name, tensor in tensors.items():
                if tensor.ndim >= 2 and "router" not in name:
                    quantized[name], quantized[name + SCALES] = quantize(tensor)
            with atomic_folder(folder) as part:
                write_tensors(part / "weights.safetensors", quantized)
    return read_tensors(folder / "weights.safetensors")
