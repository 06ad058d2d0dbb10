"""Recipes: a frozen dataclass, read from TOML and `key=value` overrides."""

import dataclasses
import difflib
import json
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar, cast, dataclass_transform, get_args

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass as _dataclass

from baicai.errors import ConfigError

R = TypeVar("R")


@dataclass_transform(kw_only_default=True, frozen_default=True)
def recipe(kind: type[R]) -> type[R]:
    """Make a recipe or size class: frozen, keywords only, types checked, unknown keys refused."""
    settings = ConfigDict(extra="forbid", allow_inf_nan=False)
    return cast(type[R], _dataclass(kind, frozen=True, kw_only=True, config=settings))


def read_recipe(kind: type[R], path: Path | None = None, overrides: Sequence[str] = ()) -> R:
    """Return a `kind` from a TOML file and `key=value` overrides, which win; dots reach into tables.

    A value is read as TOML where it parses and as a plain string otherwise: `steps=20`, `out=runs/a`.
    Raises: ConfigError that names the file, the key and, for an unknown key, the nearest known one.
    """
    table: dict[str, Any] = {}
    if path is not None:
        try:
            table = tomllib.loads(path.read_text("utf-8"))
        except FileNotFoundError:
            raise ConfigError(f"recipe {path} does not exist: check the path") from None
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise ConfigError(f"recipe {path} cannot be read: {error}") from None
    for override in overrides:
        _set(table, override)
    return from_table(kind, table, str(path) if path else "command line")


def from_table(kind: type[R], table: object, where: str) -> R:
    """Return a `kind` from plain values; `where` names their origin in errors.

    Raises: ConfigError
    """
    try:
        return TypeAdapter(kind).validate_python(table)
    except ValidationError as error:
        raise ConfigError(f"{where}: {_explain(kind, error)}") from None


def to_table(config: object) -> dict[str, Any]:
    """Return a recipe as plain JSON values, defaults filled in."""
    table: dict[str, Any] = TypeAdapter(type(config)).dump_python(config, mode="json")
    return table


def canonical(value: object) -> bytes:
    """Return JSON with sorted keys and no spaces: what recipes and artefacts are hashed over."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def keys(kind: type) -> list[str]:
    """Return every key of a recipe class, nested ones with dots."""
    found = []
    for field in dataclasses.fields(kind):
        inner = _nested(field.type)
        found += [f"{field.name}.{key}" for key in keys(inner)] if inner else [field.name]
    return found


def _set(table: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise ConfigError(f"'{override}' is not key=value: write it as steps=200 or data.path=texts")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text
    *parents, last = key.split(".")
    for parent in parents:
        table = table.setdefault(parent, {})
        if not isinstance(table, dict):
            raise ConfigError(f"key '{key}': '{parent}' is a value, not a table")
    table[last] = value


def _nested(kind: object) -> type | None:
    for candidate in (kind, *get_args(kind)):
        if isinstance(candidate, type) and dataclasses.is_dataclass(candidate):
            return candidate
    return None


def _explain(kind: type, error: ValidationError) -> str:
    first = error.errors()[0]
    location = [str(part) for part in first["loc"]]
    key = ".".join(location)
    if first["type"] in ("unexpected_keyword_argument", "extra_forbidden"):
        known = keys(kind)
        close = difflib.get_close_matches(key, known, n=1, cutoff=0.0)
        return f"unknown key '{key}': the nearest is '{close[0]}'" if close else f"unknown key '{key}'"
    if first["type"] in ("missing", "missing_argument", "missing_keyword_only_argument"):
        return f"key '{key}' is missing: add it to the recipe or as {key}=..."
    message = first["msg"].removeprefix("Value error, ")
    return f"key '{key}' = {first['input']!r}: {message}" if key else message
