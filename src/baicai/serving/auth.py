"""Authentication and Host/Origin checks, applied to every route."""

import re

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from baicai.errors import ArtefactError, BaicaiError, ConfigError
from baicai.ip_addresses import is_loopback
from baicai.serving.api_keys import KeyRing
from baicai.serving.config import ServeRecipe
from baicai.serving.errors import ApiError, error_response, to_api_error
from baicai.serving.routes.web_page import FILES

PUBLIC_PATHS = frozenset({"/health", "/docs", "/openapi.json", *FILES})
"""Paths that need no key: the page asks for one itself, and the API's description is the same on every server."""
ADMIN_PATHS = re.compile("/metrics|/v1/(runs|catalog)(/.*)?", re.DOTALL)
"""Paths that reveal the machine's state; like changes to the models, they need a key with scope `admin`."""
MODELS_PATH = "/v1/models"
LOCAL_NAMES = frozenset({"localhost", "127.0.0.1", "[::1]"})
CLIENT = "client"
"""Key in a request's state that holds the name of its client."""


def open_key_ring(config: ServeRecipe) -> KeyRing:
    """Open the API keys of the server.

    Raises: ConfigError if the server is reachable from other machines without any key, or the key file is damaged.
    """
    ring = KeyRing()
    if not is_loopback(config.host) and not ring.required:
        message = f"serve: {config.host} is reachable from other machines: create a key with `baicai keys add NAME`"
        raise ConfigError(f"{message}, or leave host=127.0.0.1")
    return ring


class AuthMiddleware:
    """Passes requests on to the application, or rejects them."""

    def __init__(self, app: ASGIApp, config: ServeRecipe, ring: KeyRing) -> None:
        self._app, self._ring = app, ring
        names = {name.lower() for name in config.allowed_hosts}
        self._allowed_hosts = LOCAL_NAMES | names if is_loopback(config.host) or names else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        headers = Headers(scope=scope)
        try:
            self._check_host_and_origin(headers)
            scope.setdefault("state", {})[CLIENT] = self._authenticate(scope, headers)
        except BaicaiError as error:
            await error_response(to_api_error(error))(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _check_host_and_origin(self, headers: Headers) -> None:
        """Reject requests from other sites' pages, and names that others have pointed at this machine (rebinding)."""
        host = headers.get("host", "").lower()
        if self._allowed_hosts is not None and _without_port(host) not in self._allowed_hosts:
            message = "This host name is not allowed. To allow it, start the server with 'allowed_hosts=[\"NAME\"]'."
            raise ApiError(message, code="host_not_allowed", status=403)
        origin = headers.get("origin")
        if origin is not None and origin.lower().partition("://")[2] != host:
            raise ApiError("Requests from other origins are not allowed.", code="origin_not_allowed", status=403)

    def _authenticate(self, scope: Scope, headers: Headers) -> str:
        """Return the name of the client: that of its key, or its address if no key is required."""
        address = scope["client"][0] if scope.get("client") else ""
        if scope["path"] in PUBLIC_PATHS:
            return address
        kind, _, secret = headers.get("authorization", "").partition(" ")
        try:
            owner = self._ring.find_owner(secret.strip())
        except (ArtefactError, ConfigError):
            message = "The server's key file is damaged: `baicai keys list` shows where."
            raise ApiError(message, code="keys_damaged", status=500) from None
        if not self._ring.required:
            return address
        if kind.lower() != "bearer" or owner is None:
            message = "An API key is required: send it as 'Authorization: Bearer KEY'."
            raise ApiError("Incorrect API key." if secret else message, code="invalid_api_key", status=401)
        name, key_scope = owner
        changes_models = scope["path"].startswith(MODELS_PATH) and scope["method"] not in ("GET", "HEAD")
        if (changes_models or ADMIN_PATHS.fullmatch(scope["path"])) and key_scope != "admin":
            message = "This request needs a key with scope 'admin'; this key has scope 'infer'."
            raise ApiError(message, code="insufficient_scope", status=403)
        return name


def _without_port(host: str) -> str:
    name, colon, port = host.rpartition(":")
    return name if colon and (port.isdecimal() or not port) and (":" not in name or name.endswith("]")) else host
