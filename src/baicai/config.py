"""Recipes: frozen dataclasses, read from TOML and `key=value` overrides."""

import dataclasses
import difflib
import functools
import json
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar, cast, dataclass_transform, get_args, get_origin

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass as _dataclass

from baicai.errors import ConfigError

R = TypeVar("R")
Count = Annotated[int, Field(ge=1)]
Positive = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(ge=0, le=1)]
Table = dict[str, Any]
"""A recipe or config as plain JSON values."""


@dataclass_transform(kw_only_default=True, frozen_default=True)
def recipe(kind: type[R]) -> type[R]:
    """Decorate a recipe or config class: frozen, keyword-only, with checked types.

    The class may define `RENAMED`, from a former key to its present name, for the error message.

    Raises: ConfigError, when an instance is made with an unknown key or an invalid value.
    """
    settings = ConfigDict(extra="forbid", allow_inf_nan=False)
    cls = cast(type[R], _dataclass(kind, frozen=True, kw_only=True, config=settings))
    validate: Any = cls.__init__

    @functools.wraps(validate)
    def init(self: R, **values: Any) -> None:
        try:
            validate(self, **values)
        except ValidationError as error:
            raise ConfigError(f"{kind.__name__}: {_explain(cls, error)}") from None

    setattr(cls, "__init__", init)  # noqa: B010  (mypy does not allow assigning to a method)
    return cls


def read_recipe(
    kind: type[R], path: Path | None = None, overrides: Sequence[str] = (), *, values: Mapping[str, Any] | None = None
) -> R:
    """Read a recipe of class `kind` from a TOML file, values and `key=value` overrides.

    Overrides win over values, and values over the file; dots in a key reach into tables. The text of an override is
    parsed as TOML if possible and taken as a plain string if not, or if the key is a string: `steps=20`, `out=runs/a`.
    A table that is given in part keeps the recipe's own defaults for the other keys.

    Example:
        read_recipe(GrowRecipe, Path("law.toml"), ["train.tokens=2_000_000"])

    Args:
        kind: the recipe class.
        path: TOML file, if any.
        overrides: texts `key=value`, as on the command line.
        values: keyword arguments, as from Python; nested mappings are merged into tables.

    Raises: ConfigError, which names the file, the key and, for an unknown key, the nearest valid one.
    """
    table: Table = {}
    if path is not None:
        try:
            table = tomllib.loads(path.read_text("utf-8"))
        except FileNotFoundError:
            raise ConfigError(f"recipe {path} does not exist: check the path") from None
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise ConfigError(f"recipe {path} cannot be read: {error}") from None
    _merge(table, values or {})
    texts = dict(_split(override) for override in overrides)
    for key, text in texts.items():
        _set(table, key, _value(text))
    for field in dataclasses.fields(kind):  # type: ignore[arg-type]
        value = table.get(field.name)
        if isinstance(value, dict) and dataclasses.is_dataclass(field.default):
            table[field.name] = to_table(field.default) | value
    try:
        TypeAdapter(kind).validate_python(table)
    except ValidationError as error:  # a short hash or a prompt can look like a number
        for key in {".".join(map(str, item["loc"])) for item in error.errors() if item["type"] == "string_type"}:
            if key in texts:
                _set(table, key, texts[key])
    where = kind.__name__ if values is not None else "command line"
    return from_table(kind, table, str(path) if path else where)


def from_table(kind: type[R], table: object, where: str) -> R:
    """Make a `kind` from plain values; `where` names their origin in error messages.

    Raises: ConfigError if a key is unknown or missing, or a value is invalid.
    """
    try:
        return TypeAdapter(kind).validate_python(table)
    except ValidationError as error:
        raise ConfigError(f"{where}: {_explain(kind, error)}") from None


def to_table(config: object) -> Table:
    """Return a recipe as plain JSON values, with defaults filled in."""
    table: Table = TypeAdapter(type(config)).dump_python(config, mode="json")
    return table


def canonical_json(value: object) -> bytes:
    """Return the JSON of a value with sorted keys and no spaces, over which recipes and artefacts are hashed."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def recipe_keys(kind: type) -> list[str]:
    """Return all keys of a recipe class, nested ones with dots."""
    keys = []
    for field in dataclasses.fields(kind):
        inner = [f"{field.name}.{key}" for nested in _nested(field.type) for key in recipe_keys(nested)]
        keys += inner if inner and not _is_list(field.type) else [field.name, *inner]
    return list(dict.fromkeys(keys))


def _split(override: str) -> tuple[str, str]:
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise ConfigError(f"'{override}' is not key=value: write it like steps=200 or data.path=texts")
    return key, text


def _value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _set(table: Table, key: str, value: Any) -> None:
    *parents, last = key.split(".")
    for parent in parents:
        table = table.setdefault(parent, {})
        if not isinstance(table, dict):
            raise ConfigError(f"key '{key}': '{parent}' is a value, not a table")
    table[last] = value


def _merge(table: Table, values: Mapping[str, Any]) -> None:
    """Set values in a table; a mapping is merged into the table of the same key."""
    for key, value in values.items():
        if isinstance(value, Mapping) and isinstance(table.get(key), dict):
            _merge(table[key], value)
        else:
            table[key] = value


def _nested(kind: object) -> Iterator[type]:
    """Yield the recipe classes in a type: the type itself, or the members of a union or list."""
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        yield kind
    for part in get_args(kind):
        yield from _nested(part)


def _is_list(kind: object) -> bool:
    return get_origin(kind) is list or any(_is_list(part) for part in get_args(kind))


def _class_names(kind: type) -> set[str]:
    inner = [nested for field in dataclasses.fields(kind) for nested in _nested(field.type)]
    return {kind.__name__}.union(*map(_class_names, inner))


def _explain(kind: type, error: ValidationError) -> str:
    errors = error.errors()
    # For a union pydantic reports the errors of every member. Those of members with another `kind` are not meant.
    other_kinds = [item["loc"][:-1] for item in errors if item["loc"][-1:] == ("kind",)]
    errors = [item for item in errors if item["loc"][:-1] not in other_kinds] or errors
    unknown = ("unexpected_keyword_argument", "extra_forbidden")
    first = min(errors, key=lambda item: item["type"] not in unknown)  # a misspelt key makes another one missing
    classes = _class_names(kind)  # pydantic adds a class name to the location where there is a union
    key = ".".join(str(part) for part in first["loc"] if not _names_kind(str(part), classes))
    if first["type"] in unknown:
        plain = ".".join(part for part in key.split(".") if not part.isdigit())
        table, dot, last = plain.rpartition(".")
        new_key = _renamed(kind).get(last)
        if f"{table}{dot}{new_key}" in recipe_keys(kind):  # a table's former key means nothing in another table
            return f"key '{key}' is now called '{new_key}': rename it"
        close = difflib.get_close_matches(plain, [name for name in recipe_keys(kind) if name != plain], n=1, cutoff=0.0)
        return f"unknown key '{key}': the nearest is '{close[0]}'" if close else f"unknown key '{key}'"
    if first["type"] in ("missing", "missing_argument", "missing_keyword_only_argument"):
        return f"key '{key}' is missing: add it to the recipe or as {key}=..."
    if first["type"] in ("list_type", "tuple_type"):
        return f"key '{key}' = {first['input']!r}: expected a list, in a shell '{key}=[\"A\", \"B\"]'"
    message = first["msg"].removeprefix("Value error, ")
    return f"key '{key}' = {first['input']!r}: {message}" if key else message


def _renamed(kind: type) -> dict[str, str]:
    """Return the `RENAMED` tables of a recipe class and of those nested in it: former key to present key."""
    own: dict[str, str] = dict(getattr(kind, "RENAMED", {}))
    for field in dataclasses.fields(kind):
        for inner in _nested(field.type):
            own |= _renamed(inner)
    return own


def _names_kind(part: str, classes: set[str]) -> bool:
    return part.startswith(("literal[", "list[")) or part.rstrip("]").rpartition(" ")[2] in classes
