"""`baicai serve`: start the model server and print how to call it."""

import asyncio
import json
import shlex
from contextlib import closing, nullcontext
from pathlib import Path
from typing import Any

import click

from baicai.errors import ConfigError, MachineError
from baicai.serving.config import ServeRecipe

SQLITE = "sqlite:///"


def serve_model(config: ServeRecipe) -> None:
    """Serve until interrupted.

    Raises: MachineError if a package is not installed, ConfigError if the catalog file does not exist.
    """
    try:
        from baicai.serving.server import serve
    except ModuleNotFoundError as error:
        raise MachineError(f"{error.name} is not installed: pip install 'baicai[serve]'") from None
    with closing(_open_catalog(config.catalog_url)) if config.catalog_url else nullcontext() as catalog:
        asyncio.run(serve(config, _print_usage, catalog))


def _open_catalog(url: str) -> Any:
    try:
        from baicai.wholesale.release.catalog import Catalog
    except ModuleNotFoundError as error:
        raise MachineError(f"{error.name} is not installed: pip install 'baicai[data]'") from None
    file = Path(url.removeprefix(SQLITE))
    if url.startswith(SQLITE) and not file.exists():  # opening a mistyped name would create a database
        raise ConfigError(f"catalog_url: no catalog at {file}: create one with `baicai data catalog`")
    return Catalog(url)


def _print_usage(address: str, name: str) -> None:
    body = json.dumps({"model": name, "messages": [{"role": "user", "content": "Hello"}]}, ensure_ascii=False)
    key = "$BAICAI_KEY"
    click.echo(f"{name} answers at {address}\n")
    click.echo(f'curl {address}/v1/chat/completions -H "Authorization: Bearer {key}" -d {shlex.quote(body)}\n')
    client = f'openai.OpenAI(base_url="{address}/v1", api_key=os.environ.get("BAICAI_KEY", "none"))'
    click.echo(f"import os, openai; client = {client}")
