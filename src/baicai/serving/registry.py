"""The models that are served: they come, change and go while they are asked."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

from baicai.artefact import find_artefact
from baicai.errors import ArtefactError
from baicai.serving.config import ServeRecipe
from baicai.serving.engine.client import EngineClient, EngineOptions
from baicai.serving.errors import ApiError
from baicai.serving.served_model import ServedModel, serve_as, unknown_model


class ModelRegistry:
    """The models of a server, each with an engine of its own.

    Engines map weights from their files, so that a trunk or a leaf that several have is in memory once: while one takes
    another's place, what is there twice is the process itself (0.3 GB) and the room for texts.
    """

    def __init__(self, config: ServeRecipe) -> None:
        self.models: list[ServedModel] = []
        """Those that can be asked."""
        self._config = config
        self._engines = set[EngineClient]()
        """All that run: of models that can be asked, that are being loaded, or that finish their last answers."""
        self._loading = set[str]()
        self._leaving = set[asyncio.Task[None]]()

    async def load(self, model: str, name: str = "", peel: Sequence[str] = (), join: Sequence[str] = ()) -> ServedModel:
        """Open a model and serve it; if another has its name, new requests go to this one from the moment it is ready.

        Raises: BaicaiError if it cannot be opened, or there is no room for it: what is served stays as it was.
        """
        _check_places(model, join)
        name = name or Path(model).resolve().name
        self._check_room(name)
        worker = EngineClient(self._options(model, peel, join))
        self._engines.add(worker)
        self._loading.add(name)
        try:
            await worker.start()
            served = await asyncio.to_thread(serve_as, name, worker, worker.info)
        except BaseException:  # the server may stop meanwhile
            await self._end(worker)
            raise
        finally:
            self._loading.remove(name)
        self._replace(name, served)
        return served

    def unload(self, name: str) -> None:
        """Serve a model no longer; answers that have begun are finished.

        Raises: ApiError if there is none of that name, or it is being loaded.
        """
        self._check_idle(name)
        if name not in self._names():
            raise unknown_model(self.models, name)
        self._replace(name)

    async def close(self) -> None:
        """Stop every engine; answers that are not over are."""
        for worker in list(self._engines):
            await self._end(worker)

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

    def _check_room(self, name: str) -> None:
        if not name or not name.isprintable() or ":" in name:
            told = f"{name!r} cannot name a model: give it a name of printable characters, without ':'."
            raise ApiError(told, param="name", code="invalid_value")
        self._check_idle(name)
        running, most = len(self._engines), self._config.max_models
        if running - (name in self._names()) >= most:
            told = f"There is room for {most} engines, and {running} start, answer or finish their last answers"
            told = f"{told}: unload a model, or start the server with max_models={most + 1}."
            raise ApiError(told, code="too_many_models", status=409)

    def _check_idle(self, name: str) -> None:
        if name in self._loading:
            raise ApiError(f"'{name}' is being loaded: try again when it is.", code="model_loading", status=409)

    def _replace(self, name: str, *served: ServedModel) -> None:
        """Put a model, or nothing, where there was one of that name, or nothing."""
        place = self._names().index(name) if name in self._names() else len(self.models)
        before, self.models[place : place + 1] = self.models[place : place + 1], served
        for one in before:
            task = asyncio.create_task(self._leave(one))
            self._leaving.add(task)
            task.add_done_callback(self._leaving.discard)

    async def _leave(self, served: ServedModel) -> None:
        while served.active_tasks:
            await asyncio.wait(served.active_tasks)
        assert isinstance(served.engine, EngineClient)
        await self._end(served.engine)

    async def _end(self, worker: EngineClient) -> None:
        await worker.close()
        self._engines.discard(worker)


def _check_places(model: str, join: Sequence[str]) -> None:
    """Refuse what is nowhere before an engine is started for it."""
    for param, reference in [("model", model), *((f"join[{number}]", one) for number, one in enumerate(join))]:
        try:
            find_artefact(reference)
        except ArtefactError as error:
            raise ApiError(str(error), param=param, code="artefact_not_found") from None
