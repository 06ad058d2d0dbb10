"""Prometheus metrics of the server, named after vLLM's where both measure the same thing."""

import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any, TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

Chunk = TypeVar("Chunk", bound=Mapping[str, Any])
BUCKETS_SECONDS = (0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 300)


class Metrics:
    """The metrics of one server. The client library adds `_total` to the names of counters."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._http_requests = Counter(
            "baicai_http_requests", "HTTP requests by route and status.", ["route", "status"], registry=self._registry
        )
        self._in_progress = Gauge(
            "baicai_http_requests_in_progress",
            "Generation and embedding requests running.",
            registry=self._registry,
        )
        self._num_requests = Gauge(
            "baicai_num_requests", "Sequences in each engine, by state.", ["model", "state"], registry=self._registry
        )
        self._prompt_tokens = self._token_counter("baicai_prompt_tokens", "Prompt tokens, cached ones included.")
        self._cached_tokens = self._token_counter("baicai_cached_prompt_tokens", "Prompt tokens found in the KV cache.")
        self._generation_tokens = self._token_counter("baicai_generation_tokens", "Generated tokens.")
        self._time_to_first_token = self._histogram(
            "baicai_time_to_first_token_seconds", "Time from the request to the first chunk of its output."
        )
        self._e2e_latency = self._histogram(
            "baicai_e2e_request_latency_seconds", "Time from the request to the end of its output."
        )

    def render(self, engines: Mapping[str, Mapping[str, int]]) -> bytes:
        """Render all metrics in Prometheus' text format.

        Args:
            engines: for each model, the number of sequences in each state (`running`, `waiting`).
        """
        self._num_requests.clear()
        for model, counts in engines.items():
            for state, count in counts.items():
                self._num_requests.labels(model, state).set(count)
        return generate_latest(self._registry)

    def count_request(self, route: str, status: int) -> None:
        """Count an HTTP request whose response has started."""
        self._http_requests.labels(route, str(status)).inc()

    async def track(self, model: str, chunks: AsyncGenerator[Chunk, None]) -> AsyncGenerator[Chunk, None]:
        """Pass on the chunks of a request's output, measuring its latency and the tokens in its usage."""
        start, first = time.monotonic(), True
        with self._in_progress.track_inprogress():
            async with aclosing(chunks):
                async for chunk in chunks:
                    if first:
                        self._time_to_first_token.observe(time.monotonic() - start)
                    first = False
                    if "usage" in chunk:
                        self._count_tokens(model, chunk["usage"])
                    yield chunk
        self._e2e_latency.observe(time.monotonic() - start)

    def _count_tokens(self, model: str, usage: Any) -> None:
        prompt_tokens = usage["prompt_tokens"]
        self._prompt_tokens.labels(model).inc(prompt_tokens)
        self._cached_tokens.labels(model).inc(usage.get("prompt_tokens_details", {}).get("cached_tokens", 0))
        self._generation_tokens.labels(model).inc(usage["total_tokens"] - prompt_tokens)

    def _token_counter(self, name: str, documentation: str) -> Counter:
        return Counter(name, documentation, ["model"], registry=self._registry)

    def _histogram(self, name: str, documentation: str) -> Histogram:
        return Histogram(name, documentation, buckets=BUCKETS_SECONDS, registry=self._registry)


class MetricsMiddleware:
    """Counts each request under its route and the status of its response."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Forward a request to the application, counting it when its response starts."""

        async def send_and_count(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._metrics.count_request(getattr(scope.get("route"), "path", "none"), message["status"])
            await send(message)

        await self._app(scope, receive, send_and_count)
