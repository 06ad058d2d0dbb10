"""`baicai data VERB`: gather, publish, pull, takedown."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from baicai.cli.words import JSON, OUT, RecipeArgument, read_words, show
from baicai.errors import MachineError


def _gather(config: Any, out: Path) -> dict[str, Any]:
    from baicai.wholesale.gather import gather

    return gather(config, out)


def _publish(config: Any, out: Path) -> dict[str, Any]:
    from baicai.wholesale.publish import publish

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
    from baicai.wholesale.takedown import take_down

    request = take_down(config)
    return dataclasses.asdict(request) | {"documents": len(request.documents)}


def _serve(config: Any, out: Path | None) -> dict[str, Any]:
    from baicai.wholesale.serve import serve

    serve(config)
    return {}


def _affected(config: Any, out: Path | None) -> dict[str, Any]:
    from baicai.wholesale.affected import affected

    return affected(config)


VERBS: dict[str, tuple[str, str, Callable[..., dict[str, Any]], str, str]] = {
    "gather": ("gather", "GatherRecipe", _gather, "[RECIPE.toml]", "Gather public text into the warehouse OUT."),
    "publish": ("publish", "PublishRecipe", _publish, "WAREHOUSE", "Publish the warehouse's next release into OUT."),
    "pull": ("pull", "PullRecipe", _pull, "SOURCE", "Pull a slice of a release, or what changed of it, into OUT."),
    "serve": ("serve", "ServeRecipe", _serve, "RELEASE", "Serve a release over HTTP, with keys and a ledger of bytes."),
    "affected": (
        "affected",
        "AffectedRecipe",
        _affected,
        "SUBSCRIPTION",
        "Say what saw text that was taken back.",
    ),
    "takedown": (
        "takedown",
        "TakedownRecipe",
        _takedown,
        "WAREHOUSE",
        "Take documents back: the next release is without.",
    ),
}
"""Verb: module, recipe, what it does, its first word, help."""
TEXT = "Public text: gather, publish, pull, take back."
FIRST = {"WAREHOUSE": "warehouse", "SOURCE": "source", "SUBSCRIPTION": "subscription", "RELEASE": "release"}


def _command(verb: str) -> click.Command:
    module, kind, act, first, text = VERBS[verb]
    module = f"baicai.wholesale.{module}"

    def run(words: tuple[str, ...], as_json: bool, out: Path | None = None, wanted: str | None = None) -> None:
        import importlib

        try:
            loaded = importlib.import_module(module)
        except ModuleNotFoundError as error:
            raise MachineError(f"{error.name} is not installed: pip install 'baicai[data]'") from None
        if words and first in FIRST and "=" not in words[0]:
            words = (f"{FIRST[first]}={words[0]}", *words[1:])
        words = (*words, f"slice={wanted}") if wanted is not None else words
        told = act(read_words(getattr(loaded, kind), words), out)
        if not told:  # served to its end
            return
        found = {"kind": verb, **told}
        if as_json:
            click.echo(json.dumps(found))
        else:
            show(found)

    params: list[click.Parameter] = [RecipeArgument(module, kind, first), JSON]
    if verb not in ("takedown", "affected", "serve"):
        params.insert(1, OUT)
    if verb == "pull":
        params.insert(1, click.Option(["--slice", "wanted"], help="As in 'domain=law language=de quality>0.6'."))
    return click.Command(verb, callback=run, params=params, help=text)


def data_group() -> click.Group:
    """Return the verbs of the wholesaler."""
    return click.Group(
        "data", {verb: _command(verb) for verb in VERBS}, help="Public text: gather, publish, pull, take back."
    )
