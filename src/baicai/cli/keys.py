"""`baicai keys VERB`: who may ask a server."""

import json

import click

from baicai.cli.arguments import JSON, RecipeArgument, read_arguments


def keys_group() -> click.Group:
    """Return the group of verbs."""
    group = click.Group("keys", help="Keys of those who may ask `baicai serve`.")
    group.add_command(_add_command())
    group.add_command(_list_command())
    group.add_command(_revoke_command())
    return group


def _add_command() -> click.Command:
    def add(words: tuple[str, ...], as_json: bool) -> None:
        from baicai.serving.api_keys import KeyRecipe, add_key

        named = [f"name={words[0]}", *words[1:]] if words and "=" not in words[0] else words
        config = read_arguments(KeyRecipe, named)
        secret = add_key(config)
        if as_json:
            click.echo(json.dumps({"name": config.name, "scope": config.scope, "key": secret}))
        else:
            click.echo(secret)
            click.echo("Keep it: it is not shown again.", err=True)

    params = [RecipeArgument("baicai.serving.api_keys", "KeyRecipe", "NAME"), JSON]
    return click.Command("add", callback=add, params=params, help="Make a key and show it, once.")


def _list_command() -> click.Command:
    def list_keys(as_json: bool) -> None:
        from baicai.serving.api_keys import read_keys

        keys = read_keys()
        listed = [{"name": name, "scope": keys[name].scope, "created": keys[name].created} for name in sorted(keys)]
        if as_json:
            click.echo(json.dumps(listed))
            return
        if not listed:
            click.echo("Nobody has a key: make one with `baicai keys add NAME`.", err=True)
        for one in listed:
            click.echo(f"{one['name']}  {one['scope']}  since {one['created']}")

    return click.Command("list", callback=list_keys, params=[JSON], help="Say whose keys there are.")


def _revoke_command() -> click.Command:
    def revoke(name: str) -> None:
        from baicai.serving.api_keys import revoke_key

        revoke_key(name)

    name = click.Argument(["name"])
    return click.Command("revoke", callback=revoke, params=[name], help="Take a key back, at once.")
