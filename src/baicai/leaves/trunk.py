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
from baicai.inference.generate import sample_texts
from baicai.leaves.card import check_card, trunk_card
from baicai.model.config import ModelConfig
from baicai.model.transformer import Transformer
from baicai.run import Run
from baicai.training.loop import LossOf, TrainConfig, mixed_precision, pick_device, train
from baicai.training.losses import linear_cross_entropy
from baicai.training.probes import SourceProbes

FORMAT = 1
CARD, TENSORS = "config.json", "trunk.safetensors"


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

        Raises: ArtefactError if there is none, or it is damaged or not the one that the trunk was saved with.
        """
        if self.card.get("replay") is None:
            raise ArtefactError(f"trunk {self.path} has no public sample: import it again with public=TEXT")
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

    loss_of, probes = _trunk_loss(config, model, len(shards), device)
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


def _trunk_loss(
    config: TrunkRecipe, model: Transformer, num_sources: int, device: torch.device
) -> tuple[LossOf, SourceProbes]:
    """Return the loss, next token and token's source, and the probes that it trains beside the trunk."""
    probes = SourceProbes(model, num_sources, config.model.num_layers // 3).to(device)

    def loss_of(batch: Batch) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        tokens_BS1, source_BS1 = (x.to(device) for x in splice(batch, config.splice))
        with mixed_precision(config.train, device):
            hidden_BSD = model.hidden(tokens_BS1[:, :-1])
            targets_T = tokens_BS1[:, 1:].flatten()
            next_token = linear_cross_entropy(hidden_BSD.flatten(0, 1), model.head_weight(), targets_T)
        source = probes.loss(source_BS1[:, :-1])
        parts = {"next_token": next_token.detach(), "source": source.detach()}
        return next_token + config.source_loss * source, parts

    return loss_of, probes


def _replay(
    config: TrunkRecipe, model: Transformer, tokenizer: Tokenizer, shards: list[TokenShards], folder: Path
) -> TokenShards:
    if folder.exists():
        return TokenShards.open(folder)
    length = config.train.sequence_tokens
    if config.replay == "sampled":
        num_tokens = min(config.replay_tokens, length * sum(one.num_windows(length) for one in shards))
        return write_own_sample(model, tokenizer, folder, num_tokens, length, config.train.seed)
    weights = [source.weight for source in config.data]
    return sample_shards(shards, weights, tokenizer, folder, config.replay_tokens, length, config.train.seed + 1)


def write_own_sample(
    model: Transformer, tokenizer: Tokenizer, folder: Path, num_tokens: int, length: int, seed: int
) -> TokenShards:
    """Let a trunk write its public sample itself, in texts of `length` tokens."""
    first_id = tokenizer.begin_ids[-1] if tokenizer.begin_ids else tokenizer.end_id
    rows = sample_texts(model, first_id, max(1, num_tokens // length), length, seed)
    rows = rows.masked_fill(rows >= tokenizer.vocab_size, tokenizer.end_id)  # embeddings may have rows to spare
    return write_tokens(
        rows.flatten().numpy(), tokenizer, folder, source="written by the trunk itself", licence="CC0-1.0"
    )


def sample_shards(
    shards: list[TokenShards],
    weights: list[float],
    tokenizer: Tokenizer,
    folder: Path,
    num_tokens: int,
    length: int,
    seed: int,
) -> TokenShards:
    """Draw a public sample from text, in pieces of `length` tokens."""
    batches = Batches(shards, weights, batch_sequences=1, sequence_tokens=length, seed=seed)
    num_texts = max(1, min(num_tokens // length, sum(one.num_windows(length) for one in shards)))
    licences = ", ".join(sorted({name for one in shards for name in one.manifest["licences"]}))
    tokens = torch.cat([batches.next().tokens_BS1[0, :-1] for _ in range(num_texts)]).numpy()
    return write_tokens(tokens, tokenizer, folder, source="a sample of the trunk's training text", licence=licences)


def save_trunk(
    out: Path, model: Transformer, tokenizer: Tokenizer, *, replay: TokenShards, about: dict[str, Any]
) -> str:
    """Write a trunk, weights in bfloat16, and return its hash."""
    tensors = {name: tensor.to(torch.bfloat16) for name, tensor in model.trunk_tensors().items()}
    with atomic_folder(out) as part:
        write_tensors(part / TENSORS, tensors)
        digest = complete_trunk(part, tensors_hash(tensors), model.config, tokenizer, replay=replay, about=about)
    register(digest, out)
    return digest


def trunk_hash(tensors: str, config: ModelConfig, tokenizer: Tokenizer) -> str:
    """Return the identity of a trunk with tensors of that hash."""
    return value_hash({"tensors": tensors, "model": _sizes_table(config), "tokenizer": tokenizer.hash})


def complete_trunk(
    part: Path,
    tensors: str,
    config: ModelConfig,
    tokenizer: Tokenizer,
    *,
    replay: TokenShards | None,
    about: dict[str, Any],
) -> str:
    """Write what a trunk's folder has beside its tensors, whose hash is `tensors`, and return the trunk's hash."""
    digest = trunk_hash(tensors, config, tokenizer)
    card = {
        "format": FORMAT,
        "kind": "trunk",
        "hash": digest,
        "tensors": tensors,
        "model": _sizes_table(config),
        "tokenizer": tokenizer.hash,
        "replay": None if replay is None else replay.hash,
        **about,
    }
    tokenizer.save(part)
    if replay is not None and replay.folder != part / "replay":
        (part / "replay").mkdir()
        for file in replay.folder.iterdir():  # copytree would hide that the disk is full
            shutil.copyfile(file, part / "replay" / file.name)
    write_json(part / CARD, card)
    write_atomic(part / "README.md", trunk_card(card).encode())
    return digest


def _sizes_table(config: ModelConfig) -> dict[str, Any]:
    """Return the sizes as they are hashed: a size that came later does not count where it is not set."""
    return {key: value for key, value in to_table(config).items() if value is not None}


def open_trunk(reference: str | Path, expected_hash: str | None = None) -> Trunk:
    """Return the trunk in a folder or with a hash, checked and frozen; its weights stay in the file until used.

    Raises: ArtefactError if it is missing, damaged or not the expected one.
    """
    path = find(reference)
    card = read_json(path / CARD)
    if card.get("kind") != "trunk" or card.get("format") != FORMAT:
        raise ArtefactError(f"{path} is not a trunk of format {FORMAT}: it says kind={card.get('kind')}")
    tokenizer = Tokenizer.open(path)
    tensors = read_tensors(path / TENSORS)
    parts = {"tensors": tensors_hash(tensors), "model": card.get("model"), "tokenizer": tokenizer.hash}
    if value_hash(parts) != card.get("hash"):
        raise ArtefactError(f"trunk {path} is damaged: its content does not match its hash; copy it again")
    wanted = expected_hash or named_hash(reference)
    if not card["hash"].startswith(wanted):
        raise ArtefactError(f"trunk {path} is {card['hash'][:8]}, wanted is {wanted[:8]}: give the right trunk")
    with torch.device("meta"):  # no memory before the shapes are checked
        model = Transformer(from_table(ModelConfig, card["model"], str(path / CARD)))
    check_card(card, path / CARD)
    load_tensors(model, tensors, path / TENSORS)
    model.requires_grad_(False).eval()
    register(card["hash"], path)
    return Trunk(path, card["hash"], model, tokenizer, card)


def load_tensors(module: torch.nn.Module, tensors: dict[str, torch.Tensor], file: Path) -> None:
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
        if not tensor.isfinite().all():
            raise ArtefactError(f"{file.parent}: '{name}' holds NaN or infinite values: do not use it")
    module.load_state_dict(read_tensors(file), assign=True)


def curve(run: Run, settings: TrainConfig, points: int = 100) -> list[dict[str, float]]:
    """Return the run's loss against tokens, thinned to about `points`."""
    lines = [line for line in run.metrics() if "loss" in line]
    thinned = lines[:: max(1, len(lines) // points)]
    return [{"tokens": line["step"] * settings.step_tokens, "loss": round(line["loss"], 4)} for line in thinned]
