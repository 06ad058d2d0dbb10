"""Verbs that read a recipe: their description as data, and the click command built from it."""

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import click

from baicai.cli.arguments import JSON, OUT, RecipeArgument, read_arguments
from baicai.errors import MachineError


@dataclass(frozen=True)
class Verb:
    """A verb of the command line. Its module is imported only when the verb is used, as it may take a second."""

    name: str
    module: str
    """Module that has both the recipe class and the function."""
    recipe: str
    function: str
    help: str
    """Description; its first sentence is listed in the parent command's help."""
    first_key: str = ""
    """Key that a bare first word sets; empty if it is always the recipe file."""
    options: tuple[click.Option, ...] = (OUT, JSON)
    """Options passed to the verb's runner."""
    key_options: tuple[click.Option, ...] = ()
    """Options that set the recipe's key of the same name."""
    extra: str = ""
    """Optional dependency group of the package that the module needs."""

    def load(self, name: str) -> Any:
        """Import the module and return its attribute `name`.

        Raises: MachineError if a package of the `extra` is not installed.
        """
        try:
            return getattr(importlib.import_module(self.module), name)
        except ModuleNotFoundError as error:
            if not self.extra:
                raise
            raise MachineError(f"{error.name} is not installed: pip install 'baicai[{self.extra}]'") from None

    def read(self, words: Sequence[str]) -> Any:
        """Read the verb's recipe from the words of a command line.

        Raises: ConfigError, MachineError
        """
        return read_arguments(self.load(self.recipe), words, self.first_key)


def run_verb(verb: Verb, words: Sequence[str], **options: Any) -> None:
    """Call the verb's function with its recipe and options."""
    verb.load(verb.function)(verb.read(words), **options)


def build_command(verb: Verb, run: Callable[..., None] = run_verb) -> click.Command:
    """Build the click command of a verb, which calls `run(verb, words, **options)`."""

    def callback(words: tuple[str, ...], **options: Any) -> None:
        keys = {option.name: options.pop(str(option.name)) for option in verb.key_options}
        words += tuple(f"{key}={value}" for key, value in keys.items() if value is not None)
        run(verb, words, **options)

    argument = RecipeArgument(verb.module, verb.recipe, verb.first_key)
    params = [argument, *verb.key_options, *verb.options]
    return click.Command(verb.name, callback=callback, params=params, help=verb.help)
