"""The words of a command line, and the options that verbs share."""

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem

from baicai.config import keys, read_recipe

OUT = click.Option(["--out"], required=True, type=click.Path(path_type=Path), help="Folder for the result.")
JSON = click.Option(["--json", "as_json"], is_flag=True, help="Print JSON for programs.")


class RecipeArgument(click.Argument):
    """A recipe file and `key=value` words; completes the keys of the verb's recipe."""

    def __init__(self, module: str, kind: str, first: str = "[RECIPE.toml]") -> None:
        super().__init__(["words"], nargs=-1, type=click.UNPROCESSED, metavar=f"{first} [KEY=VALUE]...")
        self.module, self.kind = module, kind

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Offer keys; the shell itself offers files."""
        known = keys(getattr(importlib.import_module(self.module), self.kind))
        found = [CompletionItem(f"{key}=") for key in known if key.startswith(incomplete)]
        return [*found, CompletionItem(incomplete, type="file")]


def read_words(kind: type[Any], words: Sequence[str]) -> Any:
    """Return the recipe that the words of a command line stand for.

    Raises: ConfigError
    """
    recipe = Path(words[0]) if words and "=" not in words[0] else None
    return read_recipe(kind, recipe, words[1:] if recipe else words)
