"""Registry of the served models, which can be loaded, replaced and unloaded while the server runs."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

from baicai.artefact import find_artefact
from baicai.errors import ArtefactError
from baicai.serving.config import ServeRecipe
from baicai.serving.engine.client import EngineClient, EngineOptions
from baicai.serving.errors import ApiError
from baicai.serving.served_model import ServedModel, model_not_found


class ModelRegistry:
    """The models of a server, each with an engine of its own.

    Engines map weights from their files, so that a trunk or a leaf that several models share is in memory once. While
    one model replaces another, only the process itself (0.3 GB) and the KV cache exist twice.
    """

    def __init__(self, config: ServeRecipe) -> None:
        self.models: list[ServedModel] = []
        """Models that accept requests."""
        self._config = config
        self._engines = set[EngineClient]()
        """All running engines: active, starting and draining."""
        self._loading = set[str]()
        """Names of the models that are being loaded."""
        self._draining = set[asyncio.Task[None]]()

    async def load(self, model: str, name: str = "", peel: Sequence[str] = (), join: Sequence[str] = ()) -> ServedModel:
        """Load a model and serve it; if its name is in use, new requests switch to it once it is ready.

        Args:
            model: path or hash of a model or a trunk.
            name: name in requests; default: the name of its folder.
            peel: names or hashes of leaves to remove from the model.
            join: paths or hashes of leaves to join to it.

        Raises: BaicaiError if the model cannot be opened or the server has no room for it. The served models then stay
            as they were.
        """
        _check_artefacts(model, join)
        name = name or Path(model).resolve().name
        self._check_capacity(name)
        engine = EngineClient(self._options(model, peel, join))
        self._engines.add(engine)
        self._loading.add(name)
        try:
            await engine.start()
            served = await asyncio.to_thread(ServedModel.from_info, name, engine, engine.info)
        except BaseException:  # Includes the cancellation when the server stops while loading.
            await self._close_engine(engine)
            raise
        finally:
            self._loading.remove(name)
        self._replace(name, served)
        return served

    def unload(self, name: str) -> None:
        """Stop serving a model; requests in progress are completed.

        Raises: ApiError if the model does not exist or is being loaded.
        """
        self._check_not_loading(name)
        if name not in self._names():
            raise model_not_found(self.models, name)
        self._replace(name)

    async def close(self) -> None:
        """Stop all engines, aborting requests in progress."""
        for engine in list(self._engines):
            await self._close_engine(engine)

    def _options(self, model: str, peel: Sequence[str], join: Sequence[str]) -> EngineOptions:
        config = self._config
        return EngineOptions(
            model=model,
            peel=peel,
            join=join,
            weights=config.weights,
            max_sequences=config.max_sequences,
            kv_cache_tokens=config.kv_cache_tokens,
            max_waiting=config.max_waiting,
        )

    def _names(self) -> list[str]:
        return [served.name for served in self.models]

    def _check_capacity(self, name: str) -> None:
        if not name or not name.isprintable() or ":" in name:
            message = f"{name!r} is not a valid model name: use printable characters other than ':'."
            raise ApiError(message, param="name", code="invalid_value")
        self._check_not_loading(name)
        running, limit = len(self._engines), self._config.max_models
        if running - (name in self._names()) >= limit:
            message = f"The server already runs {running} of at most {limit} models (starting, active or draining)"
            message = f"{message}: unload a model, or start the server with max_models={limit + 1}."
            raise ApiError(message, code="too_many_models", status=409)

    def _check_not_loading(self, name: str) -> None:
        if name in self._loading:
            message = f"The model '{name}' is being loaded: try again once it is ready."
            raise ApiError(message, code="model_loading", status=409)

    def _replace(self, name: str, *served: ServedModel) -> None:
        """Put a model, or nothing, at the position of the model with this name, or at the end."""
        index = self._names().index(name) if name in self._names() else len(self.models)
        replaced, self.models[index : index + 1] = self.models[index : index + 1], served
        for model in replaced:
            task = asyncio.create_task(self._drain(model))
            self._draining.add(task)
            task.add_done_callback(self._draining.discard)

    async def _drain(self, served: ServedModel) -> None:
        while served.active_tasks:
            await asyncio.wait(served.active_tasks)
        assert isinstance(served.engine, EngineClient)
        await self._close_engine(served.engine)

    async def _close_engine(self, engine: EngineClient) -> None:
        await engine.close()
        self._engines.discard(engine)


def _check_artefacts(model: str, join: Sequence[str]) -> None:
    """Reject artefacts that do not exist before an engine is started for them."""
    leaves = [(f"join[{number}]", leaf) for number, leaf in enumerate(join)]
    for param, reference in [("model", model), *leaves]:
        try:
            find_artefact(reference)
        except ArtefactError as error:
            raise ApiError(str(error), param=param, code="artefact_not_found") from None
