"""Checkpoints of other projects become trunks that say the same, to the last rounding."""

from pathlib import Path
from typing import Any

import pytest
import torch

from baicai.exchange.importing import ImportRecipe, import_checkpoint
from baicai.leaves.trunk import open_trunk
from baicai.run import carry_out
from tests.exchange.checkpoints import CHATML, byte_level, checkpoint

transformers = pytest.importorskip("transformers")

LLAMA3_ROPE = {
    "rope_type": "llama3",
    "rope_theta": 500.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}
YARN = {"rope_type": "yarn", "rope_theta": 1000.0, "factor": 4.0, "original_max_position_embeddings": 32}
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("Llama", {}),
    "llama-tied": ("Llama", {"tie_word_embeddings": True, "num_key_value_heads": 4}),
    "llama-head-size": ("Llama", {"head_dim": 16}),
    "llama-linear": ("Llama", {"rope_parameters": {"rope_type": "linear", "factor": 4.0, "rope_theta": 10000.0}}),
    "llama-3": ("Llama", {"rope_parameters": LLAMA3_ROPE}),
    "llama-yarn": ("Llama", {"rope_parameters": YARN}),
    "llama-yarn-attention": ("Llama", {"rope_parameters": YARN | {"attention_factor": 0.7, "beta_fast": 16.0}}),
    "llama-yarn-mscale": (
        "Llama",
        {"rope_parameters": YARN | {"mscale": 1.0, "mscale_all_dim": 0.7, "truncate": False}},
    ),
    "mistral": ("Mistral", {"sliding_window": None, "rms_norm_eps": 1e-5}),
    "mistral-window": ("Mistral", {"sliding_window": 64}),
    "qwen2": ("Qwen2", {"tie_word_embeddings": True}),
    "qwen2-window": ("Qwen2", {"use_sliding_window": True, "sliding_window": 64, "max_window_layers": 1}),
    "qwen3": ("Qwen3", {"head_dim": 16}),
}


def imported(tmp_path: Path, **keys: Any) -> Path:
    carry_out(import_checkpoint, ImportRecipe(source=str(tmp_path / "theirs"), **keys), tmp_path / "trunk")
    return tmp_path / "trunk"


@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_logits_equal_transformers(family: str, tmp_path: Path) -> None:
    kind, changes = FAMILIES[family]
    network = checkpoint(tmp_path / "theirs", kind, **changes)
    byte_level(tmp_path / "theirs", "qwen", CHATML)
    trunk = open_trunk(imported(tmp_path, replay_tokens=0))
    tokens_BS = torch.randint(400, (2, min(100, trunk.model.config.max_tokens)))
    difference = (network(tokens_BS).logits - trunk.model(tokens_BS)).abs().max()
    print(family, float(difference), float(trunk.model(tokens_BS).abs().max()))
    assert difference <= 1e-4
