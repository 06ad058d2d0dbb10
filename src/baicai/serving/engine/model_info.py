"""Model metadata that the engine reports to the server, which does not load the weights."""

from dataclasses import dataclass
from typing import NotRequired, TypedDict

from baicai.model.cost import Cost


class TrainingText(TypedDict):
    """A text that a trunk or a leaf was trained on."""

    domain: str
    manifest: str
    """Hash of the text's manifest."""
    tokens: int
    bytes: int
    licences: dict[str, int]
    release: NotRequired[str]
    """Hash of the release that it came from."""
    slice: NotRequired[str]
    """Query that selected it from the release."""


class LeafCard(TypedDict):
    """A leaf in the list of models."""

    name: str
    hash: str
    signed: bool
    data: list[TrainingText]
    bits_per_byte: dict[str, dict[str, float]]
    """Bits per byte by domain and by what was measured on it."""
    parameters: int
    resident: NotRequired[bool | None]
    """Whether any of its weights are in memory; None if the system cannot tell."""


class ModelCard(TypedDict):
    """The `baicai` object of a model in the list of models."""

    kind: str
    """`model` or `trunk`."""
    hash: str
    trunk: str
    """Hash of the trunk."""
    data: list[TrainingText]
    leaves: list[LeafCard]
    topk_group: int | None
    max_tokens: int
    total_parameters: int
    active_parameters: int
    flops_per_token: int


@dataclass(frozen=True, kw_only=True)
class ModelInfo:
    """The card of a model, and what the server needs besides it. It crosses from the engine's process as JSON."""

    card: ModelCard
    tokenizer: str
    """Folder of the tokenizer."""
    weight_files: dict[str, str]
    """Path of each leaf's weights."""
    embedding_dim: int
    vocab_size: int
    """Rows of the output head, which may exceed the number of tokens."""
    max_leaf_weight: float
    """Largest routing weight that the leaves can reach together."""
    costs: list[Cost]
    """Cost by number of active leaves, from none to all."""
    dense_flops_per_token: int
    """FLOPs per token of a dense model with as many parameters."""
