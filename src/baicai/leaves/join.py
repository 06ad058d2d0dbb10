"""A model is a lock file: a trunk's hash and its leaves' hashes. Joining and peeling copy no weights."""

import dataclasses
import os
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import tomli_w
import torch

from baicai.artefact import atomic_folder, find, named_hash, register, value_hash, write_atomic
from baicai.config import Count, from_table, recipe
from baicai.data.tokenizer import Tokenizer
from baicai.errors import ArtefactError, ConfigError
from baicai.inference.int8 import Int8, quantized
from baicai.leaves.card import model_card
from baicai.leaves.leaf import GrownLeaf, open_leaf
from baicai.leaves.signing import check_signature
from baicai.leaves.trunk import CARD, Trunk, open_trunk
from baicai.model.router import LayerTrace
from baicai.model.transformer import Transformer
from baicai.run import Meter, Run

FORMAT = 1
PROBE_WINDOWS = 32
MAX_LOCK_BYTES = 2**20
"""Room for hundreds of leaves, each calibrated in a hundred layers."""


@recipe
class JoinRecipe:
    """`baicai join`: write the lock file of a trunk and some leaves."""

    trunk: str
    leaves: list[str]
    """Paths or hashes."""
    topk_group: Count = 1
    """How many leaves a token may consult in a layer."""
    max_harm: float = 0.05
    """Refuse a leaf that makes the trunk's public sample worse by more than this share."""
    max_firing: float = 0.5
    """Refuse a leaf that takes more than this share of the routing weight it could get on the public sample."""

    trusted_keys: list[str] = dataclasses.field(default_factory=list)
    """Public keys (PEM): where given, each leaf must be signed by one of them."""


@recipe
class PeelRecipe:
    """`baicai peel`: remove leaves from a model, exactly."""

    model: str
    leaves: list[str]
    """Names or hashes."""


@recipe
class Part:
    """A trunk or a leaf of a model."""

    name: str = ""
    hash: str
    path: str


@recipe
class Lock:
    """What a model is made of."""

    format: int
    hash: str
    topk_group: Count
    trunk: Part
    leaf: list[Part] = dataclasses.field(default_factory=list)
    calibration: dict[str, list[float]] = dataclasses.field(default_factory=dict)


@dataclass(frozen=True)
class SparseModel:
    """An opened model, ready to run; a trunk alone is a model without leaves."""

    hash: str
    model: Transformer
    trunk: Trunk
    leaves: dict[str, GrownLeaf]
    topk_group: int
    calibration: dict[str, list[float]]
    int8: Int8 | None = None
    """Weights in int8 to decode with, where they were asked for."""

    @property
    def tokenizer(self) -> Tokenizer:
        """The trunk's tokenizer."""
        return self.trunk.tokenizer


def join_leaves(config: JoinRecipe, run: Run) -> None:
    """Check each leaf against the trunk and write the model to the run's artefact folder.

    Raises: ArtefactError if a leaf is damaged, of another trunk, or harmful; ConfigError if names or sizes collide.
    """
    trunk = open_trunk(config.trunk)
    leaves = [open_leaf(reference, trunk) for reference in config.leaves]
    meter = Meter("join", len(leaves))
    with meter.running(0):
        for number, leaf in enumerate(leaves, 1):
            if config.trusted_keys:
                check_signature(leaf.path, config.trusted_keys)
            _probe(trunk, leaf, config)
            meter.show(number, {"checked": leaf.name})
    write_model(run.out, assemble(trunk, leaves, config.topk_group))


def peel_leaves(config: PeelRecipe, run: Run) -> None:
    """Write the model without some leaves to the run's artefact folder; its hash is as if never joined."""
    write_model(run.out, open_model(config.model, peel=config.leaves))


def assemble(
    trunk: Trunk, leaves: Sequence[GrownLeaf], topk_group: int, calibration: Mapping[str, list[float]] | None = None
) -> SparseModel:
    """Join opened leaves to an opened trunk, in the order of their hashes.

    Raises: ConfigError if two leaves have one name or their sizes differ.
    """
    ordered = sorted(leaves, key=lambda leaf: leaf.hash)
    for leaf in ordered:
        trunk.model.join(leaf.name, leaf.leaf)
    trunk.model.topk_group = topk_group
    scales = dict(calibration or {})
    for leaf in ordered:
        for layer, scale in zip(leaf.leaf.stack(), scales.get(leaf.hash, []), strict=False):
            layer.router_ED.data = layer.router_ED.data * scale  # in place it would change the leaf's mapped file
    digest = model_hash(trunk.hash, [leaf.hash for leaf in ordered], topk_group, scales)
    return SparseModel(digest, trunk.model, trunk, {leaf.name: leaf for leaf in ordered}, topk_group, scales)


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
    register(model.hash, out)
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
    write_atomic(part / "README.md", model_card(lock, trunk, leaves).encode())


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
    path = find(reference)
    file = path if path.is_file() else path / "model.toml"
    if file.exists():
        trunk, leaves, lock = _open_locked(file, reference)
        topk_group, calibration = lock.topk_group, lock.calibration
    elif (path / CARD).exists():
        trunk, leaves, topk_group, calibration = open_trunk(reference), [], 1, {}
    else:
        told = f"{path} is neither a model, nor its lock file, nor a trunk"
        raise ArtefactError(f"{told}: give what `baicai join`, `trunk` or `import` has made, by path or hash")
    if peel or join:
        leaves = _without(leaves, peel) + [open_leaf(one, trunk) for one in join]
        calibration = {}
    return _with(weights, assemble(trunk, leaves, topk_group, calibration))


def _open_locked(file: Path, reference: str | Path) -> tuple[Trunk, list[GrownLeaf], Lock]:
    lock = read_lock(file)
    claimed = model_hash(lock.trunk.hash, [one.hash for one in lock.leaf], lock.topk_group, lock.calibration)
    if lock.format != FORMAT or claimed != lock.hash:
        raise ArtefactError(f"{file} does not match its hash: join the model again")
    wanted = named_hash(reference)
    if not lock.hash.startswith(wanted):
        raise ArtefactError(f"model {file.parent} is {lock.hash[:8]}, wanted is {wanted[:8]}: give the right model")
    trunk = open_trunk(_place(file.parent, lock.trunk), lock.trunk.hash)
    leaves = [open_leaf(_place(file.parent, one), trunk, one.hash) for one in lock.leaf]
    register(lock.hash, file.parent)
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
    int8 = {name: quantized(leaf.hash, leaf.leaf.state_dict()) for name, leaf in model.leaves.items()}
    return dataclasses.replace(model, int8=int8 | {"": quantized(model.trunk.hash, model.model.trunk_tensors())})


def read_lock(file: Path) -> Lock:
    """Return what a lock file says, whether or not its parts are there.

    Raises: ArtefactError if it is no lock file.
    """
    try:
        with file.open("rb") as opened:
            content = opened.read(MAX_LOCK_BYTES + 1)
        if len(content) > MAX_LOCK_BYTES:
            raise ValueError(f"it is larger than {MAX_LOCK_BYTES} bytes")
        return from_table(Lock, tomllib.loads(content.decode()), str(file))
    except (OSError, ValueError, RecursionError, ConfigError) as error:
        raise ArtefactError(f"{file} is not a model's lock file ({error}): join the model again") from None


def _place(folder: Path, part: Part) -> Path:
    beside = folder / part.path
    return beside if beside.exists() else find(part.hash)


def _relative(path: Path, out: Path) -> str:
    return os.path.relpath(path.resolve(), out.resolve())


@torch.inference_mode()
def _probe(trunk: Trunk, leaf: GrownLeaf, config: JoinRecipe) -> None:
    """Run a leaf on the trunk's public sample, where it should keep still."""
    replay = trunk.replay()
    length = min(256, trunk.model.config.max_tokens, replay.num_tokens - 1)
    if length < 1:
        raise ArtefactError(f"the public sample of trunk {trunk.path} is empty: no leaf can be checked on it")
    count = min(PROBE_WINDOWS, replay.num_windows(length))
    rows = torch.stack([torch.from_numpy(replay.window(i, length)) for i in range(count)])
    losses, trace = [], list[LayerTrace]()
    for joined in (False, True):
        if joined:
            trunk.model.join(leaf.name, leaf.leaf)
        logits = trunk.model(rows[:, :-1], trace=trace)
        losses.append(float(torch.nn.functional.cross_entropy(logits.flatten(0, 1), rows[:, 1:].flatten())))
    trunk.model.peel(leaf.name)
    harm = losses[1] / losses[0] - 1
    sizes = leaf.leaf.config
    most = sizes.top_k * sizes.routed_scaling_factor
    firing = float(torch.stack([layer.leaf_weights().mean() for layer in trace]).mean()) / most
    remedy = "grow it again with a larger public_share, or raise"
    if not harm <= config.max_harm:  # NaN is harm too
        raise ArtefactError(
            f"leaf '{leaf.name}' makes public text {harm:.1%} worse, allowed is {config.max_harm:.1%}: "
            f"{remedy} max_harm"
        )
    if not firing <= config.max_firing:
        raise ArtefactError(
            f"leaf '{leaf.name}' claims {firing:.0%} of public text, allowed is {config.max_firing:.0%}: "
            f"{remedy} max_firing"
        )
