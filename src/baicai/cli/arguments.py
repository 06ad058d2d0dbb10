"""The words of a command line, the options that verbs share, and how what they found is shown."""

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem

from baicai.config import read_recipe, recipe_keys

OUT = click.Option(["--out"], required=True, type=click.Path(path_type=Path), help="Folder for the result.")
JSON = click.Option(["--json", "as_json"], is_flag=True, help="Print JSON for programs.")


class RecipeArgument(click.Argument):
    """A recipe file and `key=value` words; completes the keys of the verb's recipe."""

    def __init__(self, module: str, kind: str, first: str = "[RECIPE.toml]") -> None:
        metavar = f"{first} [KEY=VALUE]..."
        super().__init__(["words"], nargs=-1, type=click.UNPROCESSED, metavar=metavar, help="The verb's keys.")
        self.module, self.kind = module, kind

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Offer keys; the shell itself offers files."""
        found = [CompletionItem(f"{key}=") for key in self._keys() if key.startswith(incomplete)]
        return [*found, CompletionItem(incomplete, type="file")]

    def get_help_record(self, ctx: click.Context) -> tuple[str, str]:
        """Name the keys; only now, as a recipe's module may take a second to load."""
        return "KEY=VALUE", f"Keys: {', '.join(self._keys())}."

    def _keys(self) -> list[str]:
        return recipe_keys(getattr(importlib.import_module(self.module), self.kind))


def read_arguments(kind: type[Any], words: Sequence[str]) -> Any:
    """Return the recipe that the words of a command line stand for.

    Raises: ConfigError
    """
    recipe = Path(words[0]) if words and "=" not in words[0] else None
    return read_recipe(kind, recipe, words[1:] if recipe else words)


def show(found: dict[str, Any]) -> None:
    """Print what a verb found, a line for each fact."""
    if found["kind"] == "evaluation":
        click.echo((Path(found["path"]) / "table.md").read_text())
        click.echo(f"report: {found['report']}")
        return
    for key, value in found.items():
        if key in ("recipe", "curve"):
            continue
        if isinstance(value, dict):
            value = _pairs(value) or "none"
        if key == "data":
            for one in value:
                licences = ", ".join(one["licences"])
                click.echo(f"{'data':20} {one['domain']}: {one['tokens']:,} tokens, {licences}, {one['manifest'][:12]}")
            continue
        click.echo(f"{key:20} {_text(value)}")


def _pairs(table: dict[str, Any]) -> str:
    return ", ".join(f"{name} {_text(value)}" for name, value in table.items() if value is not None)


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return f"({_pairs(value)})"
    if isinstance(value, list):
        return ", ".join(map(_text, value)) or "none"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
