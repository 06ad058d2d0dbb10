"""OpenAI's API over HTTP."""

from collections.abc import Sequence
from typing import Any

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from baicai.errors import BaicaiError
from baicai.serving.bodies import read_body
from baicai.serving.chat import ChatForm
from baicai.serving.completions import CompletionForm
from baicai.serving.planning import plan_chat, plan_completion
from baicai.serving.recipe import ServeRecipe
from baicai.serving.refusals import ApiError, error_response, refusal
from baicai.serving.replies import respond
from baicai.serving.schemas import ChatRequest, CompletionRequest
from baicai.serving.served import Served, find_model


def make_app(config: ServeRecipe, models: Sequence[Served]) -> FastAPI:
    """Return the server of some models; the sequence is looked at anew with each request."""
    app = FastAPI(title="Baicai", docs_url=None, redoc_url=None, redirect_slashes=False)
    routes = _Routes(config, models)
    app.add_api_route("/v1/models", routes.list_models, methods=["GET"])
    app.add_api_route("/v1/models/{name:path}", routes.show_model, methods=["GET"])
    app.add_api_route("/v1/chat/completions", routes.chat, methods=["POST"])
    app.add_api_route("/v1/completions", routes.complete, methods=["POST"])
    app.add_exception_handler(BaicaiError, _refuse)
    app.add_exception_handler(HTTPException, _refuse_route)
    return app


class _Routes:
    def __init__(self, config: ServeRecipe, models: Sequence[Served]) -> None:
        self._config, self._models = config, models

    async def list_models(self) -> dict[str, Any]:
        """Tell which models there are, with their leaves, sizes and hashes."""
        return {"object": "list", "data": [served.about(served.name) for served in self._models]}

    async def show_model(self, name: str) -> dict[str, Any]:
        """Tell of one model, under its name or one that chooses leaves."""
        served, alias = find_model(self._models, name)
        served.on(alias, None)
        return served.about(name)

    async def chat(self, request: Request) -> Response:
        """Answer a conversation."""
        body = await read_body(request, ChatRequest, self._config)
        served, alias = find_model(self._models, body.model)
        plan = await plan_chat(body, served, alias, self._config, _client(request))
        form, options = ChatForm(plan, body), body.stream_options
        return await respond(request, plan, form, stream=body.stream, include_usage=options.include_usage)

    async def complete(self, request: Request) -> Response:
        """Continue texts."""
        body = await read_body(request, CompletionRequest, self._config)
        served, alias = find_model(self._models, body.model)
        plan = await plan_completion(body, served, alias, self._config, _client(request))
        form, options = CompletionForm(plan, body), body.stream_options
        return await respond(request, plan, form, stream=body.stream, include_usage=options.include_usage)


def _client(request: Request) -> str:
    return request.client.host if request.client else ""


def _refuse(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, BaicaiError)
    return error_response(refusal(error))


def _refuse_route(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    told = f"{request.method} {request.url.path} is not served here."
    return error_response(ApiError(told, code="unknown_url", status=error.status_code))
