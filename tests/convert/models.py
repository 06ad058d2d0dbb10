"""Small models with random weights, as artefacts on disk."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from baicai.data.shards import write_tokens
from baicai.data.tokenizer import Tokenizer
from baicai.leaves.leaf import open_leaf, save_leaf
from baicai.leaves.model import SparseModel, assemble_model, open_model, write_model
from baicai.leaves.trunk import open_trunk, save_trunk
from baicai.model.config import GQAConfig, LeafConfig, MLAConfig, ModelConfig
from baicai.model.transformer import Transformer
from tests.model.conftest import GQA, LEAF, MLA, grown

ABOUT: dict[str, Any] = {"metrics": {"tokens": 1, "loss": 1.0}, "data": [], "curve": []}
PLAIN = GQAConfig(num_heads=4, num_kv_heads=2, head_dim=8)
LATENT = MLAConfig(
    kind="mla", num_heads=4, kv_lora_rank=32, q_lora_rank=32, nope_head_dim=8, rope_head_dim=8, value_head_dim=16
)
WIDE_LEAF = LeafConfig(first_layer=1, num_experts=4, expert_dim=32, top_k=2)
__all__ = ["GQA", "LATENT", "LEAF", "MLA", "PLAIN", "WIDE_LEAF", "make_model"]


def make_model(
    folder: Path,
    tokenizer: Tokenizer,
    attention: GQAConfig | MLAConfig = GQA,
    num_leaves: int = 3,
    *,
    topk_group: int = 1,
    leaf: LeafConfig = LEAF,
    calibration: float = 1.0,
    **sizes: Any,
) -> SparseModel:
    """Write a trunk, leaves and a lock file into a folder and return the model, opened."""
    usual = {"vocab_size": tokenizer.vocab_size, "dim": 32, "num_layers": 3, "ffn_dim": 48, "max_tokens": 64}
    model = Transformer(ModelConfig(**usual | {"attention": attention} | sizes))
    model.initialize(0)
    for name, parameter in model.named_parameters():
        drawn = torch.Generator().manual_seed(len(name))
        if "norm" in name or name.endswith("bias"):
            torch.nn.init.uniform_(parameter, 0.5, 1.5, generator=drawn)
        else:
            torch.nn.init.normal_(parameter, std=0.15, generator=drawn)
    tokens = np.random.default_rng(0).integers(0, tokenizer.vocab_size, 400)
    replay = write_tokens(tokens, tokenizer, folder / "replay", source="drawn", licence="CC0-1.0")
    save_trunk(folder / "trunk", model, tokenizer, replay=replay, card_fields=ABOUT)
    trunk = open_trunk(folder / "trunk")
    for seed in range(num_leaves):
        save_leaf(folder / f"leaf-{seed}", f"leaf-{seed}", grown(model, seed, leaf), trunk, data=[], card_fields=ABOUT)
    leaves = [open_leaf(folder / f"leaf-{seed}", trunk) for seed in range(num_leaves)]
    layers = model.config.num_layers - leaf.first_layer
    scales = {one.hash: [calibration] * layers for one in leaves} if calibration != 1 else {}
    write_model(folder / "model", assemble_model(trunk, leaves, topk_group, scales))
    return open_model(folder / "model")
