"""One pass over captures: text, language, the numbers of all rules, personal data, signature."""

import functools
import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import field
from datetime import UTC
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
from baicai.wholesale.processing.decontamination import fingerprints, load_benchmarks
from baicai.wholesale.processing.licences import licence_class
from baicai.wholesale.processing.minhash import PERMUTATIONS, minhash
from baicai.wholesale.processing.text_extraction import Extractor, NoTextError, extract, extractor_of, extractor_version
from baicai.wholesale.sources import wikitext
from baicai.wholesale.sources.captures import Capture, read_captures
from baicai.wholesale.sources.warc import SkipCounts
from baicai.wholesale.text_kernels import Hashes

VERSION = 1
"""To be raised when the same captures give other documents."""
UNTOLD = ("quality", "language_score", "permission", "benchmark_overlap")
"""What may change while a document stays the same."""
BATCH_DOCUMENTS, BATCH_CHARACTERS = 512, 4 * 2**20
LANGUAGE_CHARACTERS = 1000
"""What of a text, from its middle, its language is told by."""

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
"""Of a document. `id` is that of its address, `version` a hash of what it says."""


@recipe
class CleanConfig:
    """How captures become documents."""

    extractor: Extractor = "resiliparse"
    mask_personal: bool = False
    """Replace e-mail addresses, telephone numbers and network addresses by their kind."""
    domain: str = "web"
    licence: str = "unknown"
    """SPDX id of captures that do not say their own."""
    benchmarks: list[str] = field(default_factory=list)
    """Files and folders of benchmarks: of each document it is told what share of its words they have, too."""


class _Row(NamedTuple):
    values: dict[str, Any]
    words_W: Hashes


def document_id(url: str) -> str:
    """Return the id of the document at an address."""
    return hashlib.sha256(url.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def task_name(captures: Path, config: CleanConfig) -> str:
    """Return the name under which what `clean` gives is kept: the same captures and settings have the same."""
    extractors = [extractor_version(config.extractor), wikitext.NAME]
    settings = [VERSION, to_table(config), extractors, fingerprints(config.benchmarks)]
    return value_hash([file_hash(captures), settings])[:32]


def clean(captures: Path, config: CleanConfig, out: Path) -> None:
    """Write the folder `out`: documents.parquet, signatures.npy, and report.json, which counts what was left out."""
    skips: SkipCounts = Counter()
    written = 0
    with atomic_folder(out) as part, pq.ParquetWriter(part / "documents.parquet", SCHEMA, compression="zstd") as table:
        signatures = [np.empty((0, PERMUTATIONS), np.uint32)]
        for rows in _batches(_rows(captures, config, skips)):
            table.write_table(pa.Table.from_pylist([row.values for row in rows], SCHEMA))
            signatures.append(minhash([row.words_W for row in rows]))
            written += len(rows)
        np.save(part / "signatures.npy", np.concatenate(signatures))
        write_json(part / "report.json", {"documents": written, "skipped": dict(sorted(skips.items()))})


def _rows(captures: Path, config: CleanConfig, skips: SkipCounts) -> Iterator[_Row]:
    extractor = extractor_version(config.extractor)
    for capture in read_captures(captures, skips):
        try:
            title, text = extract(capture, config.extractor)
        except NoTextError as error:
            skips[str(error)] += 1
            continue
        yield make_row(capture, title, text, config, extractor_of(capture, extractor))


def make_row(capture: Capture, title: str, text: str, config: CleanConfig, extractor: str) -> _Row:
    """Return a document as a row of `SCHEMA`, and the hashes of its words."""
    found = pii.count_pii(text)
    if config.mask_personal and any(found.values()):
        text = pii.mask_pii(text)
    numbers, words_W = quality_signals.compute_signals(text)
    language, score = _language(text)
    licence = capture.licence or config.licence
    values = {
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
        "quality": quality_signals.quality_score(numbers),
        "benchmark_overlap": load_benchmarks(tuple(config.benchmarks)).share(text) if config.benchmarks else 0.0,
    }
    told = {key: str(value) for key, value in values.items() if key not in UNTOLD}
    values["version"] = xxhash.xxh3_128_hexdigest(canonical_json(told))
    return _Row(values | dict(zip(quality_signals.COLUMNS, numbers.tolist(), strict=True)) | found, words_W)


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
        characters += len(row.values["text"])
        if len(batch) == BATCH_DOCUMENTS or characters >= BATCH_CHARACTERS:
            yield batch
            batch, characters = [], 0
    if batch:
        yield batch
