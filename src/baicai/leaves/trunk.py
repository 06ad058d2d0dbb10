"""The trunk as an artefact: trained once on public text, then frozen. Leaves grow on it."""

import shutil
from dataclasses import dataclass
from pathlib import Path

import torch

from baicai.artefact import (
    atomic_folder,
    register_artefact,
    tensors_hash,
    value_hash,
    write_atomic,
    write_json,
    write_tensors,
)
from baicai.config import from_table, to_table
from baicai.data.shards import TokenShards
from baicai.data.tokenizer import Tokenizer
from baicai.errors import ArtefactError
from baicai.leaves.artefact_folder import ArtefactFolder, Layout
from baicai.leaves.card import Card, trunk_readme
from baicai.model.config import ModelConfig
from baicai.model.transformer import Transformer

FORMAT = 1
TRUNK_CARD, TRUNK_TENSORS = "config.json", "trunk.safetensors"
_HINT = "; `baicai import` makes a trunk from a checkpoint"
_LAYOUT = Layout("trunk", FORMAT, TRUNK_CARD, TRUNK_TENSORS, _HINT)


@dataclass(frozen=True)
class Trunk:
    """An opened trunk: its network, its tokenizer and its card."""

    path: Path
    hash: str
    network: Transformer
    tokenizer: Tokenizer
    card: Card

    def replay(self) -> TokenShards:
        """Open the trunk's public sample.

        Raises: ArtefactError if the trunk has no sample, or the sample is damaged or not the one it was saved with.
        """
        if self.card.get("replay") is None:
            raise ArtefactError(f"trunk {self.path} has no public sample: import it again with public=TEXT")
        shards = TokenShards.open(self.path / "replay")
        if shards.hash != self.card.get("replay"):
            raise ArtefactError(f"{shards.folder} is not this trunk's public sample: copy the trunk again")
        return shards


def save_trunk(out: Path, model: Transformer, tokenizer: Tokenizer, *, replay: TokenShards, card_fields: Card) -> str:
    """Save a trunk to a new folder, weights in bfloat16, and return its hash.

    Args:
        out: folder to make.
        model: network whose trunk is saved, without its leaves.
        tokenizer: saved with the trunk.
        replay: the public sample, copied into the folder.
        card_fields: further fields of the card; `data`, `metrics` and `curve` are required.

    Raises: MachineError if the disk is full, ArtefactError if `out` already exists.
    """
    with atomic_folder(out) as part:
        digest = write_trunk(part, model, tokenizer, replay=replay, card_fields=card_fields)
    register_artefact(digest, out)
    return digest


def write_trunk(part: Path, model: Transformer, tokenizer: Tokenizer, *, replay: TokenShards, card_fields: Card) -> str:
    """Write the files of a trunk into the folder `part`, weights in bfloat16, and return the trunk's hash."""
    tensors = {name: tensor.to(torch.bfloat16) for name, tensor in model.trunk_tensors().items()}
    write_tensors(part / TRUNK_TENSORS, tensors)
    return complete_trunk(part, tensors_hash(tensors), model.config, tokenizer, replay=replay, card_fields=card_fields)


def trunk_hash(tensors: str, config: ModelConfig, tokenizer: Tokenizer) -> str:
    """Return the hash of a trunk whose tensors have the hash `tensors`."""
    return value_hash({"tensors": tensors, "model": to_table(config), "tokenizer": tokenizer.hash})


def complete_trunk(
    part: Path,
    tensors: str,
    config: ModelConfig,
    tokenizer: Tokenizer,
    *,
    replay: TokenShards | None,
    card_fields: Card,
) -> str:
    """Write all files of a trunk except its tensors, whose hash is `tensors`, and return the trunk's hash."""
    digest = trunk_hash(tensors, config, tokenizer)
    card = {
        "format": FORMAT,
        "kind": "trunk",
        "hash": digest,
        "tensors": tensors,
        "model": to_table(config),
        "tokenizer": tokenizer.hash,
        "replay": None if replay is None else replay.hash,
        **card_fields,
    }
    tokenizer.save(part)
    if replay is not None and replay.folder != part / "replay":
        (part / "replay").mkdir()
        for file in replay.folder.iterdir():  # copytree would hide a full disk
            shutil.copyfile(file, part / "replay" / file.name)
    write_json(part / TRUNK_CARD, card)
    write_atomic(part / "README.md", trunk_readme(card).encode())
    return digest


def open_trunk(reference: str | Path, expected_hash: str | None = None) -> Trunk:
    """Open a trunk by path or hash, verified and frozen. Its weights stay in the file until they are used.

    Example:
        trunk = open_trunk("out/trunk")
        logits = trunk.network(torch.tensor([trunk.tokenizer.encode("The court")]))

    Args:
        reference: path of the trunk, or its hash (8 digits or more).
        expected_hash: hash that the trunk must have.

    Raises: ArtefactError if the trunk is missing, damaged or not the expected one.
    """
    folder = ArtefactFolder.open(reference, _LAYOUT, expected_hash)
    path, card, tokenizer = folder.path, folder.card, Tokenizer.open(folder.path)
    tensors = folder.verify(model=card.get("model"), tokenizer=tokenizer.hash)
    config = from_table(ModelConfig, card["model"], str(path / TRUNK_CARD))
    check_vocabulary(tokenizer, config, f"trunk {path}")
    network = folder.load(lambda: Transformer(config), tensors)
    register_artefact(card["hash"], path)
    return Trunk(path, card["hash"], network, tokenizer, card)


def check_vocabulary(tokenizer: Tokenizer, config: ModelConfig, where: str) -> None:
    """Check that the embedding has a row for every token.

    Raises: ArtefactError
    """
    if tokenizer.vocab_size > config.vocab_size:
        raise ArtefactError(
            f"{where}: the tokenizer has {tokenizer.vocab_size} tokens, the embedding {config.vocab_size} rows: "
            "they belong to different models; copy both again"
        )
