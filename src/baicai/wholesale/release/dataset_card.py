"""Describe a release: `card.html`, a page for people, and `croissant.json`, Croissant metadata for programs.

Source: Croissant format specification 1.0, MLCommons, 2024.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from baicai.artefact import write_atomic, write_json
from baicai.evaluation.html_page import render_page
from baicai.wholesale.processing import pii, quality_signals
from baicai.wholesale.release.manifest import SHARDS, Manifest
from baicai.wholesale.release.shards import SUFFIX

CARD, CROISSANT = "card.html", "croissant.json"
MAX_BARS = 30
"""Bars per chart; the smaller counts are added up in one more bar."""
Counts = Mapping[str, Mapping[str, int]]
"""Number of documents by domain, language, licence, year and quality, the last in tenths from `0.0` up."""
TITLES = {"domain": "Domains", "language": "Languages", "licence": "Licences", "year": "Year of retrieval"}
_TEMPLATE = Path(__file__).parent / "templates" / "dataset_card.html"
_TEXTS = ("id", "url", "host", "title", "text", "domain", "language", "licence", "extractor", "fetched")
_NUMBERS = ("quality", "benchmark_overlap", "language_score", *quality_signals.COLUMNS, *pii.COLUMNS)
_TERMS = (
    "citeAs", "column", "equivalentProperty", "extract", "field", "fileObject", "fileProperty", "fileSet", "format",
    "includes", "isLiveDataset", "jsonPath", "key", "md5", "parentField", "path", "recordSet", "references", "regex",
    "repeated", "replace", "samplingRate", "separator", "source", "subField", "transform",
)  # fmt: skip
_CONTEXT = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "sc": "https://schema.org/",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "dct": "http://purl.org/dc/terms/",
    "conformsTo": "dct:conformsTo",
    "data": {"@id": "cr:data", "@type": "@json"},
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    **{term: f"cr:{term}" for term in _TERMS},
}
"""The context that the specification prescribes; parsers compare it literally."""


def write_card(folder: Path, manifest: Manifest, counts: Counts, key: str, description: str, url: str) -> None:
    """Write both files next to a release's manifest.

    Args:
        counts: Numbers of documents by property and value.
        key: Public key that verifies the manifest, in hex.
        description: Text about the release; a default is used if it is empty.
        url: Home page of the release, or an empty string.
    """
    text = description or f"Public text: {sum(counts['domain'].values()):,} documents, cleaned and deduplicated."
    write_json(folder / CROISSANT, croissant(manifest, text, url))
    write_atomic(folder / CARD, card(manifest, counts, key, text, url))


def croissant(manifest: Manifest, description: str, url: str) -> dict[str, Any]:
    """Build a release's Croissant metadata. File addresses are relative to the metadata file."""
    files = [
        {
            "@type": "cr:FileObject",
            "@id": shard.file,
            "name": f"{shard.file}{SUFFIX}",
            "contentUrl": f"{SHARDS}/{shard.file}{SUFFIX}",
            "contentSize": f"{shard.size_bytes} B",
            "encodingFormat": "application/jsonlines",
            "sha256": shard.file,
        }
        for shard in manifest.shards
    ]
    file_set = {
        "@type": "cr:FileSet",
        "@id": SHARDS,
        "name": SHARDS,
        "description": "Documents as JSON lines, compressed with zstd; one domain, language and licence each.",
        "encodingFormat": "application/jsonlines",
        "includes": f"{SHARDS}/*{SUFFIX}",
    }
    metadata = {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "name": manifest.name,
        "description": description,
        "url": url,
        "version": f"{manifest.version}.0.0",
        "datePublished": manifest.created,
        "license": sorted({shard.licence for shard in manifest.shards}),
        "distribution": [file_set, *files],
        "recordSet": [
            {
                "@type": "cr:RecordSet",
                "@id": "documents",
                "name": "documents",
                "key": {"@id": "documents/id"},
                "field": [
                    *(_field(name, "sc:Text") for name in _TEXTS),
                    *(_field(name, "sc:Float") for name in _NUMBERS),
                ],
            }
        ],
    }
    return {name: value for name, value in metadata.items() if value}


def _field(name: str, data_type: str) -> dict[str, Any]:
    return {
        "@type": "cr:Field",
        "@id": f"documents/{name}",
        "name": name,
        "dataType": data_type,
        "source": {"fileSet": {"@id": SHARDS}, "extract": {"column": name}},
    }


def card(manifest: Manifest, counts: Counts, key: str, description: str, url: str) -> bytes:
    """Render the page about a release."""
    removed = {document for takedown in manifest.takedowns for document in takedown.documents}
    return render_page(
        _TEMPLATE,
        manifest=manifest,
        description=description,
        url=url if re.match("https?://", url) else "",
        tiles={
            "documents": f"{sum(counts['domain'].values()):,}",
            "megabytes in total": f"{sum(shard.size_bytes for shard in manifest.shards) / 1e6:,.1f}",
            "languages": f"{len(counts['language']):,}",
            "documents removed so far": f"{len(removed):,}",
        },
        charts={title: _bars(counts[name]) for name, title in TITLES.items()},
        quality=[counts["quality"].get(f"0.{tenth}", 0) for tenth in range(10)],
        key=key,
        origin={
            "release hash": manifest.hash,
            "signed by": key,
            "published": manifest.created,
            "expires": manifest.expires,
            "previous release": manifest.previous or "none, this is the first",
            "shards": f"{len(manifest.shards):,}",
        },
    )


def _bars(counts: Mapping[str, int]) -> list[tuple[str, int]]:
    """List the largest counts in descending order, and the sum of the others."""
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    bars, others = ordered[:MAX_BARS], ordered[MAX_BARS:]
    return [*bars, (f"{len(others)} others", sum(count for _, count in others))] if others else bars
