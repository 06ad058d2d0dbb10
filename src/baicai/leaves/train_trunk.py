"""Training a trunk on public text."""

from pathlib import Path
from typing import Annotated, Literal

import torch
from pydantic import Field

from baicai.artefact import find_artefact
from baicai.config import Count, Share, recipe, to_table
from baicai.data.batches import Batch, Batches, splice_sequences
from baicai.data.shards import TokenShards
from baicai.data.sources import Sources, describe_sources, open_sources
from baicai.data.tokenizer import Tokenizer
from baicai.errors import ConfigError
from baicai.leaves.replay import generate_replay, sample_replay
from baicai.leaves.trunk import save_trunk
from baicai.model.config import ModelConfig
from baicai.model.transformer import Transformer
from baicai.run import Run
from baicai.training.compile import compile_if_worthwhile
from baicai.training.config import TrainConfig
from baicai.training.distributed import check_batch_size, distribute, gather_on_rank_zero, local_rows, rank, world_size
from baicai.training.loop import LossFunction, loss_curve, mixed_precision, select_device, train
from baicai.training.losses import linear_cross_entropy
from baicai.training.probes import SourceProbes


@recipe
class TrunkRecipe:
    """Recipe of `baicai trunk`: train a trunk on public text."""

    tokenizer: str
    """Path of a tokenizer, as `baicai tokenizer` makes it."""
    data: Sources
    model: ModelConfig
    train: TrainConfig
    replay: Literal["documents", "sampled"] = "documents"
    """Origin of the public sample: training text, or text that the trunk itself generates."""
    replay_tokens: Count = 500_000
    source_loss: Annotated[float, Field(ge=0)] = 0.05
    """Weight of the loss that keeps the source of every token readable in the upper layers, which routers will read."""
    splice: Share = 0.5
    """Share of sequences that change source midway, so that the model can follow a change of subject."""
    mtp_loss: Annotated[float, Field(ge=0)] = 0.3
    """Weight of the loss of the multi-token prediction module, if model.mtp is on."""

    def __post_init__(self) -> None:
        if self.model.mtp and self.train.sequence_tokens < 2:
            raise ConfigError("train.sequence_tokens is 1, but model.mtp predicts two tokens ahead: make it 2 or more")


def train_trunk(config: TrunkRecipe, run: Run) -> None:
    """Train a trunk on public text and write it to the run's artefact folder.

    Several processes may train it together; see `run_stage_on_all_ranks`.

    Example:
        recipe = TrunkRecipe(tokenizer="out/tokenizer", data=sources, model=sizes, train=TrainConfig(tokens=10**8))
        run_stage(train_trunk, recipe, Path("out/trunk"))

    Args:
        config: tokenizer, texts, sizes and training options.
        run: the run that makes the trunk; see `run_stage`.

    Raises: ConfigError if the vocabulary sizes differ or the loss is not finite; DataError if a text cannot be read;
    MachineError if the disk is full or the device is missing.
    """
    tokenizer = Tokenizer.open(find_artefact(config.tokenizer))
    if config.model.vocab_size != tokenizer.vocab_size:
        raise ConfigError(
            f"model.vocab_size is {config.model.vocab_size}, the tokenizer has {tokenizer.vocab_size}: make them equal"
        )
    train_config = config.train
    check_batch_size(train_config.batch_sequences)
    shards = open_sources(config.data, tokenizer)
    inputs = {f"data {domain}": source.hash for domain, source in shards.items()}
    run.record_inputs({"tokenizer": tokenizer.hash} | inputs)
    device = select_device(train_config.device)
    model = Transformer(config.model)
    model.initialize(train_config.seed)
    model.to(device)
    batches = Batches(
        list(shards.values()),
        [source.weight for source in config.data],
        batch_sequences=train_config.batch_sequences,
        sequence_tokens=train_config.sequence_tokens,
        seed=train_config.seed,
    )

    loss_of, probes = trunk_loss(config, model, len(shards), device)
    distribute({model: "hidden", probes: "loss"}, device, train_config.sharding)
    parameters = dict(model.named_parameters()) | {f"probe/{name}": p for name, p in probes.named_parameters()}
    metrics = train("trunk", parameters, batches, loss_of, train_config, run)
    if world_size() > 1:
        weights = gather_on_rank_zero(dict(model.named_parameters()))
        if rank() > 0:
            return
        model = Transformer(config.model)  # not distributed, so that it runs without the other processes
        model.load_state_dict(weights)
    save_trunk(
        run.out,
        model.cpu(),
        tokenizer,
        replay=_replay(config, model, tokenizer, list(shards.values()), run.scratch() / "replay"),
        card_fields={
            "recipe": to_table(config),
            "data": describe_sources(shards),
            "metrics": {"loss": metrics.get("loss"), "tokens": train_config.trained_tokens},
            "curve": loss_curve(run, train_config),
        },
    )


def trunk_loss(
    config: TrunkRecipe, model: Transformer, num_sources: int, device: torch.device
) -> tuple[LossFunction, SourceProbes]:
    """Return the loss of a trunk (next tokens and the source of each token), and the probes that it trains as well."""
    probes = SourceProbes(model, num_sources, config.model.num_layers // 3).to(device)
    # A lambda, since `distribute` replaces the method later.
    hidden = compile_if_worthwhile(lambda tokens_BS: model.hidden(tokens_BS), device, config.train.steps)

    def token_loss(hidden_BSD: torch.Tensor, targets_BS: torch.Tensor) -> torch.Tensor:
        return linear_cross_entropy(hidden_BSD.flatten(0, 1), model.head_weight(), targets_BS.flatten())

    def loss_of(batch: Batch) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        tokens_BS1, source_BS1 = (local_rows(rows).to(device) for rows in splice_sequences(batch, config.splice))
        with mixed_precision(config.train, device):
            hidden_BSD = hidden(tokens_BS1[:, :-1])
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
    if config.replay == "sampled":
        num_tokens = min(config.replay_tokens, length * sum(source.num_windows(length) for source in shards))
        return generate_replay(model, tokenizer, folder, num_tokens, length, config.train.seed)
    weights = [source.weight for source in config.data]
    return sample_replay(shards, weights, tokenizer, folder, config.replay_tokens, length, config.train.seed + 1)
