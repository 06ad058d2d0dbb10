"""q8_0 quantisation equals what llama.cpp's own converter writes."""

import dataclasses
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from baicai.convert.exporter import write_transformers
from baicai.convert.gguf_converter import main
from baicai.data.tokenizer import Tokenizer
from baicai.distillation.measuring.q8_0 import quantize_q8_0
from baicai.errors import MachineError
from baicai.leaves.model import SparseModel
from tests.convert.models import GQA, LATENT, PLAIN, WIDE_LEAF, make_model
from tests.model.conftest import tiny

WIDE_LATENT = dataclasses.replace(LATENT, nope_head_dim=32, value_head_dim=32)
CASES: dict[str, dict[str, Any]] = {
    "trunk": {"attention": PLAIN, "num_leaves": 0, "ffn_dim": 64},
    "own head, odd rows": {"attention": PLAIN, "num_leaves": 0, "tied_head": False},
    "leaves, odd rows below them": {"attention": GQA, "num_leaves": 2, "leaf": WIDE_LEAF, "ffn_dim": 48},
    "latent": {"attention": LATENT, "num_leaves": 2, "leaf": WIDE_LEAF, "ffn_dim": 64},
    "latent, whole blocks": {"attention": WIDE_LATENT, "num_leaves": 0, "ffn_dim": 64},
}


def read_back(model: SparseModel, folder: Path) -> tuple[dict[str, torch.Tensor], int]:
    """Convert a model to q8_0 and return the file's dequantised tensors and their total size in bytes."""
    from gguf import GGUFReader, quants

    (folder / "transformers").mkdir()
    write_transformers(folder / "transformers", model, "float32", 10**9)
    main(folder / "transformers", folder / "model.gguf", "q8_0", "")
    stored = GGUFReader(folder / "model.gguf").tensors
    tensors = {entry.name: torch.tensor(quants.dequantize(entry.data, entry.tensor_type)) for entry in stored}
    return tensors, sum(int(entry.n_bytes) for entry in stored)


@pytest.mark.parametrize("case", CASES)
def test_weights_and_bytes_match_the_file(case: str, tokenizer: Tokenizer, tmp_path: Path) -> None:
    pytest.importorskip("conversion", reason="llama.cpp's converter is not installed: baicai[gguf]")
    pytest.importorskip("transformers", reason="the converter reads its format")
    opened = make_model(tmp_path, tokenizer, **CASES[case])
    theirs, size = read_back(opened, tmp_path)
    ours, num_bytes = quantize_q8_0(opened.network)
    assert num_bytes == size
    assert torch.equal(ours.embedding.weight, theirs["token_embd.weight"])
    if ours.head is not None:
        assert torch.equal(ours.head.weight, theirs["output.weight"])
    for number in range(3):
        prefix, block = f"blk.{number}.", ours.layers[number]
        assert torch.equal(block.attention.out.weight, theirs[f"{prefix}attn_output.weight"])
        assert torch.equal(block.attention_norm.weight, theirs[f"{prefix}attn_norm.weight"])
        shared = "ffn_down_shexp.weight" if ours.leaves and number >= 1 else "ffn_down.weight"
        assert torch.equal(block.shared.down.weight, theirs[prefix + shared][:, : block.shared.down.weight.shape[1]])
        if "latent" in case:
            keys, values = (theirs[f"{prefix}attn_{name}_b.weight"] for name in "kv")
            assert torch.equal(block.attention.kv_up.weight, torch.cat((keys.mT, values), 1).flatten(0, 1))
        if ours.leaves and number >= 1:
            down_EDF = torch.cat([leaf.layer(number).down_EDF for leaf in ours.leaves.values()])
            router_ED = torch.cat([leaf.layer(number).router_ED for leaf in ours.leaves.values()])
            assert torch.equal(down_EDF, theirs[f"{prefix}ffn_down_exps.weight"])
            assert torch.equal(router_ED, theirs[f"{prefix}ffn_gate_inp.weight"])


def test_quantized_copy_runs_with_its_leaves_and_predicts_nearly_the_same(model: SparseModel) -> None:
    pytest.importorskip("gguf", reason="baicai[gguf] is not installed")
    before = {name: tensor.clone() for name, tensor in model.network.state_dict().items()}
    quantized = quantize_q8_0(model.network).model
    tokens_BS = torch.randint(300, (2, 16), generator=torch.Generator().manual_seed(0))
    theirs, ours = quantized(tokens_BS), model.network(tokens_BS)
    assert 1e-4 < (theirs - ours).abs().mean() / ours.std() < 0.05
    for tensor in quantized.parameters():
        tensor.data.zero_()
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.network.state_dict().items())


def test_multi_token_prediction_is_left_out() -> None:
    pytest.importorskip("gguf", reason="baicai[gguf] is not installed")
    assert quantize_q8_0(tiny(mtp=True)).num_bytes == quantize_q8_0(tiny()).num_bytes


def test_missing_library_names_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gguf", None)
    with pytest.raises(MachineError, match=r"pip install 'baicai\[gguf\]'"):
        quantize_q8_0(tiny())
