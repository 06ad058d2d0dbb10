"""One pass over captures: text extraction, language, quality signals, personal data and MinHash."""

import functools
import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import xxhash

from baicai.artefact import atomic_folder, file_hash, value_hash, write_json
from baicai.config import canonical_json, recipe, to_table
from baicai.wholesale.processing import pii, quality_signals
from baicai.wholesale.processing.decontamination import benchmark_hashes, load_benchmarks
from baicai.wholesale.processing.licences import licence_class
from baicai.wholesale.processing.minhash import PERMUTATIONS, minhash
from baicai.wholesale.processing.text_extraction import (
    Extractor,
    NoTextError,
    extract,
    extractor_for,
    extractor_version,
)
from baicai.wholesale.sources import wikitext
from baicai.wholesale.sources.captures import Capture, read_captures
from baicai.wholesale.sources.warc import SkipCounts
from baicai.wholesale.text_kernels import Hashes

VERSION = 1
"""Increase when the same captures give other documents."""
UNVERSIONED_COLUMNS = ("quality", "language_score", "permission", "benchmark_overlap")
"""Columns that may change without giving the document a new version."""
BATCH_DOCUMENTS, BATCH_CHARACTERS = 512, 4 * 2**20
LANGUAGE_CHARACTERS = 1000
"""Length of the sample, from the middle of a text, by which its language is identified."""

SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("url", pa.string()),
        ("host", pa.string()),
        ("fetched", pa.timestamp("s", "UTC")),
        ("title", pa.string()),
        ("text", pa.string()),
        ("version", pa.string()),
        ("domain", pa.string()),
        ("language", pa.string()),
        ("language_score", pa.float32()),
        ("licence", pa.string()),
        ("licence_class", pa.string()),
        ("extractor", pa.string()),
        ("permission", pa.string()),
        ("quality", pa.float32()),
        ("benchmark_overlap", pa.float32()),
        *((name, pa.float32()) for name in quality_signals.COLUMNS),
        *((name, pa.int32()) for name in pii.COLUMNS),
    ]
)
"""Columns of a document. `id` is the hash of its URL, `version` a hash of its content and metadata."""


@recipe
class CleanConfig:
    """Options for turning captures into documents."""

    extractor: Extractor = "resiliparse"
    mask_personal: bool = False
    """Replace e-mail addresses, telephone numbers and network addresses by their type, as in <email>."""
    domain: str = "web"
    licence: str = "unknown"
    """SPDX id for captures that do not name a licence themselves."""
    benchmarks: list[str] = field(default_factory=list)
    """Files and folders of benchmarks. Each document records the share of its words that also occur in them."""


class _Row(NamedTuple):
    values: dict[str, str | float | datetime]
    words_W: Hashes


def document_id(url: str) -> str:
    """Return the id of the document at a URL."""
    return hashlib.sha256(url.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def task_name(captures: Path, config: CleanConfig) -> str:
    """Return the name of the folder for the output of `clean`, a hash of the captures and the settings."""
    extractors = [extractor_version(config.extractor), wikitext.NAME]
    settings = [VERSION, to_table(config), extractors, benchmark_hashes(config.benchmarks)]
    return value_hash([file_hash(captures), settings])[:32]


def clean(captures: Path, config: CleanConfig, out: Path) -> None:
    """Clean the captures of a WARC file.

    Writes the folder `out` with documents.parquet, signatures.npy (the MinHashes of the documents), and report.json,
    which counts the documents and, by reason, the skipped captures.
    """
    skips: SkipCounts = Counter()
    written = 0
    with atomic_folder(out) as part, pq.ParquetWriter(part / "documents.parquet", SCHEMA, compression="zstd") as table:
        minhashes = [np.empty((0, PERMUTATIONS), np.uint32)]
        for rows in _batches(_rows(captures, config, skips)):
            table.write_table(pa.Table.from_pylist([row.values for row in rows], SCHEMA))
            minhashes.append(minhash([row.words_W for row in rows]))
            written += len(rows)
        np.save(part / "signatures.npy", np.concatenate(minhashes))
        write_json(part / "report.json", {"documents": written, "skipped": dict(sorted(skips.items()))})


def _rows(captures: Path, config: CleanConfig, skips: SkipCounts) -> Iterator[_Row]:
    extractor = extractor_version(config.extractor)
    for capture in read_captures(captures, skips):
        try:
            title, text = extract(capture, config.extractor)
        except NoTextError as error:
            skips[str(error)] += 1
            continue
        yield make_row(capture, title, text, config, extractor_for(capture, extractor))


def make_row(capture: Capture, title: str, text: str, config: CleanConfig, extractor: str) -> _Row:
    """Return a document as a row of `SCHEMA`, with the hashes of its words."""
    pii_counts = pii.count_pii(text)
    if config.mask_personal and any(pii_counts.values()):
        text = pii.mask_pii(text)
    signals, words_W = quality_signals.compute_signals(text)
    language, score = _language(text)
    licence = capture.licence or config.licence
    values: dict[str, str | float | datetime] = {
        "id": document_id(capture.url),
        "url": capture.url,
        "host": (urlsplit(capture.url).hostname or "") if "//" in capture.url else "",
        "fetched": capture.fetched.astimezone(UTC),
        "title": title,
        "text": text,
        "domain": config.domain,
        "language": language,
        "language_score": score,
        "licence": licence,
        "licence_class": licence_class(licence),
        "extractor": extractor,
        "permission": capture.permission,
        "quality": quality_signals.quality_score(signals),
        "benchmark_overlap": load_benchmarks(tuple(config.benchmarks)).overlap(text) if config.benchmarks else 0.0,
    }
    versioned = {key: str(value) for key, value in values.items() if key not in UNVERSIONED_COLUMNS}
    values["version"] = xxhash.xxh3_128_hexdigest(canonical_json(versioned))
    return _Row(values | dict(zip(quality_signals.COLUMNS, signals.tolist(), strict=True)) | pii_counts, words_W)


def _language(text: str) -> tuple[str, float]:
    start = max(0, (len(text) - LANGUAGE_CHARACTERS) // 2)
    language, score = _identifier().classify(text[start : start + LANGUAGE_CHARACTERS])
    return str(language), float(score)


@functools.cache
def _identifier() -> Any:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)


def _batches(rows: Iterator[_Row]) -> Iterator[list[_Row]]:
    batch: list[_Row] = []
    characters = 0
    for row in rows:
        batch.append(row)
        characters += len(str(row.values["text"]))
        if len(batch) == BATCH_DOCUMENTS or characters >= BATCH_CHARACTERS:
            yield batch
            batch, characters = [], 0
    if batch:
        yield batch
