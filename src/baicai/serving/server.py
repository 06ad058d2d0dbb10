"""`baicai serve`: the HTTP server, with limits on slow clients, in front of the engines."""

import asyncio
import contextlib
import ipaddress
import socket
from collections.abc import Callable

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from baicai.errors import ConfigError
from baicai.serving.app import make_app
from baicai.serving.config import ServeRecipe
from baicai.serving.registry import ModelRegistry
from baicai.serving.routes.dashboard import Catalog
from baicai.serving.routes.models import add_model_routes

BACKLOG = 2048
MAX_HEADER_BYTES = 2**15
SHUTDOWN_SECONDS = 2


class _Connection(H11Protocol):
    """A connection that is closed if a request or the client's reading stalls, or if there are too many connections."""

    timeout_seconds: float
    max_connections: int

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > self.max_connections:
            transport.abort()
        self._write_timeout = self.loop.call_later(0, lambda: None)
        # asyncio sets this only on sockets whose protocol number is TCP's. Without it, each chunk of a stream waits
        # until the previous one is acknowledged.
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._expect_request_after(None)

    def on_response_complete(self) -> None:
        self._expect_request_after(self.scope)
        super().on_response_complete()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._write_timeout = self.loop.call_later(self.timeout_seconds, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._write_timeout.cancel()

    def connection_lost(self, exc: Exception | None) -> None:
        self._write_timeout.cancel()
        super().connection_lost(exc)

    def _expect_request_after(self, previous: object) -> None:
        """Close the connection unless the next request's headers are complete in time, however slowly they arrive."""
        self.loop.call_later(self.timeout_seconds, lambda: self.transport.abort() if self.scope is previous else None)


def _max_file_descriptors() -> int:
    try:
        import resource
    except ImportError:  # Windows does not have it, and limits select() to 512 sockets.
        return 512
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def make_server(app: ASGIApp, config: ServeRecipe) -> uvicorn.Server:
    """Configure a server; the caller runs it."""
    max_connections = _max_file_descriptors() // 2  # The rest is for engines, files, and connections being rejected.
    limits = {"timeout_seconds": config.timeout_seconds, "max_connections": max_connections}
    return uvicorn.Server(
        uvicorn.Config(
            app,
            host=config.host,
            port=config.port,
            http=type("Connection", (_Connection,), limits),
            ws="none",
            log_level="warning",
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=int(config.timeout_seconds),
            backlog=min(BACKLOG, max_connections // 4),  # All of these are accepted before any is counted.
            timeout_graceful_shutdown=SHUTDOWN_SECONDS,
            h11_max_incomplete_event_size=MAX_HEADER_BYTES,
        )
    )


async def serve(config: ServeRecipe, on_ready: Callable[[str, str], None], catalog: Catalog | None = None) -> None:
    """Serve until stopped.

    Args:
        config: recipe of the server.
        on_ready: called with the server's URL and the model's name once requests are accepted.
        catalog: releases to show on the page.

    Raises: BaicaiError if the model cannot be opened, the port is in use, or the server is reachable from other
        machines without any API key.
    """
    registry = ModelRegistry(config)
    app = make_app(config, registry.models, catalog)  # Configuration errors surface here, before an engine starts.
    add_model_routes(app, config, registry)
    with _listen(config) as listener:
        try:
            served = await registry.load(config.model, config.name)
            on_ready(_url(config.host, listener), served.name)
            await make_server(app, config).serve(sockets=[listener])
        finally:
            await registry.close()


def _listen(config: ServeRecipe) -> socket.socket:
    family = socket.AF_INET6 if ":" in config.host else socket.AF_INET
    try:
        return socket.create_server((config.host, config.port), family=family, backlog=BACKLOG)
    except OSError as error:
        reason = str(error.strerror).partition(" (")[0]  # Python appends the address in its own words.
        message = f"serve: cannot listen on {config.host}:{config.port} ({reason}): choose another host or port"
        raise ConfigError(message) from None


def _url(host: str, listener: socket.socket) -> str:
    with contextlib.suppress(ValueError):
        if ipaddress.ip_address(host).is_unspecified:
            host = "localhost"
    return f"http://{f'[{host}]' if ':' in host else host}:{listener.getsockname()[1]}"
