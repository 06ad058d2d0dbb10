"""Models of the speed benchmark, with random weights, as artefacts and as exports for the other engines."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import torch

from baicai.cli.quickstart import STARTER
from baicai.convert.exporter import ExportRecipe, export_model
from baicai.data.shards import write_tokens
from baicai.data.sources import SourceConfig
from baicai.leaves.leaf import open_leaf, save_leaf
from baicai.leaves.model import SparseModel, assemble_model, open_model, write_model
from baicai.leaves.train_trunk import TrunkRecipe, train_trunk
from baicai.leaves.trunk import Trunk, open_trunk, save_trunk
from baicai.model.config import GQAConfig, LeafConfig, ModelConfig
from baicai.model.experts import Leaf
from baicai.model.transformer import Transformer
from baicai.run import run_stage
from baicai.training.config import TrainConfig

CARD_FIELDS: dict[str, Any] = {"metrics": {"tokens": 1, "loss": 1.0}, "data": [], "curve": []}
TOPK_GROUP = 2
DOCS, HELD_OUT = (
    SourceConfig(domain="docs", path=f"generator:python_docs?split={split}") for split in ("train", "valid")
)
SIZES = {
    "tiny": (
        ModelConfig(
            vocab_size=8192,
            dim=256,
            num_layers=8,
            ffn_dim=512,
            attention=GQAConfig(num_heads=4, num_kv_heads=2, head_dim=64),
            max_tokens=1024,
        ),
        LeafConfig(first_layer=4, num_experts=4, expert_dim=64, top_k=4),
        4,
    ),
    "small": (
        ModelConfig(
            vocab_size=8192,
            dim=512,
            num_layers=12,
            ffn_dim=448,
            attention=GQAConfig(num_heads=8, num_kv_heads=4, head_dim=64),
            max_tokens=1024,
        ),
        LeafConfig(first_layer=6, num_experts=8, expert_dim=224, top_k=4),
        8,
    ),
    "imported": (
        ModelConfig(
            vocab_size=8192,
            dim=576,
            num_layers=30,
            ffn_dim=1536,
            attention=GQAConfig(num_heads=9, num_kv_heads=3, head_dim=64),
            max_tokens=1024,
        ),
        LeafConfig(first_layer=15, num_experts=4, expert_dim=192, top_k=4),
        4,
    ),
}
"""Trunk, leaf and number of leaves of each model. Total and active parameters are 10.5 and 7.6 million (tiny), 155 and
30 million (small), and 191 and 131 million (imported, whose trunk has the shape of SmolLM2-135M except its vocabulary).
"""


def make_leaf(config: ModelConfig, sizes: LeafConfig, seed: int) -> Leaf:
    """Return a randomly initialised leaf whose output is not zero."""
    leaf = Leaf(config, sizes)
    leaf.initialize(seed)
    for layer in leaf.layer_list():
        torch.nn.init.normal_(layer.down_EDF, std=0.02, generator=torch.Generator().manual_seed(seed))
    return leaf


def make_model(name: str, folder: Path, num_leaves: int | None = None, topk_group: int = TOPK_GROUP) -> SparseModel:
    """Open a model of the named size from the folder, creating it at the first call."""
    config, sizes, default_leaves = SIZES[name]
    count = num_leaves or default_leaves
    path = folder / f"{name}-{count}"
    if not path.exists():
        starter = open_trunk(STARTER)
        model = Transformer(config)
        model.initialize(0)
        tokens = np.random.default_rng(0).integers(0, config.vocab_size, 4000)
        text = folder / f"{name}-{count}-text"
        replay = write_tokens(tokens, starter.tokenizer, text, source="drawn", licence="CC0-1.0")
        save_trunk(folder / f"{name}-{count}-trunk", model, starter.tokenizer, replay=replay, card_fields=CARD_FIELDS)
        trunk = open_trunk(folder / f"{name}-{count}-trunk")
        leaves = []
        for seed in range(count):
            out = folder / f"{name}-{count}-leaf-{seed}"
            save_leaf(out, f"leaf-{seed}", make_leaf(config, sizes, seed), trunk, data=[], card_fields=CARD_FIELDS)
            leaves.append(open_leaf(out, trunk))
        write_model(path, assemble_model(trunk, leaves, topk_group))
    return open_model(path)


def drafting_trunk(folder: Path) -> Trunk:
    """Train a small trunk with a multi-token prediction module on Python's documentation, unless it exists."""
    recipe = TrunkRecipe(
        tokenizer=str(STARTER),
        data=[DOCS],
        model=dataclasses.replace(SIZES["small"][0], mtp=True),
        train=TrainConfig(tokens=1_000_000, batch_sequences=8),
        source_loss=0.0,
    )
    run_stage(train_trunk, recipe, folder / "small-mtp-trunk")
    return open_trunk(folder / "small-mtp-trunk")


def export(model: SparseModel, name: str, kind: str, folder: Path) -> Path:
    """Export a model and return the folder; `kind` is transformers, or f32, bf16 or q8_0 for a GGUF file."""
    out = folder / f"{name}-{kind}"
    source = str(folder / f"{name}-{len(model.leaves)}")
    recipe = (
        ExportRecipe(model=source)
        if kind == "transformers"
        else ExportRecipe(model=source, format="gguf", outtype=kind)  # type: ignore[arg-type]
    )
    run_stage(export_model, recipe, out)
    return out


def training_operations(name: str, sequence_tokens: int) -> int:
    """Return the floating-point operations of training on one token: three times those of its forward pass.

    Matrix products with active weights count, and attention over the tokens before, half of the sequence on average.
    """
    config, leaf, count = SIZES[name]
    attention = config.attention
    heads = attention.num_heads + 2 * attention.num_kv_heads + attention.num_heads  # type: ignore[union-attr]
    layer = config.dim * heads * attention.head_dim + 3 * config.dim * config.ffn_dim  # type: ignore[union-attr]
    routed = 3 * config.dim * leaf.expert_dim * leaf.top_k + config.dim * leaf.num_experts * count
    routed *= config.num_layers - leaf.first_layer
    attended = sequence_tokens * attention.num_heads * attention.head_dim  # type: ignore[union-attr]
    return 6 * (config.num_layers * (layer + attended) + routed + config.vocab_size * config.dim)
