"""Where a recipe's text comes from."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field

from baicai.artefact import home_folder
from baicai.config import Count, recipe
from baicai.data.shards import TokenShards, cached_shards
from baicai.data.tokenizer import Tokenizer
from baicai.errors import ConfigError


def _named(value: Any) -> Any:
    """Let a plain path stand for a source, and a source without a domain be named after its path."""
    tables = value if isinstance(value, list) else [value]
    tables = [{"path": one} if isinstance(one, str) else one for one in tables]
    return [
        {"domain": Path(str(one["path"]).partition("?")[0].rpartition(":")[2]).name.partition(".")[0] or "text"} | one
        if isinstance(one, dict) and "path" in one
        else one
        for one in tables
    ]


@recipe
class SourceConfig:
    """One source of text."""

    path: str
    """A file or folder, `hf:NAME`, or `generator:NAME?key=value`."""
    domain: str = "text"
    weight: Annotated[float, Field(gt=0, le=1e9)] = 1.0
    """Share of the training mix, relative to the other sources."""
    licence: str = "unknown"
    """SPDX id for documents that do not say their own."""
    max_tokens: Count | None = None
    """Use only about the first so many tokens."""


def _distinct(sources: list[SourceConfig]) -> list[SourceConfig]:
    names = [source.domain for source in sources]
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(
                f"two sources have the domain '{name}': give each its own, as {{path = ..., domain = ...}}"
            )
    return sources


Sources = Annotated[list[SourceConfig], BeforeValidator(_named), AfterValidator(_distinct)]
"""What a recipe takes: sources, each of a domain of its own, or simply a path."""


def open_source(source: SourceConfig, tokenizer: Tokenizer) -> TokenShards:
    """Return the source as token shards, tokenized once and kept in the project's home folder.

    Raises: DataError if the text is empty or cannot be read.
    """
    return cached_shards(
        source.path, tokenizer, home_folder() / "shards", licence=source.licence, max_tokens=source.max_tokens
    )


def open_sources(sources: list[SourceConfig], tokenizer: Tokenizer) -> dict[str, TokenShards]:
    """Return the sources as token shards, by domain.

    Raises: DataError if a text is empty or cannot be read.
    """
    return {source.domain: open_source(source, tokenizer) for source in sources}


def describe_sources(shards: Mapping[str, TokenShards]) -> list[dict[str, Any]]:
    """Return what a card says of its data: domain, manifest hash, counts and licences; never the text."""
    return [
        {
            "domain": domain,
            "manifest": one.hash,
            "tokens": one.num_tokens,
            "bytes": one.num_bytes,
            "licences": one.manifest["licences"],
            **({"receipt": one.manifest["receipt"]} if "receipt" in one.manifest else {}),
        }
        for domain, one in shards.items()
    ]
