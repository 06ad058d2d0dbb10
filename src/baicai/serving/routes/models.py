"""Loading and unloading models while the server runs, for those who administer it."""

from typing import Annotated, Any

from fastapi import FastAPI
from pydantic import ConfigDict, Field
from starlette.requests import Request

from baicai.serving.config import ServeRecipe
from baicai.serving.openai.body import read_body
from baicai.serving.openai.openapi import response_docs, route_docs
from baicai.serving.openai.requests import Identifier, RequestModel
from baicai.serving.openai.response_models import DeletedModel, Model
from baicai.serving.openai.streaming import cancel_on_disconnect
from baicai.serving.registry import ModelRegistry

MAX_PATH, MAX_LEAVES = 4096, 256

Place = Annotated[str, Field(min_length=1, max_length=MAX_PATH)]
"""Path, as the server sees it, or hash of an artefact."""


class LoadRequest(RequestModel):
    """A model to be served; under a name that is taken it takes that one's place."""

    model_config = ConfigDict(extra="forbid")

    model: Place
    """A model, its lock file or a trunk."""
    name: Identifier = ""
    """Default: its folder's name."""
    peel: list[Identifier] = Field(default=[], max_length=MAX_LEAVES)
    """Leaves, by name or hash, without which it is served."""
    join: list[Place] = Field(default=[], max_length=MAX_LEAVES)
    """Leaves that are joined to it."""


def add_loading(app: FastAPI, config: ServeRecipe, shelf: ModelRegistry) -> None:
    """Add the routes to a server of the models on a shelf."""
    routes = _Routes(config, shelf)
    app.add_api_route("/v1/models", routes.load, methods=["POST"], **route_docs(LoadRequest, Model))
    app.add_api_route("/v1/models/{name:path}", routes.unload, methods=["DELETE"], **response_docs(DeletedModel))


class _Routes:
    def __init__(self, config: ServeRecipe, shelf: ModelRegistry) -> None:
        self._config, self._shelf = config, shelf

    async def load(self, request: Request) -> dict[str, Any]:
        """Load a model, with other leaves if so asked; answers that run under its name are finished as they began.

        A leaf is checked as by `baicai join`, but for its harm to public text. Who hangs up meanwhile gives it up.
        """
        body = await read_body(request, LoadRequest, self._config)
        served = await cancel_on_disconnect(request, self._shelf.load(body.model, body.name, body.peel, body.join))
        return served.entry(served.name)

    async def unload(self, name: str) -> dict[str, Any]:
        """Unload a model; answers that run are finished."""
        self._shelf.unload(name)
        return {"id": name, "object": "model", "deleted": True}
