"""Where a recipe's text comes from."""

from collections.abc import Mapping
from typing import Any

from baicai.artefact import home
from baicai.config import recipe
from baicai.data.shards import TokenShards, cached_shards
from baicai.data.tokenizer import Tokenizer


@recipe
class SourceConfig:
    """One source of text."""

    path: str
    """A file or folder, `hf:NAME`, or `generator:NAME?key=value`."""
    domain: str = "text"
    weight: float = 1.0
    """Share of the training mix, relative to the other sources."""
    licence: str = "unknown"
    """SPDX id for documents that do not say their own."""
    max_tokens: int | None = None
    """Use only about the first so many tokens."""


def open_source(source: SourceConfig, tokenizer: Tokenizer) -> TokenShards:
    """Return the source as token shards, tokenized once and kept in the project's home folder.

    Raises: DataError if the text is empty or cannot be read.
    """
    return cached_shards(
        source.path, tokenizer, home() / "shards", licence=source.licence, max_tokens=source.max_tokens
    )


def lineage(shards: Mapping[str, TokenShards]) -> list[dict[str, Any]]:
    """Return what a card says of its data: domain, manifest hash, counts and licences; never the text."""
    return [
        {
            "domain": domain,
            "manifest": one.hash,
            "tokens": one.num_tokens,
            "bytes": one.num_bytes,
            "licences": one.manifest["licences"],
        }
        for domain, one in shards.items()
    ]
