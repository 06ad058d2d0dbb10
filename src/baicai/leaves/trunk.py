"""The trunk: trained once on public text, then frozen; leaves grow on it."""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from baicai.artefact import (
    atomic_folder,
    find,
    named_hash,
    read_json,
    read_tensors,
    register,
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
from baicai.leaves.card import check_card, trunk_card
from baicai.model.config import ModelConfig
from baicai.model.transformer import Transformer

FORMAT = 1


@dataclass(frozen=True)
class Trunk:
    """An opened trunk: its parts, and what its card says."""

    path: Path
    hash: str
    model: Transformer
    tokenizer: Tokenizer
    card: dict[str, Any]

    def replay(self) -> TokenShards:
        """Return the trunk's public sample.

        Raises: ArtefactError if it is damaged or not the one that the trunk was saved with.
        """
        shards = TokenShards.open(self.path / "replay")
        if shards.hash != self.card.get("replay"):
            raise ArtefactError(f"{shards.folder} is not this trunk's public sample: copy the trunk again")
        return shards


def save_trunk(
    out: Path, model: Transformer, tokenizer: Tokenizer, *, replay: TokenShards, about: dict[str, Any]
) -> str:
    """Write a trunk, weights in bfloat16, and return its hash."""
    tensors = {
        name: tensor.to(torch.bfloat16) for name, tensor in model.named_parameters() if not name.startswith("leaves.")
    }
    table = to_table(model.config)
    parts = {"tensors": tensors_hash(tensors), "model": table, "tokenizer": tokenizer.hash}
    card = {"format": FORMAT, "kind": "trunk", "hash": value_hash(parts), **parts, "replay": replay.hash, **about}
    with atomic_folder(out) as part:
        write_tensors(part / "trunk.safetensors", tensors)
        tokenizer.save(part)
        (part / "replay").mkdir()
        for file in replay.folder.iterdir():  # copytree would hide that the disk is full
            shutil.copyfile(file, part / "replay" / file.name)
        write_json(part / "config.json", card)
        write_atomic(part / "README.md", trunk_card(card).encode())
    digest: str = card["hash"]
    register(digest, out)
    return digest


def open_trunk(reference: str | Path, expected_hash: str | None = None) -> Trunk:
    """Return the trunk in a folder or with a hash, checked, frozen and in float32.

    Raises: ArtefactError if it is missing, damaged or not the expected one.
    """
    path = find(reference)
    card = read_json(path / "config.json")
    if card.get("kind") != "trunk" or card.get("format") != FORMAT:
        raise ArtefactError(f"{path} is not a trunk of format {FORMAT}: it says kind={card.get('kind')}")
    tokenizer = Tokenizer.open(path)
    tensors = read_tensors(path / "trunk.safetensors")
    parts = {"tensors": tensors_hash(tensors), "model": card.get("model"), "tokenizer": tokenizer.hash}
    if value_hash(parts) != card.get("hash"):
        raise ArtefactError(f"trunk {path} is damaged: its content does not match its hash; copy it again")
    wanted = expected_hash or named_hash(reference)
    if not card["hash"].startswith(wanted):
        raise ArtefactError(f"trunk {path} is {card['hash'][:8]}, wanted is {wanted[:8]}: give the right trunk")
    model = Transformer(from_table(ModelConfig, card["model"], str(path / "config.json")))
    check_card(card, path / "config.json")
    load_tensors(model, tensors, str(path))
    model.requires_grad_(False).eval()
    register(card["hash"], path)
    return Trunk(path, card["hash"], model, tokenizer, card)


def load_tensors(module: torch.nn.Module, tensors: dict[str, torch.Tensor], where: str) -> None:
    """Fill a module's weights, refusing wrong names, shapes and values that are not finite.

    The module may be on the meta device: it gets memory when all is well.

    Raises: ArtefactError
    """
    wanted = module.state_dict()
    for name in sorted(wanted.keys() ^ tensors.keys()):
        problem = "is missing" if name in wanted else "is not expected"
        raise ArtefactError(f"{where}: tensor '{name}' {problem}: make it again")
    for name, tensor in tensors.items():
        shape, expected = list(tensor.shape), list(wanted[name].shape)
        if shape != expected:
            raise ArtefactError(f"{where}: '{name}' has shape {shape}, expected {expected}: make it again")
        if tensor.dtype not in (torch.float32, torch.bfloat16, torch.float16):
            raise ArtefactError(f"{where}: '{name}' has dtype {tensor.dtype}, expected float32, bfloat16 or float16")
        if not tensor.isfinite().all():
            raise ArtefactError(f"{where}: '{name}' holds NaN or infinite values: do not use it")
    if any(tensor.is_meta for tensor in wanted.values()):
        module.to_empty(device="cpu")
    module.load_state_dict({name: tensor.float() for name, tensor in tensors.items()})
