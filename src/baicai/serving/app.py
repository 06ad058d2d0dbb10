"""The HTTP application: OpenAI's API, the dashboard's routes and the web page."""

from collections.abc import Sequence
from functools import cached_property
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Match

from baicai.errors import BaicaiError
from baicai.serving.auth import CLIENT, AuthMiddleware, open_key_ring
from baicai.serving.config import ServeRecipe
from baicai.serving.errors import ApiError, error_response, explain_validation_error, to_api_error
from baicai.serving.metrics import Metrics, MetricsMiddleware
from baicai.serving.openai.body import read_body
from baicai.serving.openai.chat import ChatWriter
from baicai.serving.openai.completions import CompletionWriter
from baicai.serving.openai.embeddings import collect_embeddings, stream_embeddings
from baicai.serving.openai.logprobs import token_text
from baicai.serving.openai.openapi import ERROR_RESPONSES, describe_api, page, response_docs, route_docs
from baicai.serving.openai.preprocessing import encode_request, prepare_chat, prepare_completion, prepare_embeddings
from baicai.serving.openai.requests import ChatRequest, CompletionRequest, EmbeddingRequest, TokenizeRequest
from baicai.serving.openai.response_models import (
    ChatCompletion,
    Completion,
    EmbeddingResponse,
    Model,
    ModelList,
    ResponseObject,
    TokenizeResponse,
)
from baicai.serving.openai.responses_request import ResponseRequest, prepare_response
from baicai.serving.openai.responses_stream import encode_events, final_response, response_events
from baicai.serving.openai.streaming import completion_response, event_response, json_response, stream_chunks
from baicai.serving.routes.dashboard import Catalog, add_dashboard_routes
from baicai.serving.routes.web_page import FILES, show_page
from baicai.serving.served_model import ServedModel, find_model

METHOD_NOT_ALLOWED = 405
NO_SCRIPTS = {"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'"}


def make_app(config: ServeRecipe, models: Sequence[ServedModel], catalog: Catalog | None = None) -> FastAPI:
    """Create the application.

    Args:
        config: recipe of the server.
        models: served models. The sequence is read on every request, so that it may change.
        catalog: releases to show on the page.

    Raises: ConfigError if the server is reachable from other machines without any API key.
    """
    app = FastAPI(
        title="Baicai",
        responses=ERROR_RESPONSES,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    routes = _Routes(config, models, app)
    app.add_api_route("/v1/models", routes.list_models, methods=["GET"], **response_docs(ModelList))
    app.add_api_route("/v1/models/{name:path}", routes.show_model, methods=["GET"], **response_docs(Model))
    app.add_api_route("/v1/chat/completions", routes.chat, methods=["POST"], **route_docs(ChatRequest, ChatCompletion))
    app.add_api_route("/v1/completions", routes.complete, methods=["POST"], **route_docs(CompletionRequest, Completion))
    app.add_api_route("/v1/responses", routes.respond, methods=["POST"], **route_docs(ResponseRequest, ResponseObject))
    app.add_api_route(
        "/v1/embeddings", routes.embed, methods=["POST"], **route_docs(EmbeddingRequest, EmbeddingResponse)
    )
    app.add_api_route("/tokenize", routes.tokenize, methods=["POST"], **route_docs(TokenizeRequest, TokenizeResponse))
    restarting = {"description": "An engine is restarting."}
    app.add_api_route("/health", routes.health, methods=["GET"], responses={503: restarting})
    app.add_api_route("/metrics", routes.metrics, methods=["GET"], response_class=PlainTextResponse)
    app.add_api_route("/openapi.json", routes.openapi, methods=["GET"])
    app.add_api_route("/docs", routes.docs, methods=["GET"], response_class=HTMLResponse)
    add_dashboard_routes(app, config, catalog)
    for path in FILES:
        app.add_api_route(path, show_page, methods=["GET"], include_in_schema=False)
    app.add_middleware(AuthMiddleware, config=config, ring=open_key_ring(config))
    app.add_middleware(MetricsMiddleware, metrics=routes.server_metrics)
    app.add_exception_handler(BaicaiError, _handle_error)
    app.add_exception_handler(HTTPException, _handle_http_error)
    app.add_exception_handler(RequestValidationError, _handle_validation_error)
    app.add_exception_handler(Exception, _handle_crash)
    return app


class _Routes:
    def __init__(self, config: ServeRecipe, models: Sequence[ServedModel], app: FastAPI) -> None:
        self._config, self._models, self._app, self.server_metrics = config, models, app, Metrics()

    async def list_models(self) -> dict[str, Any]:
        """List the models with their leaves, sizes and hashes."""
        return {"object": "list", "data": [served.entry(served.name) for served in self._models]}

    async def show_model(self, name: str) -> dict[str, Any]:
        """Show one model, by its name or a name that selects leaves: NAME:trunk, NAME:LEAF,LEAF."""
        served, alias = find_model(self._models, name)
        served.select_leaves(alias, None)
        return served.entry(name)

    async def chat(self, request: Request) -> Response:
        """Generate a chat completion."""
        return await self._generate(request, ChatRequest, prepare_chat, ChatWriter)

    async def complete(self, request: Request) -> Response:
        """Generate text completions."""
        return await self._generate(request, CompletionRequest, prepare_completion, CompletionWriter)

    async def _generate(self, request: Request, body_type: type[Any], prepare: Any, writer_type: Any) -> Response:
        body = await read_body(request, body_type, self._config)
        served, alias = find_model(self._models, body.model)
        prepared = await prepare(body, served, alias, self._config, _client(request))
        writers = [writer_type(prepared, body, index) for index in range(len(prepared.requests))]
        stream = self.server_metrics.track(served.name, stream_chunks(prepared, writers))
        return await completion_response(request, stream, writers, body)

    async def respond(self, request: Request) -> Response:
        """Generate a response to a conversation. Responses are not stored."""
        body = await read_body(request, ResponseRequest, self._config)
        served, alias = find_model(self._models, body.model)
        prepared = await prepare_response(body, served, alias, self._config, _client(request))
        stream = self.server_metrics.track(served.name, stream_chunks(prepared, [ChatWriter(prepared, body.chat)]))
        events = response_events(stream, body)
        if body.stream:
            return await event_response(request, encode_events(events), stream)
        return await json_response(request, final_response(events, stream))

    async def embed(self, request: Request) -> Response:
        """Embed texts: the mean of the hidden states after the final norm over a text's tokens, scaled to length 1."""
        body = await read_body(request, EmbeddingRequest, self._config)
        served, alias = find_model(self._models, body.model)
        prepared = await prepare_embeddings(body, served, alias, self._config, _client(request))
        stream = self.server_metrics.track(served.name, stream_embeddings(prepared, body))
        return await json_response(request, collect_embeddings(stream))

    async def tokenize(self, request: Request) -> dict[str, Any]:
        """Tokenize a text or a conversation as the model reads it. It must fit into the context."""
        body = await read_body(request, TokenizeRequest, self._config)
        served, _ = find_model(self._models, body.model)
        tokens = await encode_request(body, served)
        texts = [token_text(served, token) for token in tokens]
        return {"count": len(tokens), "max_model_len": served.max_tokens, "tokens": tokens, "token_strs": texts}

    async def health(self) -> Response:
        """Check the health of the server. Returns 503 with the affected models while an engine is restarting."""
        restarting = [served.name for served in self._models if not served.engine.ready]
        if restarting:
            return JSONResponse({"status": "starting", "models": restarting}, 503)
        return JSONResponse({"status": "ok"})

    async def metrics(self) -> Response:
        """Return the metrics of the server in Prometheus' text format."""
        engines = {served.name: served.engine.status for served in self._models}
        return Response(self.server_metrics.render(engines), media_type=CONTENT_TYPE_LATEST)

    async def openapi(self) -> Response:
        """Return the OpenAPI document."""
        return JSONResponse(self._document)

    async def docs(self) -> Response:
        """Show the API's documentation."""
        return HTMLResponse(page(self._document), headers=NO_SCRIPTS)

    @cached_property
    def _document(self) -> dict[str, Any]:
        """The OpenAPI document, built once because anyone may request it."""
        return describe_api(self._app)


def _client(request: Request) -> str:
    return str(request.scope["state"][CLIENT])


def _handle_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, BaicaiError)
    return error_response(to_api_error(error))


def _handle_http_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    message = f"{request.method} {request.url.path} does not exist on this server."
    response = error_response(ApiError(message, code="unknown_url", status=error.status_code))
    if error.status_code == METHOD_NOT_ALLOWED:
        routes = (route for route in request.app.routes if route.matches(request.scope)[0] is not Match.NONE)
        response.headers["Allow"] = ", ".join(sorted({method for route in routes for method in route.methods}))
    return response


def _handle_validation_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    return error_response(explain_validation_error(error))


def _handle_crash(request: Request, error: Exception) -> JSONResponse:
    message = "Internal error: please report it with the traceback from the server's terminal."
    return error_response(ApiError(message, code="internal_error", status=500))
