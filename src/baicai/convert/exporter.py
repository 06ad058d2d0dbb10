"""`baicai export`: a model leaves for another engine, as transformers or llama.cpp read it."""

import dataclasses
import shutil
from pathlib import Path
from typing import Any, Literal

from baicai.artefact import atomic_folder, write_atomic, write_json
from baicai.config import Count, recipe
from baicai.convert.cards import Origin, write_origin
from baicai.convert.gguf_converter import pre_tokenizer_name
from baicai.convert.gguf_file import GGUF_FILE, Outtype, check_limits, convert
from baicai.convert.hf_config import Sizes, write_sizes
from baicai.convert.lazy_safetensors import open_file, write_checkpoint
from baicai.convert.tensor_names import SHIFT, to_theirs
from baicai.data.hf_tokenizer import write_tokenizer
from baicai.leaves import leaf, trunk
from baicai.leaves.model import SparseModel, open_model
from baicai.run import Run, notify


@recipe
class ExportRecipe:
    """`baicai export`: write a model for another engine."""

    model: str
    """Path or hash."""
    format: Literal["transformers", "gguf"] = "transformers"
    dtype: Literal["float32", "bfloat16"] = "float32"
    """What transformers is to compute in. The files keep every tensor as it is stored, whatever this says."""
    outtype: Outtype = "bf16"
    """Weights of a GGUF file; routers and norms stay in 32 bits."""
    llama_cpp: str | None = None
    """A checkout of llama.cpp whose converter is to be used instead of the installed one."""
    max_shard_bytes: Count = 4_000_000_000


def export_model(config: ExportRecipe, run: Run) -> None:
    """Write the model to the run's artefact folder.

    Raises: ConfigError if the engine cannot represent it, MachineError if llama.cpp's converter is missing or fails.
    """
    model = open_model(config.model)
    run.record_inputs({"model": model.hash})
    if model.network.config.mtp:
        notify("Its multi-token prediction module stays behind: in these engines it would have experts of its own.")
    if config.format == "gguf":
        for note in check_limits(described(model)[0], config.outtype):
            notify(note)
    with atomic_folder(run.out) as part:
        if config.format == "transformers":
            write_transformers(part, model, config.dtype, config.max_shard_bytes)
            return
        between = run.scratch() / "transformers"
        shutil.rmtree(between, ignore_errors=True)
        between.mkdir()
        write_transformers(between, model, config.dtype, config.max_shard_bytes)
        convert(between, part / GGUF_FILE, config.outtype, config.llama_cpp)
        write_origin(part, origin_of(model))
        write_atomic(part / "README.md", _card(model, "a GGUF file for llama.cpp").encode())


def described(model: SparseModel) -> tuple[Sizes, dict[str, Any]]:
    """Return the sizes of a model as an engine sees it, and its config.json.

    Raises: ConfigError if transformers cannot represent it.
    """
    sizes, leaf_sizes = dataclasses.replace(model.network.config, mtp=False), model.network.leaf_config
    qwen = pre_tokenizer_name(model.tokenizer.definition) == "qwen2"
    config, shared_dim = write_sizes(sizes, leaf_sizes, len(model.leaves), model.topk_group, qwen_words=qwen)
    architecture = config["architectures"][0]
    return Sizes(architecture, sizes, leaf_sizes, len(model.leaves), model.topk_group, shared_dim), config


def origin_of(model: SparseModel) -> Origin:
    """Return what an export says of the trunk and the leaves that it is made of."""
    return Origin(
        model=model.hash,
        topk_group=model.topk_group,
        shift=SHIFT,
        trunk=model.trunk.card,
        leaves=[one.card for one in model.leaves.values()],
    )


def write_transformers(folder: Path, model: SparseModel, dtype: str, max_shard_bytes: int) -> None:
    """Write a model into a folder as transformers reads it.

    Raises: ConfigError if transformers cannot represent it, MachineError if the disk is full.
    """
    sizes, config = described(model)
    one = [1.0] * sizes.model.num_layers
    tensors = to_theirs(
        sizes,
        open_file(model.trunk.path / trunk.TRUNK_TENSORS),
        [open_file(part.path / leaf.LEAF_TENSORS) for part in model.leaves.values()],
        [model.calibration.get(part.hash, one) for part in model.leaves.values()],
    )
    write_checkpoint(folder, tensors, max_shard_bytes)
    ids = write_tokenizer(folder, model.tokenizer, sizes.model.max_tokens)
    write_json(folder / "config.json", {**config, **ids, "dtype": dtype, "use_cache": True})
    write_origin(folder, origin_of(model))
    write_atomic(folder / "README.md", _card(model, sizes.architecture).encode())


def _card(model: SparseModel, form: str) -> str:
    names = ", ".join(model.leaves) or "none"
    return (
        f"# Baicai model {model.hash[:12]}\n\nExported by `baicai export` as {form}.\n\n"
        f"- trunk: `{model.trunk.hash}`\n- leaves: {names}\n\n"
        "`baicai import` makes the trunk and the leaves of a transformers folder again.\n"
    )
