"""`baicai export`: write a model in the format of transformers or llama.cpp."""

import dataclasses
import shutil
from pathlib import Path
from typing import Any, Literal

from baicai.artefact import atomic_folder, write_atomic, write_json
from baicai.config import Count, recipe
from baicai.convert.cards import ExportCards, write_export_cards
from baicai.convert.gguf_converter import pre_tokenizer_name
from baicai.convert.gguf_file import GGUF_FILE, Outtype, check_limits, convert_to_gguf
from baicai.convert.hf_config import CheckpointConfig, build_hf_config
from baicai.convert.lazy_safetensors import open_safetensors, write_checkpoint
from baicai.convert.tensor_names import BIAS_SHIFT, to_transformers
from baicai.data.hf_tokenizer import write_tokenizer
from baicai.leaves import leaf, trunk
from baicai.leaves.model import SparseModel, open_model
from baicai.run import Run, notify


@recipe
class ExportRecipe:
    """`baicai export`: write a model for another engine."""

    model: str
    """Path or hash of the model."""
    format: Literal["transformers", "gguf"] = "transformers"
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Precision in which transformers computes. The files keep every tensor's stored type regardless."""
    outtype: Outtype = "bf16"
    """Type of the weights in a GGUF file; routers and norms stay in float32."""
    llama_cpp: str | None = None
    """Path of a llama.cpp checkout whose converter replaces the installed one."""
    max_shard_bytes: Count = 4_000_000_000
    """Maximum size of one safetensors file."""


def export_model(config: ExportRecipe, run: Run) -> None:
    """Export the model to the run's artefact folder.

    Raises: ConfigError if the engine cannot represent it, MachineError if llama.cpp's converter is missing or fails.
    """
    model = open_model(config.model)
    run.record_inputs({"model": model.hash})
    if model.network.config.mtp:
        notify("The multi-token prediction module is not exported: these engines expect it to have its own experts.")
    if config.format == "gguf":
        for note in check_limits(transformers_config(model)[0], config.outtype):
            notify(note)
    with atomic_folder(run.out) as part:
        if config.format == "transformers":
            write_transformers(part, model, config.dtype, config.max_shard_bytes)
            return
        intermediate = run.scratch() / "transformers"
        shutil.rmtree(intermediate, ignore_errors=True)
        intermediate.mkdir()
        write_transformers(intermediate, model, config.dtype, config.max_shard_bytes)
        convert_to_gguf(intermediate, part / GGUF_FILE, config.outtype, config.llama_cpp)
        write_export_cards(part, export_cards(model))
        write_atomic(part / "README.md", _card(model, "a GGUF file for llama.cpp").encode())


def transformers_config(model: SparseModel) -> tuple[CheckpointConfig, dict[str, Any]]:
    """Return the configuration of a model as an engine sees it, and its config.json.

    Raises: ConfigError if transformers cannot represent it.
    """
    sizes, leaf_sizes = dataclasses.replace(model.network.config, mtp=False), model.network.leaf_config
    qwen = pre_tokenizer_name(model.tokenizer.definition) == "qwen2"
    config, shared_dim = build_hf_config(sizes, leaf_sizes, len(model.leaves), model.topk_group, qwen_words=qwen)
    architecture = config["architectures"][0]
    return CheckpointConfig(architecture, sizes, leaf_sizes, len(model.leaves), model.topk_group, shared_dim), config


def export_cards(model: SparseModel) -> ExportCards:
    """Return the cards of a model's trunk and leaves for the export."""
    return ExportCards(
        model=model.hash,
        topk_group=model.topk_group,
        shift=BIAS_SHIFT,
        trunk=model.trunk.card,
        leaves=[leaf.card for leaf in model.leaves.values()],
    )


def write_transformers(folder: Path, model: SparseModel, dtype: str, max_shard_bytes: int) -> None:
    """Write a model into a folder in transformers' format.

    Raises: ConfigError if transformers cannot represent it, MachineError if the disk is full.
    """
    sizes, config = transformers_config(model)
    unscaled = [1.0] * sizes.model.num_layers
    tensors = to_transformers(
        sizes,
        open_safetensors(model.trunk.path / trunk.TRUNK_TENSORS),
        [open_safetensors(part.path / leaf.LEAF_TENSORS) for part in model.leaves.values()],
        [model.calibration.get(part.hash, unscaled) for part in model.leaves.values()],
    )
    write_checkpoint(folder, tensors, max_shard_bytes)
    ids = write_tokenizer(folder, model.tokenizer, sizes.model.max_tokens)
    write_json(folder / "config.json", {**config, **ids, "dtype": dtype, "use_cache": True})
    write_export_cards(folder, export_cards(model))
    write_atomic(folder / "README.md", _card(model, sizes.architecture).encode())


def _card(model: SparseModel, format_name: str) -> str:
    names = ", ".join(model.leaves) or "none"
    return (
        f"# Baicai model {model.hash[:12]}\n\nExported by `baicai export` as {format_name}.\n\n"
        f"- trunk: `{model.trunk.hash}`\n- leaves: {names}\n\n"
        "`baicai import` restores the trunk and the leaves from a transformers folder.\n"
    )
