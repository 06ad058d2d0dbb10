"""`baicai serve`: an engine in a process of its own, and the web server before it."""

import contextlib
import ipaddress
import socket
from collections.abc import Callable

from baicai.errors import ConfigError
from baicai.serving.app import make_app
from baicai.serving.config import ServeRecipe
from baicai.serving.registry import Shelf
from baicai.serving.routes.dashboard import Catalog
from baicai.serving.routes.models import add_loading
from baicai.serving.server import BACKLOG, make_server


async def serve(config: ServeRecipe, ready: Callable[[str, str], None], catalog: Catalog | None = None) -> None:
    """Serve until it is stopped; `ready` is told the address and the model's name.

    Raises: BaicaiError if the model cannot be opened, the port is taken, or others can reach it and nobody has a key.
    """
    shelf = Shelf(config)
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
