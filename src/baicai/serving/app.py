"""OpenAI's API over HTTP."""

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
from baicai.serving.auth import CLIENT, AuthMiddleware, open_ring
from baicai.serving.config import ServeRecipe
from baicai.serving.errors import ApiError, error_response, explain_validation_error, to_api_error
from baicai.serving.metrics import Metrics, MetricsMiddleware
from baicai.serving.openai.body import read_body
from baicai.serving.openai.chat import ChatForm
from baicai.serving.openai.completions import CompletionForm
from baicai.serving.openai.embeddings import embeddings, listed
from baicai.serving.openai.logprobs import spell
from baicai.serving.openai.openapi import REFUSALS, describe_api, gives, page, takes
from baicai.serving.openai.preprocessing import plan_chat, plan_completion, plan_embeddings, plan_tokens
from baicai.serving.openai.requests import ChatRequest, CompletionRequest, EmbeddingRequest, TokenizeRequest
from baicai.serving.openai.response_models import (
    ChatAnswers,
    CompletionAnswers,
    EmbeddingAnswer,
    Model,
    ModelList,
    ResponseAnswer,
    Tokens,
)
from baicai.serving.openai.responses_request import ResponseRequest, plan_response
from baicai.serving.openai.responses_stream import last, response_events, written
from baicai.serving.openai.streaming import chunks, respond, streamed, whole
from baicai.serving.routes.dashboard import Catalog, add_overview
from baicai.serving.routes.web_page import FILES, show_page
from baicai.serving.served_model import ServedModel, find_model

METHOD_NOT_ALLOWED = 405
NO_SCRIPTS = {"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'"}


def make_app(config: ServeRecipe, models: Sequence[ServedModel], catalog: Catalog | None = None) -> FastAPI:
    """Return the server of some models; the sequence is looked at anew with each request.

    Raises: ConfigError if others can reach the server and nobody has a key.
    """
    app = FastAPI(
        title="Baicai", responses=REFUSALS, openapi_url=None, docs_url=None, redoc_url=None, redirect_slashes=False
    )
    routes = _Routes(config, models, app)
    app.add_api_route("/v1/models", routes.list_models, methods=["GET"], **gives(ModelList))
    app.add_api_route("/v1/models/{name:path}", routes.show_model, methods=["GET"], **gives(Model))
    app.add_api_route("/v1/chat/completions", routes.chat, methods=["POST"], **takes(ChatRequest, ChatAnswers))
    app.add_api_route(
        "/v1/completions", routes.complete, methods=["POST"], **takes(CompletionRequest, CompletionAnswers)
    )
    app.add_api_route("/v1/responses", routes.respond, methods=["POST"], **takes(ResponseRequest, ResponseAnswer))
    app.add_api_route("/v1/embeddings", routes.embed, methods=["POST"], **takes(EmbeddingRequest, EmbeddingAnswer))
    app.add_api_route("/tokenize", routes.tokenize, methods=["POST"], **takes(TokenizeRequest, Tokens))
    starting = {"description": "An engine is being started again."}
    app.add_api_route("/health", routes.health, methods=["GET"], responses={503: starting})
    app.add_api_route("/metrics", routes.metrics, methods=["GET"], response_class=PlainTextResponse)
    app.add_api_route("/openapi.json", routes.openapi, methods=["GET"])
    app.add_api_route("/docs", routes.docs, methods=["GET"], response_class=HTMLResponse)
    add_overview(app, config, catalog)
    for path in FILES:
        app.add_api_route(path, show_page, methods=["GET"], include_in_schema=False)
    app.add_middleware(AuthMiddleware, config=config, ring=open_ring(config))
    app.add_middleware(MetricsMiddleware, metrics=routes.server_metrics)
    app.add_exception_handler(BaicaiError, _refuse)
    app.add_exception_handler(HTTPException, _refuse_route)
    app.add_exception_handler(RequestValidationError, _refuse_query)
    app.add_exception_handler(Exception, _fail)
    return app


class _Routes:
    def __init__(self, config: ServeRecipe, models: Sequence[ServedModel], app: FastAPI) -> None:
        self._config, self._models, self._app, self.server_metrics = config, models, app, Metrics()

    async def list_models(self) -> dict[str, Any]:
        """Tell which models there are, with their leaves, sizes and hashes."""
        return {"object": "list", "data": [served.entry(served.name) for served in self._models]}

    async def show_model(self, name: str) -> dict[str, Any]:
        """Tell of one model, under its name or one that chooses leaves: NAME:trunk, NAME:LEAF,LEAF."""
        served, alias = find_model(self._models, name)
        served.select_leaves(alias, None)
        return served.entry(name)

    async def chat(self, request: Request) -> Response:
        """Answer a conversation."""
        return await self._answer(request, ChatRequest, plan_chat, ChatForm)

    async def complete(self, request: Request) -> Response:
        """Continue texts."""
        return await self._answer(request, CompletionRequest, plan_completion, CompletionForm)

    async def _answer(self, request: Request, kind: type[Any], plan_of: Any, form: Any) -> Response:
        body = await read_body(request, kind, self._config)
        served, alias = find_model(self._models, body.model)
        plan = await plan_of(body, served, alias, self._config, _client(request))
        forms = [form(plan, body) for _ in plan.asks]
        told = self.server_metrics.track(served.name, chunks(plan, forms))
        return await respond(request, told, forms[0], body)

    async def respond(self, request: Request) -> Response:
        """Answer a conversation, as a response; none is kept."""
        body = await read_body(request, ResponseRequest, self._config)
        served, alias = find_model(self._models, body.model)
        plan = await plan_response(body, served, alias, self._config, _client(request))
        told = self.server_metrics.track(served.name, chunks(plan, [ChatForm(plan, body.chat)]))
        events = response_events(told, body)
        return await (streamed(request, written(events), told) if body.stream else whole(request, last(events, told)))

    async def embed(self, request: Request) -> Response:
        """Embed texts: the mean over a text's tokens of the last hidden state after the final norm, at length 1."""
        body = await read_body(request, EmbeddingRequest, self._config)
        served, alias = find_model(self._models, body.model)
        plan = await plan_embeddings(body, served, alias, self._config, _client(request))
        return await whole(request, listed(self.server_metrics.track(served.name, embeddings(plan, body))))

    async def tokenize(self, request: Request) -> dict[str, Any]:
        """Tell the tokens of a text or of a conversation, as a model would read them; it must fit into the context."""
        body = await read_body(request, TokenizeRequest, self._config)
        served, _ = find_model(self._models, body.model)
        tokens = await plan_tokens(body, served)
        spelt = [spell(served, token) for token in tokens]
        return {"count": len(tokens), "max_model_len": served.max_tokens, "tokens": tokens, "token_strs": spelt}

    async def health(self) -> Response:
        """Say whether every model is answered for: 503, and which are not, while an engine is started again."""
        starting = [served.name for served in self._models if not served.engine.ready]
        if starting:
            return JSONResponse({"status": "starting", "models": starting}, 503)
        return JSONResponse({"status": "ok"})

    async def metrics(self) -> Response:
        """Tell what the server does, for Prometheus."""
        engines = {served.name: served.engine.status for served in self._models}
        return Response(self.server_metrics.render(engines), media_type=CONTENT_TYPE_LATEST)

    async def openapi(self) -> Response:
        """Describe the API for programs."""
        return JSONResponse(self._document)

    async def docs(self) -> Response:
        """Describe the API for people."""
        return HTMLResponse(page(self._document), headers=NO_SCRIPTS)

    @cached_property
    def _document(self) -> dict[str, Any]:
        """Made once: anyone may ask for it."""
        return describe_api(self._app)


def _client(request: Request) -> str:
    return str(request.scope["state"][CLIENT])


def _refuse(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, BaicaiError)
    return error_response(to_api_error(error))


def _refuse_route(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    told = f"{request.method} {request.url.path} is not served here."
    response = error_response(ApiError(told, code="unknown_url", status=error.status_code))
    if error.status_code == METHOD_NOT_ALLOWED:
        routes = (one for one in request.app.routes if one.matches(request.scope)[0] is not Match.NONE)
        response.headers["Allow"] = ", ".join(sorted({method for one in routes for method in one.methods}))
    return response


def _refuse_query(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    return error_response(explain_validation_error(error))


def _fail(request: Request, error: Exception) -> JSONResponse:
    told = "The server failed at this request: what it says where it runs is worth a report."
    return error_response(ApiError(told, code="internal_error", status=500))
