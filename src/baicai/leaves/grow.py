"""Growing a leaf: the trunk is frozen, and only the leaf's experts and router rows are trained."""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from baicai.config import recipe, to_table
from baicai.data.batches import Batch, Batches
from baicai.data.shards import TokenShards
from baicai.data.sources import Sources, describe_sources, open_sources
from baicai.errors import ConfigError
from baicai.evaluation.bits_per_byte import bits_per_byte, held_out_windows, token_nats
from baicai.leaves.activation_cache import ActivationCache
from baicai.leaves.card import Card
from baicai.leaves.leaf import check_leaf_name, save_leaf
from baicai.leaves.trunk import Trunk, open_trunk
from baicai.model.config import LeafConfig
from baicai.model.cost import growing_share
from baicai.model.experts import Leaf
from baicai.model.router import LayerTrace
from baicai.model.transformer import Transformer
from baicai.run import LogLine, Run, notify
from baicai.training.compile import compile_if_worthwhile
from baicai.training.config import TrainConfig
from baicai.training.loop import LossFunction, loss_curve, mixed_precision, select_device, train
from baicai.training.losses import linear_cross_entropy, recognition_loss
from baicai.training.optimizer import training_bytes

PRIVATE_KEYS = ("trunk", "data", "held_out", "public", "sign_key")
"""Keys of the recipe that hold paths of the grower's machine. They are not written into the leaf."""

CARD_TOKENS = 10_000
"""Tokens of each text that the quality on the card is measured on."""


@recipe
class GrowRecipe:
    """Recipe of `baicai grow`: grow a leaf on text of its domain."""

    name: str
    """Name of the leaf."""
    trunk: str
    """Path or hash."""
    data: Sources
    """Text of the leaf's own domain."""
    held_out: Sources = dataclasses.field(default_factory=list)
    """Text that is not trained on. The card reports bits per byte on it."""
    public: Sources = dataclasses.field(default_factory=list)
    """Public text in addition to the trunk's sample, as further negative examples for the router."""
    public_share: Annotated[float, Field(ge=0, lt=1)] = 0.25
    """Share of public text in training."""
    leaf: LeafConfig = LeafConfig()
    train: TrainConfig = TrainConfig(tokens=1_000_000)
    recognition: Annotated[float, Field(ge=0)] = 1.0
    """Weight of the loss by which the router learns to recognise the leaf's own text."""
    sign_key: str | None = None
    """Private key (PEM, P-256) to sign the leaf with."""
    cache_activations: bool = False
    """Cache the activations below the leaf on disk (4 bytes x width per token). Worthwhile if text is seen twice."""

    def __post_init__(self) -> None:
        check_leaf_name(self.name)
        if not self.data:
            raise ConfigError("data is empty: name at least one source of the leaf's own text")
        if any(source.domain == "public" for source in self.held_out):
            raise ConfigError(
                "a source of held_out has the domain 'public', which is reserved for the trunk's text: rename it"
            )


def grow_leaf(config: GrowRecipe, run: Run) -> None:
    """Grow a leaf on its own text and write it to the run's artefact folder. The trunk is only read.

    Only the leaf's experts and router rows are trained: to predict the next token, and to recognise the leaf's own
    text among the trunk's public sample.

    Example:
        recipe = GrowRecipe(
            name="law", trunk="out/trunk", data=[SourceConfig(path="law.jsonl", domain="law", licence="CC-BY-4.0")]
        )
        run_stage(grow_leaf, recipe, Path("out/law"))

    Args:
        config: the trunk, the texts, the leaf's sizes and training options.
        run: the run that makes the leaf; see `run_stage`.

    Raises: ConfigError if sizes do not fit or the loss is not finite; DataError if a text cannot be read; ArtefactError
    if the trunk is damaged; MachineError if the disk is full or the device is missing.
    """
    trunk = open_trunk(config.trunk)
    sizes = _resolve_first_layer(config.leaf, trunk.network.config.num_layers)
    train_config = config.train
    own = open_sources(config.data, trunk.tokenizer)
    public = [trunk.replay(), *open_sources(config.public, trunk.tokenizer).values()]
    run.record_inputs({"trunk": trunk.hash} | {f"data {domain}": shards.hash for domain, shards in own.items()})
    sources = [*own.values(), *public]
    batches = Batches(
        sources,
        shares(list(own.values()), public, [source.weight for source in config.data], config.public_share),
        batch_sequences=train_config.batch_sequences,
        sequence_tokens=train_config.sequence_tokens,
        seed=train_config.seed,
    )
    device = select_device(train_config.device)
    model = trunk.network.to(device)
    leaf = Leaf(model.config, sizes)
    leaf.initialize(train_config.seed)
    leaf.to(device)
    model.join(config.name, leaf)
    _report_savings(trunk, leaf)
    lower = _lower_layers(config, model, sources, run.scratch())
    metrics = train(
        f"leaf {config.name}",
        dict(leaf.named_parameters()),
        batches,
        leaf_loss(model, len(own), config, lower),
        train_config,
        run,
    )
    model.cpu()
    save_leaf(
        run.out,
        config.name,
        leaf,
        trunk,
        data=describe_sources(own),
        card_fields=_card_fields(config, trunk, metrics, run),
        sign_key=config.sign_key,
    )


def _resolve_first_layer(sizes: LeafConfig, num_layers: int) -> LeafConfig:
    if sizes.first_layer < 0:
        return dataclasses.replace(sizes, first_layer=num_layers // 2)
    if sizes.first_layer >= num_layers:
        raise ConfigError(f"leaf.first_layer is {sizes.first_layer}: this trunk's last layer is {num_layers - 1}")
    return sizes


def _card_fields(config: GrowRecipe, trunk: Trunk, metrics: LogLine, run: Run) -> Card:
    return {
        "recipe": {key: value for key, value in to_table(config).items() if key not in PRIVATE_KEYS},
        "metrics": _card_metrics(metrics) | _quality(trunk, config),
        "curve": loss_curve(run, config.train),
    }


def shares(
    own: Sequence[TokenShards], public: Sequence[TokenShards], weights: Sequence[float], public_share: float
) -> list[float]:
    """Return the share of each source in training: own text by the given weights, public text by size."""
    own_unit = (1 - public_share) / sum(weights)
    public_unit = public_share / sum(source.num_tokens for source in public)
    return [own_unit * weight for weight in weights] + [public_unit * source.num_tokens for source in public]


def _lower_layers(
    config: GrowRecipe, model: Transformer, sources: Sequence[TokenShards], folder: Path
) -> Callable[[Batch], Tensor]:
    if config.cache_activations:
        return ActivationCache(folder, model, sources, config.train.sequence_tokens).lower

    def lower(batch: Batch) -> Tensor:
        return model.lower(batch.tokens_BS1[:, :-1].to(model.embedding.weight.device))

    return lower


def leaf_loss(
    model: Transformer,
    num_own: int,
    config: GrowRecipe,
    lower: Callable[[Batch], Tensor],
) -> LossFunction:
    """Return the loss of a leaf: next-token prediction, and recognition of its own text.

    Args:
        model: trunk with the leaf joined.
        num_own: number of leading sources that are the leaf's own text.
        config: weight of the recognition loss, and training options.
        lower: returns the stream [B, S, D] below the leaf for a batch.
    """
    upper = compile_if_worthwhile(model.upper, model.embedding.weight.device, config.train.steps)

    def loss_of(batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        device = model.embedding.weight.device
        tokens_BS = batch.tokens_BS1.to(device)
        own_T = (batch.source_B < num_own).to(device).repeat_interleave(tokens_BS.shape[1] - 1)
        trace: list[LayerTrace] = []
        with mixed_precision(config.train, device):
            with torch.no_grad():
                stream_BSD = lower(batch)
            hidden_BSD = upper(stream_BSD, trace=trace)
            loss = linear_cross_entropy(hidden_BSD.flatten(0, 1), model.head_weight(), tokens_BS[:, 1:].flatten())
            recognition = torch.stack([recognition_loss(layer.logits_TGE, own_T) for layer in trace]).mean()
        return loss + config.recognition * recognition, {"recognition": recognition.detach()}

    return loss_of


def _quality(trunk: Trunk, config: GrowRecipe) -> dict[str, dict[str, float]]:
    """Return bits per byte without and with the leaf, on the public sample and on held-out text."""
    texts = {"public": trunk.replay()} | open_sources(config.held_out, trunk.tokenizer)
    quality: dict[str, dict[str, float]] = {}
    for domain, shards in texts.items():
        quality[domain] = {}
        for column, on in (("trunk", torch.zeros(1, dtype=torch.bool)), ("leaf", None)):
            windows = held_out_windows(shards, config.train.sequence_tokens, CARD_TOKENS)
            scored = bits_per_byte(token_nats(trunk.network, on), windows, trunk.tokenizer)
            quality[domain][column] = scored.bits_per_byte
    return quality


def _card_metrics(metrics: LogLine) -> LogLine:
    return {key: metrics[key] for key in ("loss", "recognition") if key in metrics}


def _report_savings(trunk: Trunk, leaf: Leaf) -> None:
    config, first = trunk.network.config, leaf.config.first_layer
    trunk_tensors = {name: p for name, p in trunk.network.trunk_tensors().items() if not name.startswith("mtp.")}
    leaf_bytes = training_bytes(dict(leaf.named_parameters()))
    full_bytes = leaf_bytes + training_bytes(trunk_tensors)
    flops_share = growing_share(config, sum(p.numel() for p in trunk_tensors.values()), leaf.config)
    notify(
        f"Compared with training trunk and leaf, growing takes {flops_share:.0%} of the arithmetic (no backward pass "
        f"in {first} of {config.num_layers} layers) and {leaf_bytes / full_bytes:.0%} of the memory for gradients and "
        f"optimizer state ({leaf_bytes / 1e6:.0f} MB instead of {full_bytes / 1e6:.0f} MB)."
    )
