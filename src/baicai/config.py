"""Recipes: a frozen dataclass, read from TOML and `key=value` overrides."""

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


@dataclass_transform(kw_only_default=True, frozen_default=True)
def recipe(kind: type[R]) -> type[R]:
    """Make a recipe or size class: frozen, keywords only, types checked, unknown keys refused with ConfigError."""
    settings = ConfigDict(extra="forbid", allow_inf_nan=False)
    made = cast(type[R], _dataclass(kind, frozen=True, kw_only=True, config=settings))
    checked: Any = made.__init__

    @functools.wraps(checked)
    def begin(self: R, **values: Any) -> None:
        try:
            checked(self, **values)
        except ValidationError as error:
            raise ConfigError(f"{kind.__name__}: {_explain(made, error)}") from None

    setattr(made, "__init__", begin)  # noqa: B010  (mypy lets no method be assigned)
    return made


def read_recipe(
    kind: type[R], path: Path | None = None, overrides: Sequence[str] = (), *, values: Mapping[str, Any] | None = None
) -> R:
    """Return a `kind` from a TOML file and `key=value` overrides, which win; dots reach into tables.

    A value is read as TOML where it parses, else, and where the key wants a string, as it is: `steps=20`, `out=runs/a`.
    A table that is given in part keeps the recipe's own defaults in the rest.
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
    _merge(table, values or {})
    texts = dict(_split(override) for override in overrides)
    for key, text in texts.items():
        _set(table, key, _value(text))
    for field in dataclasses.fields(kind):  # type: ignore[arg-type]
        given = table.get(field.name)
        if isinstance(given, dict) and dataclasses.is_dataclass(field.default):
            table[field.name] = to_table(field.default) | given
    try:
        TypeAdapter(kind).validate_python(table)
    except ValidationError as error:  # a short hash or a prompt may look like a number
        for key in {".".join(map(str, one["loc"])) for one in error.errors() if one["type"] == "string_type"}:
            if key in texts:
                _set(table, key, texts[key])
    where = kind.__name__ if values is not None else "command line"
    return from_table(kind, table, str(path) if path else where)


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


def canonical_json(value: object) -> bytes:
    """Return JSON with sorted keys and no spaces: what recipes and artefacts are hashed over."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def recipe_keys(kind: type) -> list[str]:
    """Return every key of a recipe class, nested ones with dots."""
    found = []
    for field in dataclasses.fields(kind):
        inner = [f"{field.name}.{key}" for one in _nested(field.type) for key in recipe_keys(one)]
        found += inner if inner and not _is_list(field.type) else [field.name, *inner]
    return list(dict.fromkeys(found))


def _split(override: str) -> tuple[str, str]:
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise ConfigError(f"'{override}' is not key=value: write it as steps=200 or data.path=texts")
    return key, text


def _value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _set(table: dict[str, Any], key: str, value: Any) -> None:
    *parents, last = key.split(".")
    for parent in parents:
        table = table.setdefault(parent, {})
        if not isinstance(table, dict):
            raise ConfigError(f"key '{key}': '{parent}' is a value, not a table")
    table[last] = value


def _merge(table: dict[str, Any], values: Mapping[str, Any]) -> None:
    """Set values in a table; a mapping is merged into the table of the same key."""
    for key, value in values.items():
        if isinstance(value, Mapping) and isinstance(table.get(key), dict):
            _merge(table[key], value)
        else:
            table[key] = value


def _nested(kind: object) -> Iterator[type]:
    """Yield the recipe classes in a type: itself, or those of a union or a list."""
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        yield kind
    for part in get_args(kind):
        yield from _nested(part)


def _is_list(kind: object) -> bool:
    return get_origin(kind) is list or any(_is_list(part) for part in get_args(kind))


def _class_names(kind: type) -> set[str]:
    inner = [one for field in dataclasses.fields(kind) for one in _nested(field.type)]
    return {kind.__name__}.union(*map(_class_names, inner))


def _explain(kind: type, error: ValidationError) -> str:
    errors = error.errors()
    other_kinds = [one["loc"][:-1] for one in errors if one["loc"][-1:] == ("kind",)]  # members of a union not meant
    errors = [one for one in errors if one["loc"][:-1] not in other_kinds] or errors
    unknown = ("unexpected_keyword_argument", "extra_forbidden")
    first = min(errors, key=lambda one: one["type"] not in unknown)  # a misspelt key makes another one missing
    classes = _class_names(kind)  # which pydantic puts into the place where there is a union
    key = ".".join(str(part) for part in first["loc"] if not _names_kind(str(part), classes))
    if first["type"] in unknown:
        if new_key := _renamed(kind).get(key.rpartition(".")[2]):
            return f"key '{key}' is now called '{new_key}': rename it"
        plain = ".".join(part for part in key.split(".") if not part.isdigit())
        close = difflib.get_close_matches(plain, [one for one in recipe_keys(kind) if one != plain], n=1, cutoff=0.0)
        return f"unknown key '{key}': the nearest is '{close[0]}'" if close else f"unknown key '{key}'"
    if first["type"] in ("missing", "missing_argument", "missing_keyword_only_argument"):
        return f"key '{key}' is missing: add it to the recipe or as {key}=..."
    if first["type"] in ("list_type", "tuple_type"):
        return f"key '{key}' = {first['input']!r}: a list is wanted, in a shell '{key}=[\"A\", \"B\"]'"
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
