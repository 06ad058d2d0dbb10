"""What a model costs: parameters, FLOPs and bytes per token, counted from its sizes."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from baicai.model.config import LeafConfig, ModelConfig

if TYPE_CHECKING:
    from baicai.model.transformer import Transformer


@dataclass(frozen=True)
class Cost:
    """Counts of one model; per-token figures are for one new token with an empty cache."""

    embedding_parameters: int
    """Embedding and, where untied, output projection."""
    total_parameters: int
    active_parameters: int
    """Of all parameters, those that one token uses: a matrix looked up by row counts as one row. Drafting is extra."""
    active_share: float
    """Active over total, both beyond embeddings."""
    flops_per_token: int
    """Forward pass: two for each weight of a matrix product."""
    bytes_per_token: int
    """Weights read to make one token."""


def leaf_parameters(model: ModelConfig, leaf: LeafConfig) -> tuple[int, int, int]:
    """Return the parameters of one leaf: all, those of the experts that one token uses, and those of its router."""
    layers = model.num_layers - leaf.first_layer
    expert = 3 * model.dim * leaf.expert_dim
    router = leaf.num_experts * (model.dim + 1)
    return layers * (leaf.num_experts * expert + router), layers * leaf.top_k * expert, layers * router


def growing_share(model: ModelConfig, trunk_parameters: int, leaf: LeafConfig) -> float:
    """Return the FLOPs of a step that grows a leaf, as a share of one that trains trunk and leaf.

    Both run everything forward. Growing runs nothing backward below the leaf, above it only the gradient of the stream
    through the trunk, and both gradients through the leaf.
    """
    head = model.vocab_size * model.dim
    layer = (trunk_parameters - head * (1 if model.tied_head else 2)) / model.num_layers
    upper = model.num_layers - leaf.first_layer
    _, experts, router = leaf_parameters(model, leaf)
    forward = layer * model.num_layers + head + experts + router
    return (forward + layer * upper + head + 2 * (experts + router)) / (3 * forward)


def count_cost(model: "Transformer", bytes_per_parameter: int = 4, on: int | None = None) -> Cost:
    """Return the cost of a model with so many of its leaves on, all if that is not said."""
    config = model.config
    embedding = config.vocab_size * config.dim * (1 if config.tied_head else 2)
    spare = sum(p.numel() for p in model.mtp.parameters()) if model.mtp else 0
    whole = sum(tensor.numel() for tensor in model.trunk_tensors().values())
    total, active = whole - embedding, whole - embedding - spare
    if model.leaf_config is not None:
        every, used, router = leaf_parameters(config, model.leaf_config)
        total += len(model.leaves) * every
        count = len(model.leaves) if on is None else on
        active += count * router + (used if count else 0)
    head = config.vocab_size * config.dim
    return Cost(
        embedding_parameters=embedding,
        total_parameters=total + embedding,
        active_parameters=active + head + (0 if config.tied_head else config.dim),
        active_share=active / total,
        flops_per_token=2 * (active + head),
        bytes_per_token=bytes_per_parameter * (active + head),
    )
