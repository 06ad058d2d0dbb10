"""The model as an artefact: a lock file that names a trunk and its leaves by hash. No weights are copied."""

import dataclasses
import os
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tomli_w

from baicai.artefact import atomic_folder, find_artefact, hash_prefix, register_artefact, value_hash, write_atomic
from baicai.config import Count, Table, from_table, recipe
from baicai.data.tokenizer import Tokenizer
from baicai.errors import ArtefactError, ConfigError
from baicai.inference.cpu.weight_table import Int8Weights
from baicai.inference.quantize import load_int8_weights
from baicai.leaves.artefact_folder import check_expected_hash
from baicai.leaves.card import Card, model_readme
from baicai.leaves.leaf import GrownLeaf, open_leaf
from baicai.leaves.trunk import TRUNK_CARD, Trunk, open_trunk
from baicai.model.transformer import Transformer

FORMAT = 1
LOCK_FILE = "model.toml"
MAX_LOCK_BYTES = 2**20
"""Enough for hundreds of leaves, each calibrated in a hundred layers."""


@recipe
class LockedPart:
    """A trunk or a leaf in a lock file."""

    name: str = ""
    hash: str
    path: str


@recipe
class ModelLock:
    """Content of a lock file."""

    format: int
    hash: str
    topk_group: Count
    trunk: LockedPart
    leaf: list[LockedPart] = dataclasses.field(default_factory=list)
    calibration: dict[str, list[float]] = dataclasses.field(default_factory=dict)


@dataclass(frozen=True)
class SparseModel:
    """An opened model, ready to run. A trunk alone is a model without leaves."""

    hash: str
    network: Transformer
    trunk: Trunk
    leaves: dict[str, GrownLeaf]
    topk_group: int
    calibration: dict[str, list[float]]
    int8: Int8Weights | None = None
    """Weights to decode with, if the model was opened with int8 weights: by leaf name; the trunk has the empty name."""

    @property
    def tokenizer(self) -> Tokenizer:
        """The trunk's tokenizer."""
        return self.trunk.tokenizer


def assemble_model(
    trunk: Trunk, leaves: Sequence[GrownLeaf], topk_group: int, calibration: Mapping[str, list[float]] | None = None
) -> SparseModel:
    """Join opened leaves to an opened trunk, in the order of their hashes.

    Args:
        trunk: the trunk; its network is changed in place.
        leaves: leaves that were opened with this trunk.
        topk_group: number of leaves that a token may use in a layer.
        calibration: for each hash of a calibrated leaf, one scale of its router per layer.

    Raises: ConfigError if two leaves have the same name, or their sizes differ.
    """
    ordered = sorted(leaves, key=lambda leaf: leaf.hash)
    for leaf in ordered:
        trunk.network.join(leaf.name, leaf.experts)
    trunk.network.topk_group = topk_group
    scales = dict(calibration or {})
    for leaf in ordered:
        for layer, scale in zip(leaf.experts.layer_list(), scales.get(leaf.hash, []), strict=False):
            layer.router_ED.data = layer.router_ED.data * scale  # a copy: the tensor is mapped from the leaf's file
    digest = model_hash(trunk.hash, [leaf.hash for leaf in ordered], topk_group, scales)
    return SparseModel(digest, trunk.network, trunk, {leaf.name: leaf for leaf in ordered}, topk_group, scales)


def model_hash(trunk: str, leaves: Sequence[str], topk_group: int, calibration: Mapping[str, list[float]]) -> str:
    """Return the hash of a model, over the sorted set of its parts."""
    parts: Table = {"trunk": trunk, "leaves": sorted(leaves), "topk_group": topk_group}
    return value_hash(parts | ({"calibration": dict(calibration)} if calibration else {}))


def write_model(out: Path, model: SparseModel) -> str:
    """Write a model to a new folder and return its hash. Paths in the lock file are relative to the folder."""
    paths = {name: _relative(leaf.path, out) for name, leaf in model.leaves.items()}
    lock = lock_table(model, _relative(model.trunk.path, out), paths)
    with atomic_folder(out) as part:
        write_lock(part, lock, model.trunk.card, {name: leaf.card for name, leaf in model.leaves.items()})
    register_artefact(model.hash, out)
    return model.hash


def lock_table(model: SparseModel, trunk: str, leaves: Mapping[str, str]) -> Table:
    """Return the content of a model's lock file, given the paths of its trunk and leaves relative to its folder."""
    lock: Table = {
        "format": FORMAT,
        "hash": model.hash,
        "topk_group": model.topk_group,
        "trunk": {"hash": model.trunk.hash, "path": trunk},
        "leaf": [{"name": name, "hash": leaf.hash, "path": leaves[name]} for name, leaf in model.leaves.items()],
    }
    return lock | ({"calibration": model.calibration} if model.calibration else {})


def write_lock(folder: Path, lock: Table, trunk: Card, leaves: Mapping[str, Card]) -> None:
    """Write a lock file into a folder, and a README made from the cards of its trunk and leaves."""
    write_atomic(folder / LOCK_FILE, tomli_w.dumps(lock).encode())
    write_atomic(folder / "README.md", model_readme(lock, trunk, leaves).encode())


def open_model(
    reference: str | Path,
    weights: Literal["stored", "int8"] = "stored",
    *,
    peel: Sequence[str] = (),
    join: Sequence[str] = (),
) -> SparseModel:
    """Open a model, or a trunk as a model without leaves, and optionally change its leaves.

    Every part is verified against its hash. Joined leaves are checked as far as possible without running them; unlike
    `join_leaves`, this does not measure them on public text. A calibration belongs to the locked set of leaves and is
    dropped when the set changes.

    Example:
        model = open_model("out/model", peel=["law"])
        prompt = text_prompt(model, "The court")
        for chunk in stream_text(model, prompt, SamplingConfig(max_tokens=50)):
            print(chunk.text, end="")

    Args:
        reference: path of a model folder, of its lock file or of a trunk, or the hash of a model or trunk.
        weights: `int8` decodes faster; weights are quantized on first use and cached.
        peel: names or hashes of leaves to remove.
        join: paths or hashes of leaves to add.

    Raises: ArtefactError if the lock file or a part is missing, damaged, of another trunk, or does not have its locked
    hash; ConfigError if a leaf to peel is unknown, or if names or sizes collide.
    """
    path = find_artefact(reference)
    file = path if path.is_file() else path / LOCK_FILE
    if file.exists():
        trunk, leaves, lock = _open_locked(file, reference)
        topk_group, calibration = lock.topk_group, lock.calibration
    elif (path / TRUNK_CARD).exists():
        trunk, leaves, topk_group, calibration = open_trunk(reference), [], 1, {}
    else:
        raise ArtefactError(
            f"{path} is neither a model, nor its lock file, nor a trunk: give the path or hash of what `baicai join`, "
            "`trunk` or `import` made"
        )
    if peel or join:
        leaves = _remove_leaves(leaves, peel) + [open_leaf(leaf, trunk) for leaf in join]
        calibration = {}
    model = assemble_model(trunk, leaves, topk_group, calibration)
    return _quantize(model) if weights == "int8" else model


def _open_locked(file: Path, reference: str | Path) -> tuple[Trunk, list[GrownLeaf], ModelLock]:
    lock = read_lock(file)
    digest = model_hash(lock.trunk.hash, [leaf.hash for leaf in lock.leaf], lock.topk_group, lock.calibration)
    if lock.format != FORMAT or digest != lock.hash:
        raise ArtefactError(f"{file} does not match its hash: join the model again")
    check_expected_hash("model", file.parent, lock.hash, hash_prefix(reference))
    trunk = open_trunk(_find_part(file.parent, lock.trunk), lock.trunk.hash)
    leaves = [open_leaf(_find_part(file.parent, leaf), trunk, leaf.hash) for leaf in lock.leaf]
    register_artefact(lock.hash, file.parent)
    return trunk, leaves, lock


def _remove_leaves(leaves: Sequence[GrownLeaf], peel: Sequence[str]) -> list[GrownLeaf]:
    names, removed = [leaf.name for leaf in leaves], set()
    for reference in peel:
        by_hash = [leaf.name for leaf in leaves if len(reference) >= 8 and leaf.hash.startswith(reference)]
        matches = [reference] if reference in names else by_hash
        if len(matches) != 1:
            raise ConfigError(f"unknown leaf '{reference}': this model has {', '.join(names) or 'none'}")
        removed.add(matches[0])
    return [leaf for leaf in leaves if leaf.name not in removed]


def _quantize(model: SparseModel) -> SparseModel:
    int8 = {name: load_int8_weights(leaf.hash, leaf.experts.state_dict()) for name, leaf in model.leaves.items()}
    int8[""] = load_int8_weights(model.trunk.hash, model.network.trunk_tensors())
    return dataclasses.replace(model, int8=int8)


def read_lock(file: Path) -> ModelLock:
    """Read a lock file; its parts need not exist.

    Raises: ArtefactError if the file is not a lock file.
    """
    try:
        with file.open("rb") as opened:
            content = opened.read(MAX_LOCK_BYTES + 1)
        if len(content) > MAX_LOCK_BYTES:
            raise ValueError(f"it is larger than {MAX_LOCK_BYTES} bytes")
        return from_table(ModelLock, tomllib.loads(content.decode()), str(file))
    except (OSError, ValueError, RecursionError, ConfigError) as error:
        raise ArtefactError(f"{file} is not a model's lock file ({error}): join the model again") from None


def _find_part(folder: Path, part: LockedPart) -> Path:
    path = folder / part.path
    return path if path.exists() else find_artefact(part.hash)


def _relative(path: Path, out: Path) -> str:
    return os.path.relpath(path.resolve(), out.resolve())
