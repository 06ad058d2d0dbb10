"""A model that is served: what it is, what it costs, and who answers for it."""

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
from baicai.serving.errors import ApiError

_LIBC = ctypes.CDLL(None, use_errno=True)
_PAGE_IN_MEMORY = 1
TRUNK = "trunk"
"""`NAME:trunk` is a model with its leaves off."""


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
    """Who continues texts."""

    @property
    def ready(self) -> bool:
        """Whether texts are taken; an engine that has died is started again."""

    @property
    def status(self) -> Mapping[str, int]:
        """How many texts are running, and how many waiting."""

    def generate(self, request: GenerationRequest) -> AsyncGenerator[Sequence[EngineEvent], None]:
        """Yield an answer's tokens, and how it ended, as many as have come; whoever closes the generator stops it."""


@dataclass(frozen=True)
class ServedModel:
    """A model, without its weights."""

    name: str
    engine: AsyncEngine
    tokenizer: Tokenizer
    card: dict[str, Any]
    """What the list of models shows of it."""
    weight_files: dict[str, Path]
    """Where the weights of each leaf are."""
    leaves: list[str]
    """In the order of the model."""
    embedding_dim: int
    """Of an embedding."""
    vocab_size: int
    max_tokens: int
    max_leaf_weight: float
    """Weight that leaves can get together."""
    costs: list[Cost]
    """With none, one, and so on up to all leaves on."""
    dense_flops_per_token: int
    """That a model of this size would take for a token if all of it were active."""
    created: int
    active_tasks: set[asyncio.Task[Any]] = field(default_factory=set)
    """Tasks of requests that its engine is kept for."""

    @property
    def hash(self) -> str:
        """Hash of the model."""
        return str(self.card["hash"])

    @cached_property
    def stop_token_ids(self) -> list[int]:
        """Tokens that end an answer: those of the chat, and rows of the head that no token has."""
        return [*self.tokenizer.stop_ids, *range(self.tokenizer.vocab_size, self.vocab_size)]

    def hold_engine(self) -> None:
        """Keep its engine until the task that runs now is over: in one, a request is answered to its last piece."""
        task = asyncio.current_task()
        assert task is not None
        self.active_tasks.add(task)
        task.add_done_callback(self.active_tasks.discard)

    def entry(self, name: str) -> dict[str, Any]:
        """Return its entry in the list of models."""
        told = {"id": name, "object": "model", "created": self.created, "owned_by": "baicai"}
        leaves = [leaf | {"resident": is_resident(self.weight_files[leaf["name"]])} for leaf in self.card["leaves"]]
        return told | {"max_model_len": self.max_tokens, "baicai": self.card | {"leaves": leaves}}

    def select_leaves(self, alias: str, selection: LeafSelection | None) -> list[str]:
        """Return the leaves that are on, in the order of the model, for `NAME:alias` and a request's own selection.

        Raises: ApiError if there is no such leaf.
        """
        named = [] if alias == TRUNK else alias.split(",") if alias else self.leaves
        self._check(named, "model", "model_not_found", 404)
        if selection is None:
            return self._ordered(named)
        for key, names in (("only", selection.only or ()), ("on", selection.on), ("off", selection.off)):
            self._check(names, f"leaves.{key}", "leaf_not_found", 400)
        if selection.only is not None:
            return self._ordered(selection.only)
        return self._ordered({*named, *selection.on} - {*selection.off})

    def _check(self, names: Collection[str], param: str, code: str, status: int) -> None:
        for name in names:
            if name not in self.leaves:
                told = f"There is no leaf '{name}': this model has {', '.join(self.leaves) or 'none'}."
                raise ApiError(told, param=param, code=code, status=status)

    def _ordered(self, names: Collection[str]) -> list[str]:
        return [name for name in self.leaves if name in names]


def serve_as(name: str, engine: AsyncEngine, info: Mapping[str, Any]) -> ServedModel:
    """Return a model as it is served under a name; `info` is what its engine says of it.

    Raises: ArtefactError if its tokenizer is missing or damaged.
    """
    known = info["serving"]
    return ServedModel(
        name=name,
        engine=engine,
        tokenizer=Tokenizer.open(Path(known["tokenizer"])),
        card={key: value for key, value in info.items() if key != "serving"},
        weight_files={leaf: Path(file) for leaf, file in known["files"].items()},
        leaves=[leaf["name"] for leaf in info["leaves"]],
        embedding_dim=known["dim"],
        vocab_size=known["vocab_size"],
        max_tokens=info["max_tokens"],
        max_leaf_weight=known["most_weight"],
        costs=[Cost(**cost) for cost in known["costs"]],
        dense_flops_per_token=known["dense_flops"],
        created=int(time.time()),
    )


def find_model(models: Sequence[ServedModel], name: str) -> tuple[ServedModel, str]:
    """Return the model that a request names, kept for it, and what stands behind the colon.

    Raises: ApiError
    """
    wanted, _, alias = name.partition(":")
    for served in models:
        if served.name == wanted:
            served.hold_engine()
            return served, alias
    raise unknown_model(models, name)


def unknown_model(models: Sequence[ServedModel], name: str) -> ApiError:
    """Return what is told of a name that no model has."""
    known = ", ".join(served.name for served in models) or "none"
    told = f"The model '{name}' does not exist: this server has {known}."
    return ApiError(told, param="model", code="model_not_found", status=404)


def is_resident(path: Path) -> bool | None:
    """Return whether any page of a file is in memory, None where the system does not say."""
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY) as mapped:
            pages = (ctypes.c_ubyte * -(-len(mapped) // mmap.PAGESIZE))()
            begin = ctypes.c_char.from_buffer(mapped)
            failed = _LIBC.mincore(ctypes.c_void_p(ctypes.addressof(begin)), ctypes.c_size_t(len(mapped)), pages)
            del begin  # the map cannot be closed before
    except (OSError, ValueError, AttributeError):  # no such file, an empty one, a system without mincore
        return None
    return None if failed else any(page & _PAGE_IN_MEMORY for page in bytes(pages))
