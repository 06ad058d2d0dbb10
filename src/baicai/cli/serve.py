"""`baicai serve`: start the server, and say how it is used."""

import asyncio
import json
import shlex
from contextlib import closing, nullcontext
from pathlib import Path
from typing import Any

import click

from baicai.cli.arguments import RecipeArgument, read_arguments
from baicai.errors import ConfigError, MachineError

SQLITE = "sqlite:///"


def serve_command() -> click.Command:
    """Return the verb."""

    def run_serve(words: tuple[str, ...]) -> None:
        config = _read(words)
        try:
            from baicai.serving.server import serve
        except ModuleNotFoundError as error:
            raise MachineError(f"{error.name} is not installed: pip install 'baicai[serve]'") from None
        with closing(_open_catalog(config.catalog_url)) if config.catalog_url else nullcontext() as catalog:
            asyncio.run(serve(config, _tell, catalog))

    text = "Serve a model: OpenAI's API, and a page where one sees the leaves answer."
    recipe = RecipeArgument("baicai.serving.config", "ServeRecipe", "MODEL")
    return click.Command("serve", callback=run_serve, params=[recipe], help=text)


def _read(words: tuple[str, ...]) -> Any:
    """Return the recipe; a first word that is neither KEY=VALUE nor a recipe file is the model."""
    from baicai.serving.config import ServeRecipe

    model = words and "=" not in words[0] and not words[0].endswith(".toml")
    return read_arguments(ServeRecipe, [f"model={json.dumps(words[0])}", *words[1:]] if model else words)


def _open_catalog(url: str) -> Any:
    try:
        from baicai.wholesale.release.catalog import Catalog
    except ModuleNotFoundError as error:
        raise MachineError(f"{error.name} is not installed: pip install 'baicai[data]'") from None
    file = Path(url.removeprefix(SQLITE))
    if url.startswith(SQLITE) and not file.exists():  # a database that is named by mistake would be made
        raise ConfigError(f"catalog_url: no catalog at {file}: create one with `baicai data catalog`")
    return Catalog(url)


def _tell(address: str, name: str) -> None:
    body = json.dumps({"model": name, "messages": [{"role": "user", "content": "Hello"}]}, ensure_ascii=False)
    key = "$BAICAI_KEY"
    click.echo(f"{name} answers at {address}\n")
    click.echo(f'curl {address}/v1/chat/completions -H "Authorization: Bearer {key}" -d {shlex.quote(body)}\n')
    client = f'openai.OpenAI(base_url="{address}/v1", api_key=os.environ.get("BAICAI_KEY", "none"))'
    click.echo(f"import os, openai; client = {client}")
