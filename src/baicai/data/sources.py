"""Text sources of a recipe."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field

from baicai.artefact import home_folder
from baicai.config import Count, recipe, to_table
from baicai.data.shards import TokenShards, cached_shards
from baicai.data.tokenizer import Tokenizer
from baicai.errors import ConfigError


def _expand_sources(value: Any) -> Any:
    """Expand plain paths to sources, and name a source without a domain after its path."""
    tables = value if isinstance(value, list) else [value]
    tables = [{"path": entry} if isinstance(entry, str) else entry for entry in tables]
    return [
        {"domain": _default_domain(str(table["path"]))} | table
        if isinstance(table, dict) and "path" in table
        else table
        for table in tables
    ]


def _default_domain(path: str) -> str:
    return Path(path.partition("?")[0].rpartition(":")[2]).name.partition(".")[0] or "text"


@recipe
class SourceConfig:
    """One source of text."""

    path: str
    """A file or folder, `hf:NAME`, or `generator:NAME?key=value`."""
    domain: str = "text"
    """Name of the domain, by default from the path."""
    weight: Annotated[float, Field(gt=0, le=1e9)] = 1.0
    """Share of the training mix, relative to the other sources."""
    licence: str = "unknown"
    """SPDX identifier for documents that do not name their own licence."""
    max_tokens: Count | None = None
    """Use only about this many tokens from the start; None uses all."""


def _check_domains_differ(sources: list[SourceConfig]) -> list[SourceConfig]:
    names = [source.domain for source in sources]
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(
                f"two sources have the domain '{name}': give each its own, as {{path = ..., domain = ...}}"
            )
    return sources


Sources = Annotated[list[SourceConfig], BeforeValidator(_expand_sources), AfterValidator(_check_domains_differ)]
"""Recipe field: one or more sources with distinct domains; a plain path is enough."""


def open_source(source: SourceConfig, tokenizer: Tokenizer) -> TokenShards:
    """Open a source as token shards; they are tokenized once and cached in the user's folder.

    Raises: DataError if the text is empty or cannot be read.
    """
    return cached_shards(
        source.path, tokenizer, home_folder() / "shards", licence=source.licence, max_tokens=source.max_tokens
    )


def open_sources(sources: list[SourceConfig], tokenizer: Tokenizer) -> dict[str, TokenShards]:
    """Open sources as token shards, by domain.

    Raises: DataError if a text is empty or cannot be read.
    """
    return {source.domain: open_source(source, tokenizer) for source in sources}


def describe_sources(shards: Mapping[str, TokenShards]) -> list[dict[str, Any]]:
    """Describe training data for a card: domain, manifest hash, counts and licences, but no text."""
    return [
        {
            "domain": domain,
            "manifest": source.hash,
            "tokens": source.num_tokens,
            "bytes": source.num_bytes,
            "licences": source.manifest.licences,
            **({"receipt": to_table(receipt)} if (receipt := source.manifest.receipt) else {}),
        }
        for domain, source in shards.items()
    ]
