"""A served model: its engine, its metadata, and the leaves that a request selects."""

import asyncio
import ctypes
import mmap
import time
from collections.abc import AsyncGenerator, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

from baicai.data.tokenizer import Tokenizer
from baicai.model.cost import Cost
from baicai.serving.engine.events import EngineEvent
from baicai.serving.engine.generation_request import GenerationRequest
from baicai.serving.engine.model_info import LeafCard, ModelCard, ModelInfo
from baicai.serving.errors import ApiError

_PAGE_IN_MEMORY = 1
TRUNK = "trunk"
"""`NAME:trunk` is a model with all leaves off."""


class LeafSelection(Protocol):
    """The leaves that a request switches on or off."""

    @property
    def only(self) -> Collection[str] | None:
        """Exactly these leaves, or None to start from those that the model's name selects."""

    @property
    def on(self) -> Collection[str]:
        """Leaves to add."""

    @property
    def off(self) -> Collection[str]:
        """Leaves to remove."""


class AsyncEngine(Protocol):
    """An engine that generates for many requests at once."""

    @property
    def ready(self) -> bool:
        """Whether the engine accepts requests; it does not while it restarts."""

    @property
    def status(self) -> Mapping[str, int]:
        """Number of `running` and `waiting` sequences."""

    def generate(self, request: GenerationRequest) -> AsyncGenerator[Sequence[EngineEvent], None]:
        """Stream events in batches of everything available. Closing the generator cancels the request."""


@dataclass(frozen=True)
class ServedModel:
    """A model without its weights, which are in the engine's process."""

    name: str
    engine: AsyncEngine
    tokenizer: Tokenizer
    card: ModelCard
    weight_files: dict[str, Path]
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
    created: int
    """Unix time at which the model was loaded."""
    active_tasks: set[asyncio.Task[Any]] = field(default_factory=set)
    """Tasks of the requests that still need the engine."""

    @classmethod
    def from_info(cls, name: str, engine: AsyncEngine, info: ModelInfo) -> "ServedModel":
        """Build a served model from the metadata that its engine reports.

        Raises: ArtefactError if its tokenizer is missing or damaged.
        """
        return cls(
            name=name,
            engine=engine,
            tokenizer=Tokenizer.open(Path(info.tokenizer)),
            card=info.card,
            weight_files={leaf: Path(file) for leaf, file in info.weight_files.items()},
            embedding_dim=info.embedding_dim,
            vocab_size=info.vocab_size,
            max_leaf_weight=info.max_leaf_weight,
            costs=info.costs,
            dense_flops_per_token=info.dense_flops_per_token,
            created=int(time.time()),
        )

    @property
    def hash(self) -> str:
        """Hash of the model."""
        return self.card["hash"]

    @property
    def max_tokens(self) -> int:
        """Maximum length of a sequence in tokens."""
        return self.card["max_tokens"]

    @cached_property
    def leaves(self) -> list[str]:
        """Names of the leaves, in the order of the model."""
        return [leaf["name"] for leaf in self.card["leaves"]]

    @cached_property
    def stop_token_ids(self) -> list[int]:
        """Tokens that end a completion: the chat's stop tokens, and rows of the head without a token."""
        return [*self.tokenizer.stop_ids, *range(self.tokenizer.vocab_size, self.vocab_size)]

    def hold_engine(self) -> None:
        """Keep the engine running until the current task, which handles one request to its end, is done."""
        task = asyncio.current_task()
        assert task is not None
        self.active_tasks.add(task)
        task.add_done_callback(self.active_tasks.discard)

    def entry(self, name: str) -> dict[str, Any]:
        """Build the model's entry in the list of models, under `NAME` or `NAME:alias`."""
        leaves: list[LeafCard] = [
            {**leaf, "resident": is_resident(self.weight_files[leaf["name"]])} for leaf in self.card["leaves"]
        ]
        return {
            "id": name,
            "object": "model",
            "created": self.created,
            "owned_by": "baicai",
            "max_model_len": self.max_tokens,
            "baicai": {**self.card, "leaves": leaves},
        }

    def select_leaves(self, alias: str, selection: LeafSelection | None) -> list[str]:
        """Resolve the active leaves, in the order of the model, from `NAME:alias` and a request's own selection.

        Raises: ApiError if a leaf does not exist.
        """
        named = [] if alias == TRUNK else alias.split(",") if alias else self.leaves
        self._check_leaves(named, "model", "model_not_found", 404)
        if selection is None:
            return self._in_model_order(named)
        for key, names in (("only", selection.only or ()), ("on", selection.on), ("off", selection.off)):
            self._check_leaves(names, f"leaves.{key}", "leaf_not_found", 400)
        if selection.only is not None:
            return self._in_model_order(selection.only)
        return self._in_model_order({*named, *selection.on} - {*selection.off})

    def _check_leaves(self, names: Collection[str], param: str, code: str, status: int) -> None:
        for name in names:
            if name not in self.leaves:
                message = f"The leaf '{name}' does not exist: this model has {', '.join(self.leaves) or 'none'}."
                raise ApiError(message, param=param, code=code, status=status)

    def _in_model_order(self, names: Collection[str]) -> list[str]:
        return [name for name in self.leaves if name in names]


def find_model(models: Sequence[ServedModel], name: str) -> tuple[ServedModel, str]:
    """Find the model that a request names, and hold its engine for the request.

    Returns: the model, and the part of the name after the colon.
    Raises: ApiError if the model does not exist.
    """
    base_name, _, alias = name.partition(":")
    for served in models:
        if served.name == base_name:
            served.hold_engine()
            return served, alias
    raise model_not_found(models, name)


def model_not_found(models: Sequence[ServedModel], name: str) -> ApiError:
    """Build the error for an unknown model name."""
    served_names = ", ".join(served.name for served in models) or "none"
    message = f"The model '{name}' does not exist: this server has {served_names}."
    return ApiError(message, param="model", code="model_not_found", status=404)


def is_resident(path: Path) -> bool | None:
    """Check whether any page of a file is in memory; None if the system cannot tell."""
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY) as mapped:
            pages = (ctypes.c_ubyte * -(-len(mapped) // mmap.PAGESIZE))()
            start = ctypes.c_char.from_buffer(mapped)
            failed = ctypes.CDLL(None).mincore(
                ctypes.c_void_p(ctypes.addressof(start)), ctypes.c_size_t(len(mapped)), pages
            )
            del start  # The mapping cannot be closed while this reference exists.
    except (OSError, ValueError, AttributeError, TypeError):  # A missing or empty file, or a system without mincore.
        return None
    return None if failed else any(page & _PAGE_IN_MEMORY for page in bytes(pages))
