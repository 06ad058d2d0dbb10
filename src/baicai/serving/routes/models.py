"""Routes that load and unload models while the server runs."""

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

MAX_REFERENCE_CHARACTERS, MAX_LEAVES = 4096, 256

ArtefactReference = Annotated[str, Field(min_length=1, max_length=MAX_REFERENCE_CHARACTERS)]
"""Path on the server, or hash, of an artefact."""


class LoadRequest(RequestModel):
    """A model to serve. If its name is in use, it replaces that model."""

    model_config = ConfigDict(extra="forbid")

    model: ArtefactReference
    """A model, its lock file or a trunk."""
    name: Identifier = ""
    """Name in requests; default: the name of its folder."""
    peel: list[Identifier] = Field(default=[], max_length=MAX_LEAVES)
    """Names or hashes of leaves to remove from the model."""
    join: list[ArtefactReference] = Field(default=[], max_length=MAX_LEAVES)
    """Leaves to join to the model."""


def add_model_routes(app: FastAPI, config: ServeRecipe, registry: ModelRegistry) -> None:
    """Add the routes that change a registry's models."""
    routes = _Routes(config, registry)
    app.add_api_route("/v1/models", routes.load, methods=["POST"], **route_docs(LoadRequest, Model))
    app.add_api_route("/v1/models/{name:path}", routes.unload, methods=["DELETE"], **response_docs(DeletedModel))


class _Routes:
    def __init__(self, config: ServeRecipe, registry: ModelRegistry) -> None:
        self._config, self._registry = config, registry

    async def load(self, request: Request) -> dict[str, Any]:
        """Load a model, optionally with other leaves; requests in progress under its name are completed.

        A leaf is checked as by `baicai join`, except for its harm to public text. Disconnecting cancels the load.
        """
        body = await read_body(request, LoadRequest, self._config)
        served = await cancel_on_disconnect(request, self._registry.load(body.model, body.name, body.peel, body.join))
        return served.entry(served.name)

    async def unload(self, name: str) -> dict[str, Any]:
        """Unload a model; requests in progress are completed."""
        self._registry.unload(name)
        return {"id": name, "object": "model", "deleted": True}
