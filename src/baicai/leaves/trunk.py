"""The trunk: trained once on public text, then frozen; leaves grow on it."""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from baicai.artefact import (
    atomic_folder,
    find_artefact,
    hash_prefix,
    read_json,
    read_tensors,
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
from baicai.leaves.card import check_card, trunk_readme
from baicai.model.config import ModelConfig
from baicai.model.transformer import Transformer

FORMAT = 1
TRUNK_CARD, TRUNK_TENSORS = "config.json", "trunk.safetensors"


@dataclass(frozen=True)
class Trunk:
    """An opened trunk: its parts, and what its card says."""

    path: Path
    hash: str
    network: Transformer
    tokenizer: Tokenizer
    card: dict[str, Any]

    def replay(self) -> TokenShards:
        """Return the trunk's public sample.

        Raises: ArtefactError if there is none, or it is damaged or not the one that the trunk was saved with.
        """
        if self.card.get("replay") is None:
            raise ArtefactError(f"trunk {self.path} has no public sample: import it again with public=TEXT")
        shards = TokenShards.open(self.path / "replay")
        if shards.hash != self.card.get("replay"):
            raise ArtefactError(f"{shards.folder} is not this trunk's public sample: copy the trunk again")
        return shards


def save_trunk(
    out: Path, model: Transformer, tokenizer: Tokenizer, *, replay: TokenShards, card_fields: dict[str, Any]
) -> str:
    """Write a trunk, weights in bfloat16, and return its hash."""
    with atomic_folder(out) as part:
        digest = write_trunk(part, model, tokenizer, replay=replay, card_fields=card_fields)
    register_artefact(digest, out)
    return digest


def write_trunk(
    part: Path, model: Transformer, tokenizer: Tokenizer, *, replay: TokenShards, card_fields: dict[str, Any]
) -> str:
    """Write what a trunk's folder has, weights in bfloat16, and return the trunk's hash."""
    tensors = {name: tensor.to(torch.bfloat16) for name, tensor in model.trunk_tensors().items()}
    write_tensors(part / TRUNK_TENSORS, tensors)
    return complete_trunk(part, tensors_hash(tensors), model.config, tokenizer, replay=replay, card_fields=card_fields)


def trunk_hash(tensors: str, config: ModelConfig, tokenizer: Tokenizer) -> str:
    """Return the identity of a trunk with tensors of that hash."""
    return value_hash({"tensors": tensors, "model": to_table(config), "tokenizer": tokenizer.hash})


def complete_trunk(
    part: Path,
    tensors: str,
    config: ModelConfig,
    tokenizer: Tokenizer,
    *,
    replay: TokenShards | None,
    card_fields: dict[str, Any],
) -> str:
    """Write what a trunk's folder has beside its tensors, whose hash is `tensors`, and return the trunk's hash."""
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
        for file in replay.folder.iterdir():  # copytree would hide that the disk is full
            shutil.copyfile(file, part / "replay" / file.name)
    write_json(part / TRUNK_CARD, card)
    write_atomic(part / "README.md", trunk_readme(card).encode())
    return digest


def open_trunk(reference: str | Path, expected_hash: str | None = None) -> Trunk:
    """Return the trunk in a folder or with a hash, checked and frozen; its weights stay in the file until used.

    Raises: ArtefactError if it is missing, damaged or not the expected one.
    """
    path = find_artefact(reference)
    card = read_json(path / TRUNK_CARD)
    if card.get("kind") != "trunk" or card.get("format") != FORMAT:
        told = f"{path} is not a trunk of format {FORMAT}: it says kind={card.get('kind')}"
        raise ArtefactError(f"{told}; `baicai import` makes one of a checkpoint")
    tokenizer = Tokenizer.open(path)
    tensors = read_tensors(path / TRUNK_TENSORS)
    parts = {"tensors": tensors_hash(tensors), "model": card.get("model"), "tokenizer": tokenizer.hash}
    if value_hash(parts) != card.get("hash"):
        raise ArtefactError(f"trunk {path} is damaged: its content does not match its hash; copy it again")
    wanted = expected_hash or hash_prefix(reference)
    if not card["hash"].startswith(wanted):
        raise ArtefactError(f"trunk {path} is {card['hash'][:8]}, wanted is {wanted[:8]}: give the right trunk")
    config = from_table(ModelConfig, card["model"], str(path / TRUNK_CARD))
    check_vocabulary(tokenizer, config, f"trunk {path}")
    with torch.device("meta"):  # no memory before the shapes are checked
        model = Transformer(config)
    check_card(card, path / TRUNK_CARD)
    load_weights(model, tensors, path / TRUNK_TENSORS)
    model.requires_grad_(False).eval()
    register_artefact(card["hash"], path)
    return Trunk(path, card["hash"], model, tokenizer, card)


def check_vocabulary(tokenizer: Tokenizer, config: ModelConfig, where: str) -> None:
    """Refuse a tokenizer with tokens that the embedding has no row for.

    Raises: ArtefactError
    """
    if tokenizer.vocab_size > config.vocab_size:
        raise ArtefactError(
            f"{where}: the tokenizer has {tokenizer.vocab_size} tokens, the embedding {config.vocab_size} rows: "
            "they are not of one model; copy both again"
        )


def load_weights(module: torch.nn.Module, tensors: dict[str, torch.Tensor], file: Path) -> None:
    """Give a module its weights, in the types they have, refusing wrong names, shapes and values that are not finite.

    The module is best on the meta device. `tensors` are those of the file, which is mapped once more: the pages that
    checks have read go with the first map, and what is not used takes no memory.

    Raises: ArtefactError
    """
    wanted = module.state_dict()
    for name in sorted(wanted.keys() ^ tensors.keys()):
        problem = "is missing" if name in wanted else "is not expected"
        raise ArtefactError(f"{file.parent}: tensor '{name}' {problem}: make it again")
    for name, tensor in tensors.items():
        shape, expected = list(tensor.shape), list(wanted[name].shape)
        if shape != expected:
            raise ArtefactError(f"{file.parent}: '{name}' has shape {shape}, expected {expected}: make it again")
        if tensor.dtype not in (torch.float32, torch.bfloat16, torch.float16):
            raise ArtefactError(
                f"{file.parent}: '{name}' has dtype {tensor.dtype}, expected float32, bfloat16 or float16"
            )
        if tensor.numel() and not torch.stack(tensor.aminmax()).isfinite().all():  # makes no second tensor of its size
            raise ArtefactError(f"{file.parent}: '{name}' holds NaN or infinite values: do not use it")
    module.load_state_dict(read_tensors(file), assign=True)
