"""What 8 bits cost: a model with the weights that llama.cpp reads in its GGUF file of type q8_0.

llama.cpp's converter keeps vectors and routers in 32 bits, also puts embeddings into 8, and takes 16 where rows are no
whole blocks. Shape suffixes: H heads, R rank of the compressed cache, X rows, Y columns.
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
    """A model in 8 bits."""

    model: Transformer
    """A copy whose weights are what the 8 bits stand for, in float32."""
    num_bytes: int
    """Of all weights in the file."""


def quantize_q8_0(model: Transformer) -> QuantizedModel:
    """Return what becomes of a model in a GGUF file of type q8_0; the module for multi-token prediction has no part.

    Raises: MachineError if the library gguf is not installed.
    """
    stored = {
        name: _tensor(model, name, tensor) for name, tensor in model.state_dict().items() if not name.startswith("mtp.")
    }
    made = copy.deepcopy(model)
    made.load_state_dict({name: tensor for name, (tensor, _) in stored.items()}, strict=False, assign=True)
    return QuantizedModel(made, sum(size for _, size in stored.values()))


def _tensor(model: Transformer, name: str, tensor: Tensor) -> tuple[Tensor, int]:
    """Return a tensor of the model as it is read from the file, and its bytes there."""
    if tensor.ndim < 2 or name.endswith("router_ED"):
        return tensor.to(torch.float32, copy=True), 4 * tensor.numel()
    attention = model.config.attention
    if isinstance(attention, MLAConfig) and name.endswith(".kv_up.weight"):  # its keys lie transposed
        heads_HXR = tensor.view(attention.num_heads, -1, attention.kv_lora_rank)
        keys_HXR, values_HXR = heads_HXR[:, : attention.nope_head_dim], heads_HXR[:, attention.nope_head_dim :]
        (keys_HRX, keys_bytes), (values_HXR, values_bytes) = _matrices(keys_HXR.mT), _matrices(values_HXR)
        return torch.cat((keys_HRX.mT, values_HXR), 1).flatten(0, 1), keys_bytes + values_bytes
    if ".shared." in name and model.leaf_config and int(name.split(".")[1]) >= model.first_leaf_layer:
        spare = -model.config.ffn_dim % model.leaf_config.expert_dim  # it is made a whole number of experts wide
        wide_XY, size = _matrices(F.pad(tensor, (0, spare) if ".down." in name else (0, 0, 0, spare)))
        return wide_XY[: tensor.shape[0], : tensor.shape[1]], size
    return _matrices(tensor)


def _matrices(tensor: Tensor) -> tuple[Tensor, int]:
    try:
        from gguf import GGMLQuantizationType, QuantError, quants
    except ImportError:
        raise MachineError(
            "what 8 bits cost is told by gguf, which is not installed: pip install 'baicai[gguf]'"
        ) from None
    plain, kind = tensor.float().cpu().contiguous().numpy(), GGMLQuantizationType.Q8_0
    try:
        codes = quants.quantize(plain, kind)
    except QuantError:
        kind = GGMLQuantizationType.F16
        codes = quants.quantize(plain, kind)
    return torch.from_numpy(quants.dequantize(codes, kind)).to(tensor.device), codes.nbytes
