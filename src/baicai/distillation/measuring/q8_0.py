"""8-bit quantisation as in a GGUF file of type q8_0, to measure its cost in quality.

llama.cpp's converter stores vectors and routers in 32 bits and matrices, embeddings included, in 8 bits, or in 16 bits
if their rows do not divide into whole blocks. Shape suffixes: H heads, R rank of the compressed cache, X rows,
Y columns.
"""

import copy
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from baicai.errors import MachineError
from baicai.model.config import MLAConfig
from baicai.model.transformer import Transformer


class QuantizedModel(NamedTuple):
    """A model after a round trip through q8_0."""

    model: Transformer
    """Copy of the model with the dequantised weights, in float32."""
    num_bytes: int
    """Size of all weights in the file."""


def quantize_q8_0(model: Transformer) -> QuantizedModel:
    """Quantise a model as a GGUF file of type q8_0 would; the module for multi-token prediction is left out.

    Raises: MachineError if the gguf library is not installed.
    """
    tensors = {
        name: _quantize(model, name, tensor)
        for name, tensor in model.state_dict().items()
        if not name.startswith("mtp.")
    }
    quantized = copy.deepcopy(model)
    quantized.load_state_dict({name: tensor for name, (tensor, _) in tensors.items()}, strict=False, assign=True)
    return QuantizedModel(quantized, sum(size for _, size in tensors.values()))


def _quantize(model: Transformer, name: str, tensor: Tensor) -> tuple[Tensor, int]:
    """Return a tensor as it is read back from the file, and its size there in bytes."""
    if tensor.ndim < 2 or name.endswith("router_ED"):
        return tensor.to(torch.float32, copy=True), 4 * tensor.numel()
    attention = model.config.attention
    if isinstance(attention, MLAConfig) and name.endswith(".kv_up.weight"):  # llama.cpp stores the keys transposed
        heads_HXR = tensor.view(attention.num_heads, -1, attention.kv_lora_rank)
        keys_HXR, values_HXR = heads_HXR[:, : attention.nope_head_dim], heads_HXR[:, attention.nope_head_dim :]
        (keys_HRX, keys_bytes), (values_HXR, values_bytes) = (
            _quantize_matrices(keys_HXR.mT),
            _quantize_matrices(values_HXR),
        )
        return torch.cat((keys_HRX.mT, values_HXR), 1).flatten(0, 1), keys_bytes + values_bytes
    if ".shared." in name and model.leaf_config and int(name.split(".")[1]) >= model.first_leaf_layer:
        spare = -model.config.ffn_dim % model.leaf_config.expert_dim  # padded to a whole number of experts
        wide_XY, size = _quantize_matrices(F.pad(tensor, (0, spare) if ".down." in name else (0, 0, 0, spare)))
        return wide_XY[: tensor.shape[0], : tensor.shape[1]], size
    return _quantize_matrices(tensor)


def _quantize_matrices(tensor: Tensor) -> tuple[Tensor, int]:
    try:
        from gguf import GGMLQuantizationType, QuantError, quants
    except ImportError:
        raise MachineError(
            "measuring 8-bit quality needs the gguf library, which is not installed: pip install 'baicai[gguf]'"
        ) from None
    plain, kind = tensor.float().cpu().contiguous().numpy(), GGMLQuantizationType.Q8_0
    try:
        codes = quants.quantize(plain, kind)
    except QuantError:
        kind = GGMLQuantizationType.F16
        codes = quants.quantize(plain, kind)
    return torch.from_numpy(quants.dequantize(codes, kind)).to(tensor.device), codes.nbytes
