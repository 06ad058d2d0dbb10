"""Who may come in: nothing is served but to those who may have it, whatever routes there are."""

import re

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from baicai.errors import ArtefactError, BaicaiError, ConfigError
from baicai.ip_addresses import is_loopback
from baicai.serving.api_keys import KeyRing
from baicai.serving.config import ServeRecipe
from baicai.serving.errors import ApiError, error_response, to_api_error
from baicai.serving.routes.web_page import FILES

OPEN = frozenset({"/health", "/docs", "/openapi.json", *FILES})
"""Paths that need no key: the page asks for one itself, and the API is described the same by every server."""
OF_ADMIN = re.compile("/metrics|/v1/(runs|catalog)(/.*)?", re.DOTALL)
"""Paths that tell of the machine: they need a key whose scope is `admin`, and so do changes to the models."""
MODELS = "/v1/models"
LOCAL_NAMES = frozenset({"localhost", "127.0.0.1", "[::1]"})
CLIENT = "client"
"""Where a request's state says whose it is."""


def open_ring(config: ServeRecipe) -> KeyRing:
    """Return the keys of those who may ask.

    Raises: ConfigError if others can reach the server and there are none, or the file is damaged.
    """
    ring = KeyRing()
    if not is_loopback(config.host) and not ring.needed:
        told = f"serve: {config.host} can be reached by others: make a key with `baicai keys add NAME`"
        raise ConfigError(f"{told}, or leave host=127.0.0.1")
    return ring


class AuthMiddleware:
    """Lets requests through to the server, or refuses them."""

    def __init__(self, app: ASGIApp, config: ServeRecipe, ring: KeyRing) -> None:
        self._app, self._ring = app, ring
        names = {name.lower() for name in config.allowed_hosts}
        self._names = LOCAL_NAMES | names if is_loopback(config.host) or names else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        headers = Headers(scope=scope)
        try:
            self._check_names(headers)
            scope.setdefault("state", {})[CLIENT] = self._client(scope, headers)
        except BaicaiError as error:
            await error_response(to_api_error(error))(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _check_names(self, headers: Headers) -> None:
        """Refuse pages of other servers, and names that others have made to mean this machine."""
        host = headers.get("host", "").lower()
        if self._names is not None and _without_port(host) not in self._names:
            told = "This name is not one of this server's: where it is meant to be, start it with 'hosts=[\"NAME\"]'."
            raise ApiError(told, code="host_not_allowed", status=403)
        origin = headers.get("origin")
        if origin is not None and origin.lower().partition("://")[2] != host:
            raise ApiError("Pages of other servers may not ask.", code="origin_not_allowed", status=403)

    def _client(self, scope: Scope, headers: Headers) -> str:
        address = scope["client"][0] if scope.get("client") else ""
        if scope["path"] in OPEN:
            return address
        kind, _, secret = headers.get("authorization", "").partition(" ")
        try:
            owner = self._ring.owner(secret.strip())
        except (ArtefactError, ConfigError):
            told = "The server's keys are damaged: `baicai keys list` says where."
            raise ApiError(told, code="keys_damaged", status=500) from None
        if not self._ring.needed:
            return address
        if kind.lower() != "bearer" or owner is None:
            told = "A key is needed: send it as 'Authorization: Bearer KEY'." if not secret else "Incorrect API key."
            raise ApiError(told, code="invalid_api_key", status=401)
        name, allowed = owner
        changes = scope["path"].startswith(MODELS) and scope["method"] not in ("GET", "HEAD")
        of_admin = changes or OF_ADMIN.fullmatch(scope["path"])
        if of_admin and allowed != "admin":
            raise ApiError("This key's scope is 'infer'; 'admin' is needed.", code="insufficient_scope", status=403)
        return name


def _without_port(host: str) -> str:
    name, colon, port = host.rpartition(":")
    return name if colon and (port.isdecimal() or not port) and (":" not in name or name.endswith("]")) else host
