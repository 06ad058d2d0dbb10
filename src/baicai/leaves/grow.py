"""Growing a leaf, alone: the trunk is frozen, only the leaf's experts and router rows train."""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

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
from baicai.leaves.leaf import check_leaf_name, save_leaf
from baicai.leaves.trunk import Trunk, open_trunk
from baicai.model.config import LeafConfig
from baicai.model.cost import growing_share
from baicai.model.experts import Leaf
from baicai.model.router import LayerTrace
from baicai.model.transformer import Transformer
from baicai.run import Run, notify
from baicai.training.compile import compile_if_worthwhile
from baicai.training.config import TrainConfig
from baicai.training.loop import loss_curve, mixed_precision, select_device, train
from baicai.training.losses import linear_cross_entropy, recognition_loss
from baicai.training.optimizer import training_bytes

PRIVATE_KEYS = ("trunk", "data", "held_out", "public", "sign_key")
"""Keys of the recipe that hold paths of the grower's machine: they stay out of the leaf."""
CARD_TOKENS = 10_000
"""Tokens of each text that the card's quality is measured on."""


@recipe
class GrowRecipe:
    """`baicai grow`: grow a leaf on one's own text."""

    name: str
    trunk: str
    """Path or hash."""
    data: Sources
    """Own text."""
    held_out: Sources = dataclasses.field(default_factory=list)
    """Own text that is not trained on; the card says how well it is predicted."""
    public: Sources = dataclasses.field(default_factory=list)
    """Public text beside the trunk's own sample, as further examples of what is not the leaf's."""
    public_share: Annotated[float, Field(ge=0, lt=1)] = 0.25
    leaf: LeafConfig = LeafConfig()
    train: TrainConfig = TrainConfig(tokens=1_000_000)
    recognition: Annotated[float, Field(ge=0)] = 1.0
    """Weight of the loss that teaches the router to tell own text from public text."""
    sign_key: str | None = None
    """Private key (PEM, P-256) to sign the leaf with."""
    cache_activations: bool = False
    """Keep what the layers below the leaf say on disk (4 bytes x width a token); pays if text is seen twice or more."""

    def __post_init__(self) -> None:
        check_leaf_name(self.name)
        if not self.data:
            raise ConfigError("data names no source: a leaf needs text of its own")
        if any(source.domain == "public" for source in self.held_out):
            raise ConfigError(
                "a source of held_out has the domain 'public', which is the trunk's text: name it otherwise"
            )


def grow_leaf(config: GrowRecipe, run: Run) -> None:
    """Grow a leaf and write it to the run's artefact folder. The trunk's files are only read."""
    trunk = open_trunk(config.trunk)
    sizes = config.leaf
    if sizes.first_layer < 0:
        sizes = dataclasses.replace(sizes, first_layer=trunk.network.config.num_layers // 2)
    last_layer = trunk.network.config.num_layers - 1
    if sizes.first_layer > last_layer:
        raise ConfigError(f"leaf.first_layer is {sizes.first_layer}: this trunk's last layer is {last_layer}")
    settings = config.train
    own = open_sources(config.data, trunk.tokenizer)
    public = [trunk.replay(), *open_sources(config.public, trunk.tokenizer).values()]
    run.record_inputs({"trunk": trunk.hash} | {f"data {domain}": shards.hash for domain, shards in own.items()})
    sources = [*own.values(), *public]
    batches = Batches(
        sources,
        shares(list(own.values()), public, [source.weight for source in config.data], config.public_share),
        batch_sequences=settings.batch_sequences,
        sequence_tokens=settings.sequence_tokens,
        seed=settings.seed,
    )
    device = select_device(settings.device)
    model = trunk.network.to(device)
    leaf = Leaf(model.config, sizes)
    leaf.initialize(settings.seed)
    leaf.to(device)
    model.join(config.name, leaf)
    _print_saving(trunk, leaf)
    lower = _lower(config, model, sources, run.scratch())
    metrics = train(
        f"leaf {config.name}",
        dict(leaf.named_parameters()),
        batches,
        leaf_loss(model, len(own), config, lower),
        settings,
        run,
    )
    model.cpu()
    save_leaf(
        run.out,
        config.name,
        leaf,
        trunk,
        data=describe_sources(own),
        card_fields={
            "recipe": {key: value for key, value in to_table(config).items() if key not in PRIVATE_KEYS},
            "metrics": _last(metrics) | _quality(trunk, config),
            "curve": loss_curve(run, settings),
        },
        sign_key=config.sign_key,
    )


def shares(
    own: Sequence[TokenShards], public: Sequence[TokenShards], weights: Sequence[float], public_share: float
) -> list[float]:
    """Return the share of each source: own text by the given weights, public text by size."""
    own_unit = (1 - public_share) / sum(weights)
    public_unit = public_share / sum(one.num_tokens for one in public)
    return [own_unit * weight for weight in weights] + [public_unit * one.num_tokens for one in public]


def _lower(
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
) -> Callable[[Batch], tuple[Tensor, dict[str, Tensor]]]:
    """Return the loss of a leaf: next token, and own against public text."""
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
            recognised = torch.stack([recognition_loss(layer.logits_TGE, own_T) for layer in trace]).mean()
        return loss + config.recognition * recognised, {"recognition": recognised.detach()}

    return loss_of


def _quality(trunk: Trunk, config: GrowRecipe) -> dict[str, dict[str, float]]:
    """Return bits per byte without and with the leaf, on the public sample and on held-out text where given."""
    texts = {"public": trunk.replay()} | open_sources(config.held_out, trunk.tokenizer)
    found: dict[str, dict[str, float]] = {}
    for domain, shards in texts.items():
        found[domain] = {}
        for column, on in (("trunk", torch.zeros(1, dtype=torch.bool)), ("leaf", None)):
            windows = held_out_windows(shards, config.train.sequence_tokens, CARD_TOKENS)
            scored = bits_per_byte(token_nats(trunk.network, on), windows, trunk.tokenizer)
            found[domain][column] = scored.bits_per_byte
    return found


def _last(metrics: dict[str, Any]) -> dict[str, Any]:
    return {key: metrics[key] for key in ("loss", "recognition") if key in metrics}


def _print_saving(trunk: Trunk, leaf: Leaf) -> None:
    config, first = trunk.network.config, leaf.config.first_layer
    whole = {name: p for name, p in trunk.network.trunk_tensors().items() if not name.startswith("mtp.")}
    alone = training_bytes(dict(leaf.named_parameters()))
    every = alone + training_bytes(whole)
    work = growing_share(config, sum(p.numel() for p in whole.values()), leaf.config)
    notify(
        f"Against training everything, growing takes {work:.0%} of the arithmetic (no backward pass in {first} of "
        f"{config.num_layers} layers) and {alone / every:.0%} of the memory for gradients and optimizer "
        f"({alone / 1e6:.0f} MB instead of {every / 1e6:.0f} MB)."
    )
