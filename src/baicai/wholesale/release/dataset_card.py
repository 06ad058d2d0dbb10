"""What a release says of itself: a card for people, `card.html`, and Croissant metadata for programs, `croissant.json`.

Source: Croissant format specification 1.0, MLCommons, 2024.
"""

import re
from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any

from baicai.artefact import write_atomic, write_json
from baicai.evaluation.html_page import facts, page, tiles
from baicai.wholesale.processing import pii, quality_signals
from baicai.wholesale.release.manifest import SHARDS, Manifest
from baicai.wholesale.release.shards import SUFFIX

CARD, CROISSANT = "card.html", "croissant.json"
MAX_BARS = 30
Counts = Mapping[str, Mapping[str, int]]
"""Documents by domain, language, licence, year and quality, the last in tenths from `0.0` up."""
TITLES = {"domain": "Domains", "language": "Languages", "licence": "Licences", "year": "Years in which it was fetched"}
_STYLE = """<style>a{color:var(--accent)}.bars td:last-child{width:60%}.bars i{display:block;height:.8rem;min-width:1px;
background:var(--accent);border-radius:.15rem}.bars{width:100%}svg{max-width:36rem;width:100%;height:auto}
svg rect{fill:var(--accent)}svg text{fill:var(--faint);font-size:11px;text-anchor:middle}pre{overflow-x:auto}</style>"""
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
    """Return a page about a release."""
    title = f"{escape(manifest.name)}, version {manifest.version}"
    size = sum(shard.size_bytes for shard in manifest.shards)
    taken = len({one for takedown in manifest.takedowns for one in takedown.documents})
    numbers = {
        "documents": f"{sum(counts['domain'].values()):,}",
        "megabytes to pull it all": f"{size / 1e6:,.1f}",
        "languages": f"{len(counts['language']):,}",
        "documents taken back so far": f"{taken:,}",
    }
    link = f'<p><a href="{escape(url)}">{escape(url)}</a></p>' if re.match("https?://", url) else ""
    origin = {
        "release": manifest.hash,
        "signed by": key,
        "published": manifest.created,
        "not to be used after": manifest.expires,
        "follows": manifest.previous or "none: it is the first",
        "shards": f"{len(manifest.shards):,}",
    }
    parts = [
        _STYLE,
        f'<p class="kicker">白菜 Baicai · release</p><h1>{title}</h1><p>{escape(description)}</p>{link}',
        tiles(numbers),
        *(f"<h2>{heading}</h2>{_bars(counts[name])}" for name, heading in TITLES.items()),
        '<h2>Quality</h2><p class="note">The share of the published quality rules (Gopher, C4, FineWeb) that a '
        f"document keeps, from 0 to 1. Who pulls it chooses where to cut.</p>{_columns(counts['quality'])}",
        "<h2>To pull it</h2><p>For instance, of the address that this page has, without its last part:</p><pre><code>"
        f'baicai data pull ADDRESS key={key} --slice "quality&gt;0.6" --out DIR</code></pre>',
        facts("What it is", {name: f"<code>{value}</code>" for name, value in origin.items()}),
    ]
    return page(title, "".join(parts))


def _bars(counts: Mapping[str, int]) -> str:
    ordered = sorted(counts.items(), key=lambda one: (-one[1], one[0]))
    shown, others = ordered[:MAX_BARS], ordered[MAX_BARS:]
    if others:
        shown.append((f"{len(others)} others", sum(count for _, count in others)))
    most = max((count for _, count in shown), default=1)
    rows = "".join(
        f'<tr><th>{escape(name)}</th><td>{count:,}</td><td><i style="width:{100 * count / most:.1f}%"></i></td></tr>'
        for name, count in shown
    )
    return f'<div class="wide"><table class="bars"><tbody>{rows}</tbody></table></div>'


def _columns(counts: Mapping[str, int]) -> str:
    most = max([1, *counts.values()])
    drawn = ""
    for number in range(10):
        count = counts.get(f"0.{number}", 0)
        height = 100 * count / most
        x, label = number * 40 + 20, f"from 0.{number}: {count:,} documents"
        drawn += f'<rect x="{x}" y="{120 - height:.1f}" width="36" height="{height:.1f}"><title>{label}</title></rect>'
        drawn += f'<text x="{x}" y="138">0.{number}</text>'
    drawn += '<text x="420" y="138">1</text>'
    return f'<svg viewBox="0 0 440 145" role="img" aria-label="documents by quality">{drawn}</svg>'
