"""What a server does, in numbers, as Prometheus reads them."""

import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

SECONDS = (0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 300)


class Metrics:
    """Counts of one server."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        of_requests, of_tokens = ["route", "status"], ["model", "kind"]
        self._requests = Counter("baicai_requests", "Requests answered.", of_requests, registry=self._registry)
        self._tokens = Counter(
            "baicai_tokens",
            "Tokens of prompts, those of them read before, and of answers.",
            of_tokens,
            registry=self._registry,
        )
        self._running = Gauge("baicai_requests_running", "Requests that are being answered.", registry=self._registry)
        self._texts = Gauge(
            "baicai_texts", "Texts in each engine, running or waiting.", ["model", "state"], registry=self._registry
        )
        self._first = Histogram(
            "baicai_first_seconds", "Until the first piece of an answer.", buckets=SECONDS, registry=self._registry
        )
        self._whole = Histogram(
            "baicai_answer_seconds", "Until the last one.", buckets=SECONDS, registry=self._registry
        )

    def text(self, engines: Mapping[str, Mapping[str, int]]) -> bytes:
        """Return them all, and how many texts each model's engine has."""
        self._texts.clear()
        for model, texts in engines.items():
            for state, count in texts.items():
                self._texts.labels(model, state).set(count)
        return generate_latest(self._registry)

    def count(self, route: str, status: int) -> None:
        """Note a request that has been answered."""
        self._requests.labels(route, str(status)).inc()

    async def watched(
        self, model: str, chunks: AsyncGenerator[dict[str, Any], None]
    ) -> AsyncGenerator[dict[str, Any], None]:
        """Yield what is told of answers, and note how long it took and what it used."""
        began, first = time.monotonic(), True
        with self._running.track_inprogress():
            async with aclosing(chunks):
                async for chunk in chunks:
                    if first:
                        self._first.observe(time.monotonic() - began)
                    first = False
                    if "usage" in chunk:
                        self._note(model, chunk["usage"])
                    yield chunk
        self._whole.observe(time.monotonic() - began)

    def _note(self, model: str, usage: dict[str, Any]) -> None:
        prompt, details = usage["prompt_tokens"], usage.get("prompt_tokens_details", {})
        counts = {
            "prompt": prompt,
            "cached": details.get("cached_tokens", 0),
            "answer": usage["total_tokens"] - prompt,
        }
        for kind, count in counts.items():
            self._tokens.labels(model, kind).inc(count)


class MetricsMiddleware:
    """Notes each request of a server: its route, and the status that it got."""

    def __init__(self, app: ASGIApp, figures: Metrics) -> None:
        self._app, self._figures = app, figures

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""

        async def note(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._figures.count(getattr(scope.get("route"), "path", "none"), message["status"])
            await send(message)

        await self._app(scope, receive, note)
