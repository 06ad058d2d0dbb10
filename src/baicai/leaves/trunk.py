"""The trunk: trained once on public text, then frozen; leaves grow on it."""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import Field

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
from baicai.config import Count, Share, from_table, recipe, to_table
from baicai.data.batches import Batch, Batches, splice
from baicai.data.shards import TokenShards, write_tokens
from baicai.data.sources import Sources, lineage, open_sources
from baicai.data.tokenizer import Tokenizer
from baicai.errors import ArtefactError, ConfigError
from baicai.leaves.card import check_card, trunk_card
from baicai.model.config import ModelConfig
from baicai.model.generate import sample_texts
from baicai.model.transformer import Transformer
from baicai.run import Run
from baicai.training.loop import LossOf, TrainConfig, mixed_precision, pick_device, train
from baicai.training.losses import linear_cross_entropy
from baicai.training.probes import SourceProbes

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


@recipe
class TrunkRecipe:
    """`baicai trunk`: train a trunk on public text."""

    tokenizer: str
    """Folder that `baicai tokenizer` made."""
    data: Sources
    model: ModelConfig
    train: TrainConfig
    replay: Literal["documents", "sampled"] = "documents"
    """The public sample that leaves are grown beside: training text, or text that the trunk itself writes."""
    replay_tokens: Count = 500_000
    source_loss: Annotated[float, Field(ge=0)] = 0.05
    """Weight of the loss that keeps the source of every token readable in the upper layers, where routers will read."""
    splice: Share = 0.5
    """Share of sequences that change source midway, so that the model follows a text that changes subject."""
    mtp_loss: Annotated[float, Field(ge=0)] = 0.3
    """Weight of the loss of the multi-token prediction module, where model.mtp is on."""

    def __post_init__(self) -> None:
        if self.model.mtp and self.train.sequence_tokens < 2:
            raise ConfigError("train.sequence_tokens is 1, but model.mtp predicts two tokens ahead: make it 2 or more")


def train_trunk(config: TrunkRecipe, run: Run) -> None:
    """Train a trunk and write it to the run's artefact folder."""
    tokenizer = Tokenizer.open(find(config.tokenizer))
    if config.model.vocab_size != tokenizer.vocab_size:
        raise ConfigError(
            f"model.vocab_size is {config.model.vocab_size}, the tokenizer has {tokenizer.vocab_size}: make them equal"
        )
    shards = open_sources(config.data, tokenizer)
    run.hold({"tokenizer": tokenizer.hash} | {f"data {domain}": one.hash for domain, one in shards.items()})
    settings = config.train
    device = pick_device(settings.device)
    model = Transformer(config.model)
    model.start(settings.seed)
    model.to(device)
    batches = Batches(
        list(shards.values()),
        [source.weight for source in config.data],
        batch_sequences=settings.batch_sequences,
        sequence_tokens=settings.sequence_tokens,
        seed=settings.seed,
    )

    loss_of, probes = trunk_loss(config, model, len(shards), device)
    parameters = dict(model.named_parameters()) | {f"probe/{name}": p for name, p in probes.named_parameters()}
    metrics = train("trunk", parameters, batches, loss_of, settings, run)
    save_trunk(
        run.out,
        model.cpu(),
        tokenizer,
        replay=_replay(config, model, tokenizer, list(shards.values()), run.scratch() / "replay"),
        about={
            "recipe": to_table(config),
            "data": lineage(shards),
            "metrics": {
                "loss": metrics.get("loss"),
                "tokens": settings.steps * settings.batch_sequences * settings.sequence_tokens,
            },
            "curve": curve(run, settings),
        },
    )


def trunk_loss(
    config: TrunkRecipe, model: Transformer, num_sources: int, device: torch.device
) -> tuple[LossOf, SourceProbes]:
    """Return the loss, next tokens and token's source, and the probes that it trains beside the trunk."""
    probes = SourceProbes(model, num_sources, config.model.num_layers // 3).to(device)

    def token_loss(hidden_BSD: torch.Tensor, targets_BS: torch.Tensor) -> torch.Tensor:
        return linear_cross_entropy(hidden_BSD.flatten(0, 1), model.head_weight(), targets_BS.flatten())

    def loss_of(batch: Batch) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        tokens_BS1, source_BS1 = (x.to(device) for x in splice(batch, config.splice))
        with mixed_precision(config.train, device):
            hidden_BSD = model.hidden(tokens_BS1[:, :-1])
            parts = {"next_token": token_loss(hidden_BSD, tokens_BS1[:, 1:])}
            if model.mtp is not None:
                drafted_BSD = model.draft(hidden_BSD[:, :-1], tokens_BS1[:, 1:-1])
                parts["mtp"] = token_loss(drafted_BSD, tokens_BS1[:, 2:])
        parts["source"] = probes.loss(source_BS1[:, :-1])
        weights = {"next_token": 1.0, "mtp": config.mtp_loss, "source": config.source_loss}
        loss = torch.stack([weights[name] * part for name, part in parts.items()]).sum()
        return loss, {name: part.detach() for name, part in parts.items()}

    return loss_of, probes


def _replay(
    config: TrunkRecipe, model: Transformer, tokenizer: Tokenizer, shards: list[TokenShards], folder: Path
) -> TokenShards:
    if folder.exists():
        return TokenShards.open(folder)
    length = config.train.sequence_tokens
    num_texts = max(1, min(config.replay_tokens // length, sum(one.num_windows(length) for one in shards)))
    if config.replay == "sampled":
        rows = sample_texts(model, tokenizer.end_id, num_texts, length, config.train.seed)
        write_tokens(rows.flatten().numpy(), tokenizer, folder, source="written by the trunk itself", licence="CC0-1.0")
    else:
        batches = Batches(
            shards,
            [source.weight for source in config.data],
            batch_sequences=1,
            sequence_tokens=length,
            seed=config.train.seed + 1,
        )
        licences = ", ".join(sorted({name for one in shards for name in one.manifest["licences"]}))
        tokens = torch.cat([batches.next().tokens_BS1[0, :-1] for _ in range(num_texts)]).numpy()
        write_tokens(tokens, tokenizer, folder, source="a sample of the trunk's training text", licence=licences)
    return TokenShards.open(folder)


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


def curve(run: Run, settings: TrainConfig, points: int = 100) -> list[dict[str, float]]:
    """Return the run's loss against tokens, thinned to about `points`."""
    lines = [line for line in run.metrics() if "loss" in line]
    thinned = lines[:: max(1, len(lines) // points)]
    return [{"tokens": line["step"] * settings.step_tokens, "loss": round(line["loss"], 4)} for line in thinned]
