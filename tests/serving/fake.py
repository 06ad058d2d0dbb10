"""The page's files and an API that says what a script tells it to, on loopback, in a thread of its own."""

import asyncio
import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from baicai.serving.routes.web_page import FOLDER, HEADERS
from tests.serving import shown

LEAVES = ("law", "medicine", "poetry")
LEXICON = {"law": r"[Cc]ourt|contract|claim|period|法", "medicine": r"dose|doctor|药", "poetry": r"moon|river|月"}
"""What a word needs to say for a leaf to have given it."""


@dataclass
class Script:
    """Responses of the fake API, and the requests that it received."""

    answer: Callable[[Mapping[str, Any]], str] = lambda body: "The court heard the claim."
    token_seconds: float = 0.0
    break_after: int | None = None
    """Number of tokens after which the connection breaks."""
    refuse: list[tuple[int, str]] = field(default_factory=list)
    """Status and message of the next error responses."""
    key: str | None = None
    scope: str = "admin"
    """Scope of the key."""
    unloaded: bool = False
    """Whether the last model was unloaded."""
    asked: list[dict[str, Any]] = field(default_factory=list)
    runs: dict[str, dict[str, Any]] = field(default_factory=shown.runs)
    """Details of each run by name."""
    releases: list[dict[str, Any]] | None = field(default_factory=shown.releases)
    """Releases in the catalog; None: the server has no catalog."""
    looked: list[str] = field(default_factory=list)
    """Paths and queries of requests for runs and for the catalog."""

    def app(self) -> web.Application:
        app = web.Application(client_max_size=1 << 26)
        app.router.add_get("/", self._file)
        app.router.add_get("/{name:page.js|page.css}", self._file)
        app.router.add_get("/v1/models", self._models)
        app.router.add_get("/v1/{kind:runs|catalog}", self._list)
        app.router.add_get("/v1/{kind:runs|catalog}/{name:.+}", self._show)
        app.router.add_post("/v1/chat/completions", self._chat)
        return app

    async def _file(self, request: web.Request) -> web.StreamResponse:
        name = request.match_info.get("name", "index.html")
        return web.FileResponse(FOLDER / name, headers=HEADERS)

    async def _models(self, request: web.Request) -> web.StreamResponse:
        if refusal := self._refusal(request):
            return refusal
        leaves = [
            {"name": name, "hash": f"{place}e7c2" * 12, "parameters": 2_260_000, "resident": place != 2}
            | {
                "signed": place == 0,
                "data": [shown.training_data(name)],
                "bits_per_byte": {name: {"trunk": 2.7, "leaf": 1.9}},
            }
            for place, name in enumerate(LEAVES)
        ]
        sizes = {"total_parameters": 15_900_000, "active_parameters": 2_350_000, "flops_per_token": 4_700_000}
        common = {"hash": "5d41402abc4b2a76" * 4, "trunk": "3f2a91bc03d7a210" * 4, "topk_group": 2, "max_tokens": 1024}
        common["data"] = [shown.training_data("public")]
        kinds = {
            "walk": {"kind": "model", "leaves": leaves, **sizes},
            "trunk": {"kind": "trunk", "leaves": [], **sizes, "total_parameters": 2_350_000},
        }
        listed = [{"id": name, "object": "model", "baicai": common | about} for name, about in kinds.items()]
        return web.json_response({"object": "list", "data": [] if self.unloaded else listed})

    async def _list(self, request: web.Request) -> web.StreamResponse:
        self.looked.append(request.path_qs)
        if refusal := self._refusal(request):
            return refusal
        if request.match_info["kind"] == "runs":
            return web.json_response({"object": "list", "data": [shown.run_summary(run) for run in self.runs.values()]})
        domain = request.query["slice"].removeprefix("domain=")
        if "?" in domain:
            return web.json_response({"error": {"message": f"slice: '{domain}' is not a condition"}}, status=400)
        releases = [release for release in self.releases or () if not domain or domain in release["domain"]]
        where = None if self.releases is None else "sqlite:///catalog.sqlite"
        return web.json_response({"object": "list", "catalog": where, "data": releases})

    async def _show(self, request: web.Request) -> web.StreamResponse:
        self.looked.append(request.path_qs)
        name = request.match_info["name"]
        if request.match_info["kind"] == "catalog":
            return web.json_response({"object": "release", "hash": name, "holdings": shown.holdings()})
        if name not in self.runs:
            return web.json_response({"error": {"message": f"Run '{name}' was not found."}}, status=404)
        return web.json_response(shown.run_after(self.runs[name], int(request.query["after"])))

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        if refusal := self._refusal(request):
            return refusal
        body = await request.json()
        self.asked.append(body)
        if self.refuse:
            status, message = self.refuse.pop(0)
            return web.json_response({"error": {"message": message, "type": "error"}}, status=status)
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        with suppress(ConnectionResetError):  # The page stopped it.
            await self._stream(request, response, body)
        return response

    async def _stream(self, request: web.Request, response: web.StreamResponse, body: Mapping[str, Any]) -> None:
        tokens = re.findall(r"\s*\w+|\s*[^\w\s]|\s+", self.answer(body))
        for index, token in enumerate(tokens):
            if index == self.break_after:
                await asyncio.sleep(0.5)  # Let sent data arrive; aborting drops data in flight.
                assert request.transport
                await asyncio.sleep(0.2)  # Let the browser read it; it discards unread data when the connection breaks.
                request.transport.abort()
                return
            await _send(response, {"choices": [_choice(token, _on(body))]})
            await asyncio.sleep(self.token_seconds)
        await _send(response, {"choices": [{"delta": {}, "finish_reason": "stop"}]})
        await _send(response, {"choices": [], "usage": _usage(len(tokens))})
        await response.write(b"data: [DONE]\n\n")

    def _refusal(self, request: web.Request) -> web.Response | None:
        if self.key is None or request.headers.get("Authorization") == f"Bearer {self.key}":
            admins = request.path.startswith(("/v1/runs", "/v1/catalog"))
            return (
                web.json_response({"error": {"message": "no"}}, status=403)
                if admins and self.scope != "admin"
                else None
            )
        return web.json_response({"error": {"message": "no key", "type": "authentication_error"}}, status=401)


def _on(body: Mapping[str, Any]) -> Sequence[str]:
    choice = body.get("leaves", {})
    return [name for name in choice.get("only", LEAVES) if name not in choice.get("off", ())]


def _choice(token: str, on: Sequence[str]) -> dict[str, Any]:
    weights = {name: 0.62 if re.search(LEXICON[name], token) else 0.04 for name in on}
    others = [(token, 0.71), (" verdict", 0.18), (" judge", 0.06)]
    chances = [{"token": text, "logprob": math.log(chance)} for text, chance in others]
    return {
        "delta": {"content": token},
        "finish_reason": None,
        "routing": [{"token": token, "leaves": weights}],
        "logprobs": {"content": [{**chances[0], "top_logprobs": chances}]},
    }


def _usage(count: int) -> dict[str, Any]:
    costs = {"active_parameters": 2_350_000, "total_parameters": 15_900_000, "flops": 47, "dense_flops": 318}
    totals = {"prompt_tokens": 12, "completion_tokens": count, "total_tokens": 12 + count}
    return totals | {"baicai": costs | {"leaves": {"law": 0.3}}}


async def _send(response: web.StreamResponse, data: Mapping[str, Any]) -> None:
    await response.write(f"data: {json.dumps(data)}\n\n".encode())
