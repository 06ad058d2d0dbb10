"""What a release says of itself: a card for people, `card.html`, and Croissant metadata for programs, `croissant.json`.

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
Counts = Mapping[str, Mapping[str, int]]
"""Documents by domain, language, licence, year and quality, the last in tenths from `0.0` up."""
TITLES = {"domain": "Domains", "language": "Languages", "licence": "Licences", "year": "Years in which it was fetched"}
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
"""What the specification asks for, word by word: readers compare it."""


def write_card(folder: Path, manifest: Manifest, counts: Counts, key: str, description: str, url: str) -> None:
    """Write both files beside a release's manifest, which `key` (hex) signs."""
    text = description or f"Public text: {sum(counts['domain'].values()):,} documents, cleaned, without duplicates."
    write_json(folder / CROISSANT, croissant(manifest, text, url))
    write_atomic(folder / CARD, card(manifest, counts, key, text, url))


def croissant(manifest: Manifest, description: str, url: str) -> dict[str, Any]:
    """Return a release as Croissant metadata; addresses of files are relative to it."""
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
    every = {
        "@type": "cr:FileSet",
        "@id": SHARDS,
        "name": SHARDS,
        "description": "Documents as JSON lines, compressed with zstd; one domain, language and licence each.",
        "encodingFormat": "application/jsonlines",
        "includes": f"{SHARDS}/*{SUFFIX}",
    }
    told = {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "name": manifest.name,
        "description": description,
        "url": url,
        "version": f"{manifest.version}.0.0",
        "datePublished": manifest.created,
        "license": sorted({shard.licence for shard in manifest.shards}),
        "distribution": [every, *files],
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
    return {name: value for name, value in told.items() if value}


def _field(name: str, kind: str) -> dict[str, Any]:
    return {
        "@type": "cr:Field",
        "@id": f"documents/{name}",
        "name": name,
        "dataType": kind,
        "source": {"fileSet": {"@id": SHARDS}, "extract": {"column": name}},
    }


def card(manifest: Manifest, counts: Counts, key: str, description: str, url: str) -> bytes:
    """Render the page about a release."""
    return render_page(
        _TEMPLATE,
        manifest=manifest,
        description=description,
        url=url if re.match("https?://", url) else "",
        tiles={
            "documents": f"{sum(counts['domain'].values()):,}",
            "megabytes to pull it all": f"{sum(shard.size_bytes for shard in manifest.shards) / 1e6:,.1f}",
            "languages": f"{len(counts['language']):,}",
            "documents taken back so far": f"{len({id_ for entry in manifest.takedowns for id_ in entry.documents}):,}",
        },
        charts={title: _bars(counts[name]) for name, title in TITLES.items()},
        quality=[counts["quality"].get(f"0.{tenth}", 0) for tenth in range(10)],
        key=key,
        origin={
            "release": manifest.hash,
            "signed by": key,
            "published": manifest.created,
            "not to be used after": manifest.expires,
            "follows": manifest.previous or "none: it is the first",
            "shards": f"{len(manifest.shards):,}",
        },
    )


def _bars(counts: Mapping[str, int]) -> list[tuple[str, int]]:
    """List the largest counts in descending order, and the sum of the others."""
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    bars, others = ordered[:MAX_BARS], ordered[MAX_BARS:]
    return [*bars, (f"{len(others)} others", sum(count for _, count in others))] if others else bars
