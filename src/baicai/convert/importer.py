"""`baicai import`: a checkpoint in transformers' format becomes a trunk or, if it has groups of experts, a model."""

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor

from baicai.artefact import atomic_folder, read_json, read_tensors, register_artefact, tensors_hash
from baicai.config import recipe
from baicai.convert.cards import Origin, read_origin, told
from baicai.convert.hf_config import Sizes, read_sizes
from baicai.convert.hub import fetch
from baicai.convert.lazy_safetensors import Reading, StoredTensor, open_checkpoint, open_file, write_file
from baicai.convert.tensor_names import leaves_from_theirs, trunk_from_theirs
from baicai.data.hf_tokenizer import read_tokenizer
from baicai.data.shards import TokenShards
from baicai.data.sources import Sources, open_sources
from baicai.data.tokenizer import Tokenizer
from baicai.errors import ArtefactError, ConfigError
from baicai.leaves import leaf, model, trunk
from baicai.leaves.artefact_folder import load_weights
from baicai.leaves.replay import generate_replay, sample_replay
from baicai.model.transformer import Transformer
from baicai.run import Progress, Run, notify

PUBLIC_TOKENS = 500_000
OWN_TOKENS, OWN_WORK = 8192, 2e12
"""What a trunk writes itself: so many tokens, but no more multiplications than a laptop does in a minute or two."""
SAMPLE_TOKENS, SAMPLE_TEXTS = 256, 16
"""Length of one text of the public sample, and how many the trunk writes at once."""


@recipe
class ImportRecipe:
    """`baicai import`: make a trunk, or a trunk and leaves, of a checkpoint."""

    source: str
    """Folder of a checkpoint in transformers' format, or its name on the Hugging Face hub (ORG/NAME)."""
    public: Sources = dataclasses.field(default_factory=list)
    """Public text, the sample that leaves are grown beside and checked on; default: text that the trunk writes."""
    replay_tokens: Annotated[int, Field(ge=0)] | None = None
    """Size of that sample; 0 makes none. Default: 500,000 of public text; else what the trunk writes in a minute."""
    seed: int = 0


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint that was looked at, its tensors still in their files."""

    name: str
    sizes: Sizes
    tensors: dict[str, StoredTensor]
    tokenizer: Tokenizer
    origin: Origin | None
    licence: str
    notes: tuple[str, ...]

    def about(self, digest: str, card: Mapping[str, Any]) -> dict[str, Any]:
        """Return what the card of a part says: what ours said, if it is still that very part, or where it is from."""
        if card.get("hash") == digest:
            return told(card)
        origin = {"name": Path(self.name).name, "architecture": self.sizes.architecture, "licence": self.licence}
        return {"imported": origin, "data": card.get("data", []), "metrics": {}, "curve": []}


def import_checkpoint(config: ImportRecipe, run: Run) -> None:
    """Write the trunk, or the model with its trunk and leaves, to the run's artefact folder.

    Tensors are read one at a time: a checkpoint may be larger than memory.

    Raises: ArtefactError or ConfigError if the checkpoint is damaged or no network of ours.
    """
    found = look_at(fetch(config.source), config.source)
    for note in found.notes:
        notify(note)
    progress = Progress("import", sum(tensor.num_bytes for tensor in found.tensors.values()))
    found = dataclasses.replace(found, tensors=_watched(found.tensors, found.name, progress))
    with atomic_folder(run.out) as part, progress:
        if found.sizes.leaf is None:
            made = {_write_trunk(part, found, config): ""}
        else:
            made = _write_model(part, found, config)
    for digest, place in made.items():
        register_artefact(digest, run.out / place)


def look_at(folder: Path, name: str) -> Checkpoint:
    """Return what a checkpoint holds.

    Raises: ArtefactError or ConfigError if it is damaged or no network of ours.
    """
    file = folder / "config.json"
    if not file.exists():
        raise ArtefactError(f"{folder} is no checkpoint in transformers' format: config.json is missing")
    settings, origin = read_json(file), read_origin(folder)
    try:
        sizes = _grouped(read_sizes(settings, str(file)), origin)
    except (KeyError, TypeError, ValueError, IndexError, ArithmeticError) as error:
        raise ArtefactError(f"{file} is damaged ({type(error).__name__}: {error}): copy the checkpoint again") from None
    tokenizer, notes = read_tokenizer(folder, settings)
    trunk.check_vocabulary(tokenizer, sizes.model, str(folder))
    card = folder / "README.md"
    text = card.read_text("utf-8", "replace") if card.exists() else ""
    named = re.search(r"\A---\n.*?^license:\s*([^\s\n]+)", text, re.DOTALL | re.MULTILINE)
    licence = named[1] if named else "unknown"
    return Checkpoint(name, sizes, open_checkpoint(folder), tokenizer, origin, licence, (*sizes.notes, *notes))


def _grouped(sizes: Sizes, origin: Origin | None) -> Sizes:
    """Return the sizes with experts in the leaves that they came from, and room for the wider of two feed-forwards."""
    if sizes.leaf is None:
        return sizes
    if origin is None:
        wide = dataclasses.replace(sizes.model, ffn_dim=max(sizes.model.ffn_dim, sizes.shared_dim))
        return dataclasses.replace(sizes, model=wide)
    experts, leaves = sizes.leaf.num_experts * sizes.num_leaves, max(len(origin.leaves), 1)
    if experts % leaves:
        raise ArtefactError(
            f"baicai.json tells of {leaves} leaves, config.json of {experts} experts: remove baicai.json"
        )
    one = dataclasses.replace(sizes.leaf, num_experts=experts // leaves)
    return dataclasses.replace(sizes, leaf=one, num_leaves=leaves, topk_group=origin.topk_group)


def _watched(tensors: Mapping[str, StoredTensor], where: str, progress: Progress) -> dict[str, StoredTensor]:
    """Return tensors that are checked for finite values, and counted, when they are read."""
    read = 0

    def checked(name: str, tensor: StoredTensor) -> StoredTensor:
        def check(rows: Tensor) -> Tensor:
            nonlocal read
            if not rows.isfinite().all():
                raise ArtefactError(f"{where}: '{name}' holds NaN or infinite values: do not use it")
            read += rows.numel() * rows.element_size()
            progress.update(read, {"read": f"{read / 1e9:.2f} GB"})
            return rows

        return tensor.changed(check)

    return {name: checked(name, tensor) for name, tensor in tensors.items()}


def _write_tensors(file: Path, tensors: Mapping[str, StoredTensor]) -> str:
    """Write tensors as they come and return their hash."""
    write_file(file, tensors)
    return tensors_hash(Reading(open_file(file)))


def _write_trunk(part: Path, found: Checkpoint, config: ImportRecipe) -> str:
    tensors = trunk_from_theirs(found.sizes, found.tensors, found.name)
    digest = _write_tensors(part / trunk.TRUNK_TENSORS, tensors)
    replay = _replay(part, found, config)
    hashed = trunk.trunk_hash(digest, found.sizes.model, found.tokenizer)
    about = found.about(hashed, found.origin.trunk if found.origin else {})
    return trunk.complete_trunk(part, digest, found.sizes.model, found.tokenizer, replay=replay, card_fields=about)


def _replay(part: Path, found: Checkpoint, config: ImportRecipe) -> TokenShards | None:
    """Make the public sample of the trunk whose tensors are in `part`; None if there is to be none."""
    folder, length = part / "replay", min(SAMPLE_TOKENS, found.sizes.model.max_tokens - 1)
    if config.replay_tokens == 0:
        return None
    if config.public:
        shards = list(open_sources(config.public, found.tokenizer).values())
        weights = [source.weight for source in config.public]
        wanted = config.replay_tokens or PUBLIC_TOKENS
        return sample_replay(shards, weights, found.tokenizer, folder, wanted, length, config.seed)
    tensors = open_file(part / trunk.TRUNK_TENSORS)
    parameters = sum(tensor.num_bytes // tensor.dtype.itemsize for tensor in tensors.values())
    wanted = config.replay_tokens or min(OWN_TOKENS, int(OWN_WORK) // parameters)
    if config.replay_tokens is None and wanted < OWN_TOKENS // 8:
        notify(
            "It is too large to write its own public sample in a minute: to grow leaves, import it with public=TEXT."
        )
        return None
    with torch.device("meta"):
        model = Transformer(found.sizes.model)
    load_weights(model, read_tensors(part / trunk.TRUNK_TENSORS), part / trunk.TRUNK_TENSORS)
    model.requires_grad_(False)
    return generate_replay(model, found.tokenizer, folder, wanted, length, config.seed)


def _write_model(part: Path, found: Checkpoint, config: ImportRecipe) -> dict[str, str]:
    """Write trunk, leaves and lock file; return the hash of each with its place in the folder."""
    sizes, origin = found.sizes, found.origin
    assert sizes.leaf is not None
    groups = leaves_from_theirs(sizes, found.tensors, found.name, origin.shift if origin else None)
    (part / "trunk").mkdir()
    trunk_digest = _write_trunk(part / "trunk", found, config)
    leaves: list[dict[str, str]] = []
    cards: dict[str, dict[str, Any]] = {}
    for number, tensors in enumerate(groups):
        known = origin.leaves[number] if origin and origin.leaves else {}
        name = leaf.check_leaf_name(str(known.get("name", f"leaf-{number}")))
        if name in cards:
            raise ConfigError(
                f"{found.name}: two leaves are named '{name}' in baicai.json: give one another name there"
            )
        (part / name).mkdir()
        digest = _write_tensors(part / name / leaf.LEAF_TENSORS, tensors)
        hashed = leaf.leaf_hash(digest, trunk_digest, sizes.leaf, known.get("data", []))
        about = found.about(hashed, known)
        leaf.complete_leaf(
            part / name, name, digest, trunk_digest, sizes.leaf, data=about.pop("data"), card_fields=about
        )
        cards[name] = read_json(part / name / leaf.LEAF_CARD)
        leaves.append({"name": name, "hash": hashed, "path": name})
    digest = model.model_hash(trunk_digest, [one["hash"] for one in leaves], sizes.topk_group, {})
    lock = {
        "format": model.FORMAT,
        "hash": digest,
        "topk_group": sizes.topk_group,
        "trunk": {"hash": trunk_digest, "path": "trunk"},
        "leaf": sorted(leaves, key=lambda one: one["hash"]),
    }
    model.write_lock(part, lock, read_json(part / "trunk" / trunk.TRUNK_CARD), cards)
    return {digest: "", trunk_digest: "trunk"} | {one["hash"]: one["name"] for one in leaves}
