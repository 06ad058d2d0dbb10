"""Cost of a model, counted from its sizes: parameters, and FLOPs and bytes per token."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from baicai.model.config import LeafConfig, ModelConfig

if TYPE_CHECKING:
    from baicai.model.transformer import Transformer


@dataclass(frozen=True)
class Cost:
    """Costs of a model. Costs per token are those of one new token with an empty cache."""

    embedding_parameters: int
    """Parameters of the embedding and, if untied, of the output projection."""
    total_parameters: int
    active_parameters: int
    """Parameters that one token uses. The embedding counts as one row. The multi-token module is not included."""
    active_share: float
    """Active over total parameters, both without embeddings."""
    flops_per_token: int
    """FLOPs of the forward pass: two for each weight of a matrix product."""
    bytes_per_token: int
    """Bytes of weights that are read for one token."""


def leaf_parameters(model: ModelConfig, leaf: LeafConfig) -> tuple[int, int, int]:
    """Return parameter counts of a leaf: in total, of the experts that one token uses, and of its router."""
    layers = model.num_layers - leaf.first_layer
    expert = 3 * model.dim * leaf.expert_dim
    router = leaf.num_experts * (model.dim + 1)
    return layers * (leaf.num_experts * expert + router), layers * leaf.top_k * expert, layers * router


def growing_share(model: ModelConfig, trunk_parameters: int, leaf: LeafConfig) -> float:
    """Return the FLOPs of a training step that grows a leaf, as a share of a step that trains trunk and leaf.

    Both run the full forward pass. Backward, growing computes nothing below the leaf; above, only the gradient with
    respect to the stream for the trunk, and both gradients for the leaf.
    """
    head = model.vocab_size * model.dim
    layer = (trunk_parameters - head * (1 if model.tied_head else 2)) / model.num_layers
    upper = model.num_layers - leaf.first_layer
    _, experts, router = leaf_parameters(model, leaf)
    forward = layer * model.num_layers + head + experts + router
    return (forward + layer * upper + head + 2 * (experts + router)) / (3 * forward)


def count_cost(model: "Transformer", bytes_per_parameter: int = 4, active_leaves: int | None = None) -> Cost:
    """Return the cost of a model.

    Args:
        model: the network, with its leaves.
        bytes_per_parameter: size of a stored weight.
        active_leaves: number of leaves that are on; None for all.
    """
    config = model.config
    embedding = config.vocab_size * config.dim * (1 if config.tied_head else 2)
    mtp = sum(p.numel() for p in model.mtp.parameters()) if model.mtp else 0
    trunk = sum(tensor.numel() for tensor in model.trunk_tensors().values())
    total, active = trunk - embedding, trunk - embedding - mtp
    if model.leaf_config is not None:
        leaf, used, router = leaf_parameters(config, model.leaf_config)
        total += len(model.leaves) * leaf
        count = len(model.leaves) if active_leaves is None else active_leaves
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
