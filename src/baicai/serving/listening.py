"""The web server: uvicorn, which cuts those who dawdle."""

import asyncio

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from baicai.serving.recipe import ServeRecipe

IDLE_SECONDS = 30
MAX_HEADER_BYTES = 2**15


class _Connection(H11Protocol):
    """One that is closed if its first request has not begun in time; uvicorn itself sees to the later ones."""

    patience_seconds: float = IDLE_SECONDS

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.loop.call_later(self.patience_seconds, self._cut)

    def _cut(self) -> None:
        if self.scope is None and not self.transport.is_closing():
            self.transport.close()


def make_server(app: ASGIApp, config: ServeRecipe) -> uvicorn.Server:
    """Return a server that has yet to be run."""
    connection = type("Connection", (_Connection,), {"patience_seconds": config.patience_seconds})
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
            timeout_keep_alive=IDLE_SECONDS,
            timeout_graceful_shutdown=2,
            h11_max_incomplete_event_size=MAX_HEADER_BYTES,
        )
    )
