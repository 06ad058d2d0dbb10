"""`baicai data`: gather, publish, pull and take down public text."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from baicai.cli.arguments import JSON, OUT, Facts, print_facts
from baicai.cli.verbs import Verb, build_command

RAY = click.Option(["--ray"], help="Address of a Ray cluster to run on, such as HOST:6379.")
SLICE = click.Option(["--slice"], help="Conditions on documents, such as 'domain=law language=de quality>0.6'.")


def _verb(
    name: str, module: str, recipe: str, function: str, text: str, first_key: str = "", *options: click.Option
) -> Verb:
    with_out = (OUT, JSON) if OUT in options else (JSON,)
    key_options = tuple(option for option in options if option is not OUT)
    module = f"baicai.wholesale.{module}"
    return Verb(name, module, recipe, function, text, first_key, with_out, key_options, extra="data")


VERBS = (
    _verb("gather", "gather", "GatherRecipe", "gather", "Gather public text into the warehouse OUT.", "", RAY, OUT),
    _verb(
        "domains",
        "domains.assign",
        "DomainsRecipe",
        "assign_domains",
        "Assign domains to documents whose source named none.",
        "warehouse",
    ),
    _verb(
        "publish",
        "release.publish",
        "PublishRecipe",
        "publish",
        "Publish the next release of a warehouse to OUT.",
        "warehouse",
        OUT,
    ),
    _verb(
        "pull",
        "pull",
        "PullRecipe",
        "pull",
        "Pull a slice of a release into OUT, or update it.",
        "source",
        SLICE,
        OUT,
    ),
    _verb(
        "serve",
        "server",
        "ServeReleaseRecipe",
        "serve",
        "Serve a release over HTTP, with access keys.",
        "release",
    ),
    _verb("catalog", "release.catalog", "CatalogRecipe", "list_releases", "List releases and their contents."),
    _verb(
        "affected",
        "affected",
        "AffectedRecipe",
        "affected",
        "List leaves and models trained on removed documents.",
        "subscription",
    ),
    _verb(
        "takedown",
        "release.takedown",
        "TakedownRecipe",
        "take_down",
        "Remove documents from all future releases.",
        "warehouse",
    ),
)


def run_data_verb(verb: Verb, words: Sequence[str], as_json: bool, out: Path | None = None) -> None:
    """Run a verb and print its result."""
    function, config = verb.load(verb.function), verb.read(words)
    result = function(config) if out is None else function(config, out)
    if result is None:  # a server that was stopped
        return
    facts = {"kind": verb.name, **_facts(verb.name, result, out)}
    if verb.name == "catalog" and not as_json:
        _print_releases(facts)
    else:
        print_facts(facts, as_json)


def _facts(verb: str, result: Any, out: Path | None) -> Facts:
    if verb == "publish":
        return {
            "release": result.hash,
            "version": result.version,
            "documents": sum(shard.documents for shard in result.shards),
            "shards": len(result.shards),
            "bytes": sum(shard.size_bytes + shard.index_bytes for shard in result.shards),
            "taken_down": sum(len(takedown.documents) for takedown in result.takedowns),
            "expires": result.expires,
        }
    if isinstance(result, dict):
        return result
    if verb == "catalog":
        return {"catalog": result.address, "releases": [entry._asdict() for entry in result.releases]}
    facts = dataclasses.asdict(result)
    if verb == "pull":
        assert out is not None
        return facts | {"for_grow": f"data={out / 'documents'}"}
    return facts | {"documents": len(result.documents)} if verb == "takedown" else facts


def _print_releases(facts: Facts) -> None:
    if not facts["releases"]:
        click.echo(f"{facts['catalog']} lists no such release.")
    for entry in facts["releases"]:
        size = f"{entry['documents']:,} documents  {entry['size_bytes']:,} bytes  until {entry['expires'][:10]}"
        click.echo(f"{entry['name']} {entry['version']}  {entry['hash'][:12]}  {size}")
        click.echo(f"  at        {entry['location'] or 'location unknown: superseded by a later release'}")
        for name in ("domain", "language", "licence"):
            click.echo(f"  {name:9} {', '.join(entry[name])}")


def data_group() -> click.Group:
    """Build the `data` command."""
    commands = {verb.name: build_command(verb, run_data_verb) for verb in VERBS}
    return click.Group("data", commands, help="Gather, publish, pull and take down public text.")
