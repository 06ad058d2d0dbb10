"""`baicai data VERB`: what the wholesaler does."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from baicai.cli.arguments import JSON, OUT, RecipeArgument, read_arguments, show
from baicai.errors import MachineError


def _gather(config: Any, out: Path) -> dict[str, Any]:
    from baicai.wholesale.gather import gather

    return gather(config, out)


def _domains(config: Any, out: Path | None) -> dict[str, Any]:
    from baicai.wholesale.domains.assign import assign_domains

    return assign_domains(config)


def _publish(config: Any, out: Path) -> dict[str, Any]:
    from baicai.wholesale.release.publish import publish

    manifest = publish(config, out)
    return {
        "release": manifest.hash,
        "version": manifest.version,
        "documents": sum(shard.documents for shard in manifest.shards),
        "shards": len(manifest.shards),
        "bytes": sum(shard.size_bytes + shard.index_bytes for shard in manifest.shards),
        "taken_down": sum(len(takedown.documents) for takedown in manifest.takedowns),
        "expires": manifest.expires,
    }


def _pull(config: Any, out: Path) -> dict[str, Any]:
    from baicai.wholesale.pull import pull

    return {**pull(config, out)._asdict(), "for_grow": f"data={out / 'documents'}"}


def _takedown(config: Any, out: Path | None) -> dict[str, Any]:
    from baicai.wholesale.release.takedown import take_down

    request = take_down(config)
    return dataclasses.asdict(request) | {"documents": len(request.documents)}


def _serve(config: Any, out: Path | None) -> dict[str, Any]:
    from baicai.wholesale.server import serve

    serve(config)
    return {}


def _affected(config: Any, out: Path | None) -> dict[str, Any]:
    from baicai.wholesale.affected import affected

    return affected(config)


def _catalog(config: Any, out: Path | None) -> dict[str, Any]:
    from baicai.wholesale.release.catalog import list_releases

    address, entries = list_releases(config)
    return {"catalog": address, "releases": [entry._asdict() for entry in entries]}


VERBS: dict[str, tuple[str, str, Callable[..., dict[str, Any]], str, str]] = {
    "gather": ("gather", "GatherRecipe", _gather, "[RECIPE.toml]", "Gather public text into the warehouse OUT."),
    "domains": ("domains.assign", "DomainsRecipe", _domains, "WAREHOUSE", "Give documents without one a domain."),
    "publish": (
        "release.publish",
        "PublishRecipe",
        _publish,
        "WAREHOUSE",
        "Publish the warehouse's next release into OUT.",
    ),
    "pull": ("pull", "PullRecipe", _pull, "SOURCE", "Pull a slice of a release, or what changed of it, into OUT."),
    "serve": (
        "server",
        "ServeReleaseRecipe",
        _serve,
        "RELEASE",
        "Serve a release over HTTP, with keys and byte accounting.",
    ),
    "catalog": ("release.catalog", "CatalogRecipe", _catalog, "", "List releases: where they are and what they hold."),
    "affected": (
        "affected",
        "AffectedRecipe",
        _affected,
        "SUBSCRIPTION",
        "Say what saw text that was taken back.",
    ),
    "takedown": (
        "release.takedown",
        "TakedownRecipe",
        _takedown,
        "WAREHOUSE",
        "Take documents back: the next release is without.",
    ),
}
"""Verb: module, recipe, what it does, its first word, help."""
TEXT = "Public text: gather, publish, pull, take back."
OPTIONS = {
    "pull": ("--slice", "As in 'domain=law language=de quality>0.6'."),
    "gather": ("--ray", "Address of a Ray cluster that does the work, as in HOST:6379."),
}
"""Keys of a recipe that may also be written as an option."""
FIRST = {"WAREHOUSE": "warehouse", "SOURCE": "source", "SUBSCRIPTION": "subscription", "RELEASE": "release"}


def _command(verb: str) -> click.Command:
    module, kind, act, first, text = VERBS[verb]
    module = f"baicai.wholesale.{module}"

    def run(words: tuple[str, ...], as_json: bool, out: Path | None = None, **keys: str | None) -> None:
        import importlib

        try:
            loaded = importlib.import_module(module)
        except ModuleNotFoundError as error:
            raise MachineError(f"{error.name} is not installed: pip install 'baicai[data]'") from None
        if words and first in FIRST and "=" not in words[0]:
            words = (f"{FIRST[first]}={words[0]}", *words[1:])
        words = (*words, *(f"{key}={value}" for key, value in keys.items() if value is not None))
        told = act(read_arguments(getattr(loaded, kind), words), out)
        if not told:  # served to its end
            return
        found = {"kind": verb, **told}
        if as_json:
            click.echo(json.dumps(found))
        elif verb == "catalog":
            _show_releases(found)
        else:
            show(found)

    params: list[click.Parameter] = [RecipeArgument(module, kind, first), JSON]
    if verb in ("gather", "publish", "pull"):
        params.insert(1, OUT)
    if verb in OPTIONS:
        name, told = OPTIONS[verb]
        params.insert(1, click.Option([name], help=told))
    return click.Command(verb, callback=run, params=params, help=text)


def _show_releases(found: dict[str, Any]) -> None:
    if not found["releases"]:
        click.echo(f"{found['catalog']} lists no such release.")
    for one in found["releases"]:
        size = f"{one['documents']:,} documents  {one['size_bytes']:,} bytes  until {one['expires'][:10]}"
        click.echo(f"{one['name']} {one['version']}  {one['hash'][:12]}  {size}")
        click.echo(f"  at        {one['location'] or 'no place known: a later one replaced it'}")
        for name in ("domain", "language", "licence"):
            click.echo(f"  {name:9} {', '.join(one[name])}")


def data_group() -> click.Group:
    """Return the verbs of the wholesaler."""
    return click.Group(
        "data", {verb: _command(verb) for verb in VERBS}, help="Public text: gather, publish, pull, take back."
    )
