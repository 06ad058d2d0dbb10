"""`baicai serve`: an engine in a process of its own, and the web server before it, which cuts those who dawdle."""

import asyncio
import contextlib
import ipaddress
import resource
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
from baicai.serving.routes.models import add_loading

BACKLOG = 2048
MAX_HEADER_BYTES = 2**15
SHUTDOWN_SECONDS = 2


class _Connection(H11Protocol):
    """Closed if a request does not begin in time, what is sent is not taken, or there are too many."""

    timeout_seconds: float
    most: int
    """Connections at once."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > self.most:
            transport.abort()
        self._stalled = self.loop.call_later(0, lambda: None)
        # asyncio does so only where a socket says it is TCP; without it each piece of a stream waits for the last one
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._expect(None)

    def on_response_complete(self) -> None:
        self._expect(self.scope)
        super().on_response_complete()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._stalled = self.loop.call_later(self.timeout_seconds, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._stalled.cancel()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stalled.cancel()
        super().connection_lost(exc)

    def _expect(self, before: object) -> None:
        """Wait for a request after the one that was before; a head that drips in does not prolong that."""
        self.loop.call_later(self.timeout_seconds, lambda: self.transport.abort() if self.scope is before else None)


def make_server(app: ASGIApp, config: ServeRecipe) -> uvicorn.Server:
    """Return a server that has yet to be run."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2  # the rest is for engines, files, and whoever is refused
    connection = type("Connection", (_Connection,), {"timeout_seconds": config.timeout_seconds, "most": most})
    return uvicorn.Server(
        uvicorn.Config(
            app,
            host=config.host,
            port=config.port,
            http=connection,
            ws="none",
            log_level="warning",
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=int(config.timeout_seconds),
            backlog=min(BACKLOG, most // 4),  # so many are accepted before any is looked at
            timeout_graceful_shutdown=SHUTDOWN_SECONDS,
            h11_max_incomplete_event_size=MAX_HEADER_BYTES,
        )
    )


async def serve(config: ServeRecipe, ready: Callable[[str, str], None], catalog: Catalog | None = None) -> None:
    """Serve until it is stopped; `ready` is told the address and the model's name.

    Raises: BaicaiError if the model cannot be opened, the port is taken, or others can reach it and nobody has a key.
    """
    shelf = ModelRegistry(config)
    app = make_app(config, shelf.models, catalog)  # what is wrong shows before an engine starts
    add_loading(app, config, shelf)
    with _listen(config) as listener:
        try:
            served = await shelf.load(config.model, config.name)
            ready(_address(config.host, listener), served.name)
            await make_server(app, config).serve(sockets=[listener])
        finally:
            await shelf.close()


def _listen(config: ServeRecipe) -> socket.socket:
    family = socket.AF_INET6 if ":" in config.host else socket.AF_INET
    try:
        return socket.create_server((config.host, config.port), family=family, backlog=BACKLOG)
    except OSError as error:
        reason = str(error.strerror).partition(" (")[0]  # Python's own words follow
        told = f"serve: {config.host}:{config.port} cannot be used ({reason}): choose another host or port"
        raise ConfigError(told) from None


def _address(host: str, listener: socket.socket) -> str:
    with contextlib.suppress(ValueError):
        if ipaddress.ip_address(host).is_unspecified:
            host = "localhost"
    return f"http://{f'[{host}]' if ':' in host else host}:{listener.getsockname()[1]}"
