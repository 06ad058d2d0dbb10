"""Command-line arguments that verbs share, and the output of their results."""

import importlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem

from baicai.config import read_recipe, recipe_keys

Facts = dict[str, Any]
"""A verb's result, by name: printed as one line each, or as one JSON object with `--json`."""
OUT = click.Option(["--out"], required=True, type=click.Path(path_type=Path), help="Write the result to this folder.")
JSON = click.Option(["--json", "as_json"], is_flag=True, help="Print the result as JSON.")


class RecipeArgument(click.Argument):
    """A recipe file or the value of the first key, then `KEY=VALUE` words; completes the recipe's keys."""

    def __init__(self, module: str, recipe: str, first_key: str = "") -> None:
        first = f"{first_key.upper()}|RECIPE.toml" if first_key else "RECIPE.toml"
        metavar = f"[{first}] [KEY=VALUE]..."
        super().__init__(["words"], nargs=-1, type=click.UNPROCESSED, metavar=metavar, help="The recipe's keys.")
        self.module, self.recipe = module, recipe

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Offer the recipe's keys, and let the shell offer files."""
        items = [CompletionItem(f"{key}=") for key in self._keys() if key.startswith(incomplete)]
        return [*items, CompletionItem(incomplete, type="file")]

    def get_help_record(self, ctx: click.Context) -> tuple[str, str]:
        """List the recipe's keys. Called only for `--help`, as importing the recipe may take a second."""
        return "KEY=VALUE", f"Keys: {', '.join(self._keys())}."

    def _keys(self) -> list[str]:
        return recipe_keys(getattr(importlib.import_module(self.module), self.recipe))


def read_arguments(recipe: type[Any], words: Sequence[str], first_key: str = "") -> Any:
    """Read a recipe from the words of a command line.

    A bare first word (one without `=`) is the value of `first_key`; it is the recipe file if it ends in `.toml` or if
    the verb has no such key.

    Raises: ConfigError
    """
    if not words or "=" in words[0]:
        return read_recipe(recipe, None, words)
    first, *rest = words
    if first_key and not first.endswith(".toml"):
        return read_recipe(recipe, None, [f"{first_key}={first}", *rest])
    return read_recipe(recipe, Path(first), rest)


def report_unchanged(out: Path) -> None:
    """Tell the user on stderr that the artefact was already there."""
    click.echo(f"{out} already exists and was made from this recipe; nothing to do.", err=True)


def print_facts(facts: Facts, as_json: bool) -> None:
    """Print a verb's result as JSON, or as one line for each fact."""
    if as_json:
        click.echo(json.dumps(facts))
    elif facts["kind"] == "evaluation":
        click.echo((Path(facts["path"]) / "table.md").read_text())
        click.echo(f"report: {facts['report']}")
    else:
        for key, value in facts.items():
            _print_fact(key, value)


def _print_fact(key: str, value: Any) -> None:
    if key in ("recipe", "curve"):
        return
    if key == "data":
        for entry in value:
            licences = ", ".join(entry["licences"])
            click.echo(f"{key:20} {entry['domain']}: {entry['tokens']:,} tokens, {licences}, {entry['manifest'][:12]}")
        return
    click.echo(f"{key:20} {(_pairs(value) or 'none') if isinstance(value, dict) else _text(value)}")


def _pairs(facts: Facts) -> str:
    return ", ".join(f"{name} {_text(value)}" for name, value in facts.items() if value is not None)


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return f"({_pairs(value)})"
    if isinstance(value, list):
        return ", ".join(map(_text, value)) or "none"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
