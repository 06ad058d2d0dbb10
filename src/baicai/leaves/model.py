"""A model: a lock file that names a trunk and its leaves by hash. No weights are copied."""

import dataclasses
import os
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import tomli_w

from baicai.artefact import atomic_folder, find_artefact, hash_prefix, register_artefact, value_hash, write_atomic
from baicai.config import Count, from_table, recipe
from baicai.data.tokenizer import Tokenizer
from baicai.errors import ArtefactError, ConfigError
from baicai.inference.cpu.weight_table import Int8Weights
from baicai.inference.quantize import load_int8_weights
from baicai.leaves.card import model_readme
from baicai.leaves.leaf import GrownLeaf, open_leaf
from baicai.leaves.trunk import TRUNK_CARD, Trunk, open_trunk
from baicai.model.transformer import Transformer

FORMAT = 1
MAX_LOCK_BYTES = 2**20
"""Room for hundreds of leaves, each calibrated in a hundred layers."""


@recipe
class LockedPart:
    """A trunk or a leaf of a model."""

    name: str = ""
    hash: str
    path: str


@recipe
class ModelLock:
    """What a model is made of."""

    format: int
    hash: str
    topk_group: Count
    trunk: LockedPart
    leaf: list[LockedPart] = dataclasses.field(default_factory=list)
    calibration: dict[str, list[float]] = dataclasses.field(default_factory=dict)


@dataclass(frozen=True)
class SparseModel:
    """An opened model, ready to run; a trunk alone is a model without leaves."""

    hash: str
    network: Transformer
    trunk: Trunk
    leaves: dict[str, GrownLeaf]
    topk_group: int
    calibration: dict[str, list[float]]
    int8: Int8Weights | None = None
    """Weights in int8 to decode with, where they were asked for."""

    @property
    def tokenizer(self) -> Tokenizer:
        """The trunk's tokenizer."""
        return self.trunk.tokenizer


def assemble_model(
    trunk: Trunk, leaves: Sequence[GrownLeaf], topk_group: int, calibration: Mapping[str, list[float]] | None = None
) -> SparseModel:
    """Join opened leaves to an opened trunk, in the order of their hashes.

    Raises: ConfigError if two leaves have one name or their sizes differ.
    """
    ordered = sorted(leaves, key=lambda leaf: leaf.hash)
    for leaf in ordered:
        trunk.network.join(leaf.name, leaf.experts)
    trunk.network.topk_group = topk_group
    scales = dict(calibration or {})
    for leaf in ordered:
        for layer, scale in zip(leaf.experts.layer_list(), scales.get(leaf.hash, []), strict=False):
            layer.router_ED.data = layer.router_ED.data * scale  # in place it would change the leaf's mapped file
    digest = model_hash(trunk.hash, [leaf.hash for leaf in ordered], topk_group, scales)
    return SparseModel(digest, trunk.network, trunk, {leaf.name: leaf for leaf in ordered}, topk_group, scales)


def model_hash(trunk: str, leaves: Sequence[str], topk_group: int, calibration: Mapping[str, list[float]]) -> str:
    """Return the identity of a model: a hash over the sorted set of its parts."""
    parts: dict[str, Any] = {"trunk": trunk, "leaves": sorted(leaves), "topk_group": topk_group}
    return value_hash(parts | ({"calibration": dict(calibration)} if calibration else {}))


def write_model(out: Path, model: SparseModel) -> str:
    """Write the lock file and its card; paths in it are relative, hashes decide."""
    places = {name: _relative(leaf.path, out) for name, leaf in model.leaves.items()}
    lock = lock_table(model, _relative(model.trunk.path, out), places)
    with atomic_folder(out) as part:
        write_lock(part, lock, model.trunk.card, {name: leaf.card for name, leaf in model.leaves.items()})
    register_artefact(model.hash, out)
    return model.hash


def lock_table(model: SparseModel, trunk: str, leaves: Mapping[str, str]) -> dict[str, Any]:
    """Return the lock file of a model whose parts are at these paths, from its folder."""
    lock: dict[str, Any] = {
        "format": FORMAT,
        "hash": model.hash,
        "topk_group": model.topk_group,
        "trunk": {"hash": model.trunk.hash, "path": trunk},
        "leaf": [{"name": name, "hash": leaf.hash, "path": leaves[name]} for name, leaf in model.leaves.items()],
    }
    return lock | ({"calibration": model.calibration} if model.calibration else {})


def write_lock(
    part: Path, lock: Mapping[str, Any], trunk: Mapping[str, Any], leaves: Mapping[str, Mapping[str, Any]]
) -> None:
    """Write a lock file and its card into a folder; the cards of its trunk and leaves say what they are."""
    write_atomic(part / "model.toml", tomli_w.dumps(lock).encode())
    write_atomic(part / "README.md", model_readme(lock, trunk, leaves).encode())


def open_model(
    reference: str | Path,
    weights: Literal["stored", "int8"] = "stored",
    *,
    peel: Sequence[str] = (),
    join: Sequence[str] = (),
) -> SparseModel:
    """Return the model that a path or hash stands for: a model folder, its lock file, or a trunk.

    With weights in int8 it decodes faster; they are made when first asked for. Leaves to peel are names or hashes,
    those to join are paths or hashes, and checked as far as that goes without running them. A calibration is for leaves
    that are locked, and goes when they change.

    Raises: ArtefactError if the lock file or a part is missing, damaged or of another trunk, or does not have the hash
    locked; ConfigError if there is no leaf to peel, or if names or sizes collide.
    """
    path = find_artefact(reference)
    file = path if path.is_file() else path / "model.toml"
    if file.exists():
        trunk, leaves, lock = _open_locked(file, reference)
        topk_group, calibration = lock.topk_group, lock.calibration
    elif (path / TRUNK_CARD).exists():
        trunk, leaves, topk_group, calibration = open_trunk(reference), [], 1, {}
    else:
        told = f"{path} is neither a model, nor its lock file, nor a trunk"
        raise ArtefactError(f"{told}: give what `baicai join`, `trunk` or `import` has made, by path or hash")
    if peel or join:
        leaves = _without(leaves, peel) + [open_leaf(one, trunk) for one in join]
        calibration = {}
    return _with(weights, assemble_model(trunk, leaves, topk_group, calibration))


def _open_locked(file: Path, reference: str | Path) -> tuple[Trunk, list[GrownLeaf], ModelLock]:
    lock = read_lock(file)
    claimed = model_hash(lock.trunk.hash, [one.hash for one in lock.leaf], lock.topk_group, lock.calibration)
    if lock.format != FORMAT or claimed != lock.hash:
        raise ArtefactError(f"{file} does not match its hash: join the model again")
    wanted = hash_prefix(reference)
    if not lock.hash.startswith(wanted):
        raise ArtefactError(f"model {file.parent} is {lock.hash[:8]}, wanted is {wanted[:8]}: give the right model")
    trunk = open_trunk(_place(file.parent, lock.trunk), lock.trunk.hash)
    leaves = [open_leaf(_place(file.parent, one), trunk, one.hash) for one in lock.leaf]
    register_artefact(lock.hash, file.parent)
    return trunk, leaves, lock


def _without(leaves: Sequence[GrownLeaf], peel: Sequence[str]) -> list[GrownLeaf]:
    names, gone = [leaf.name for leaf in leaves], set()
    for wanted in peel:
        hashed = [leaf.name for leaf in leaves if len(wanted) >= 8 and leaf.hash.startswith(wanted)]
        named = [wanted] if wanted in names else hashed
        if len(named) != 1:
            raise ConfigError(f"there is no leaf '{wanted}': this model has {', '.join(names) or 'none'}")
        gone.add(named[0])
    return [leaf for leaf in leaves if leaf.name not in gone]


def _with(weights: Literal["stored", "int8"], model: SparseModel) -> SparseModel:
    if weights == "stored":
        return model
    int8 = {name: load_int8_weights(leaf.hash, leaf.experts.state_dict()) for name, leaf in model.leaves.items()}
    return dataclasses.replace(
        model, int8=int8 | {"": load_int8_weights(model.trunk.hash, model.network.trunk_tensors())}
    )


def read_lock(file: Path) -> ModelLock:
    """Return what a lock file says, whether or not its parts are there.

    Raises: ArtefactError if it is no lock file.
    """
    try:
        with file.open("rb") as opened:
            content = opened.read(MAX_LOCK_BYTES + 1)
        if len(content) > MAX_LOCK_BYTES:
            raise ValueError(f"it is larger than {MAX_LOCK_BYTES} bytes")
        return from_table(ModelLock, tomllib.loads(content.decode()), str(file))
    except (OSError, ValueError, RecursionError, ConfigError) as error:
        raise ArtefactError(f"{file} is not a model's lock file ({error}): join the model again") from None


def _place(folder: Path, part: LockedPart) -> Path:
    beside = folder / part.path
    return beside if beside.exists() else find_artefact(part.hash)


def _relative(path: Path, out: Path) -> str:
    return os.path.relpath(path.resolve(), out.resolve())
