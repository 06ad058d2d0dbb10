"""`baicai keys`: API keys of `baicai serve`."""

import json

import click

from baicai.serving.api_keys import KeyRecipe, add_key, read_keys


def add(config: KeyRecipe, as_json: bool) -> None:
    """Create a key and print it."""
    secret = add_key(config)
    if as_json:
        click.echo(json.dumps({"name": config.name, "scope": config.scope, "key": secret}))
    else:
        click.echo(secret)
        click.echo("Store this key now: it is not shown again.", err=True)


def list_keys(as_json: bool) -> None:
    """Print the name, scope and creation date of each key."""
    rows = [{"name": name, "scope": key.scope, "created": key.created} for name, key in sorted(read_keys().items())]
    if as_json:
        click.echo(json.dumps(rows))
        return
    if not rows:
        click.echo("No API keys yet: create one with `baicai keys add NAME`.", err=True)
    for row in rows:
        click.echo(f"{row['name']}  {row['scope']}  since {row['created']}")
