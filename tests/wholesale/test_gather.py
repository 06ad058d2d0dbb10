"""Tests of gathering each type of source: documents, their URLs, and the counts."""

import bz2
import gzip
import json
import random
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from baicai.artefact import read_json
from baicai.wholesale.gather import GatherRecipe, GatherSourceConfig, gather
from baicai.wholesale.processing.clean import CleanConfig
from baicai.wholesale.release.warehouse import Warehouse
from baicai.wholesale.sources.captures import CaptureWriter
from tests.wholesale.sources.test_archives import tarred, zipped
from tests.wholesale.sources.test_captures import capture
from tests.wholesale.sources.test_mediawiki_dump import FOOT, HEAD, page


def gathered(tmp_path: Path, path: Path, url: str = "https://a.example/x") -> tuple[dict[str, dict[str, Any]], Any]:
    """Gather a source. Returns its documents by URL, and the counts."""
    source = GatherSourceConfig(path=str(path), base_url=url, clean=CleanConfig(licence="CC-BY-SA-4.0"))
    warehouse = tmp_path / "warehouse"
    counts = gather(GatherRecipe(sources=[source], workers=1), warehouse)
    tasks = [Warehouse(warehouse).documents_folder(file.task) for file in Warehouse(warehouse).gathered_files()]
    rows = [row for task in tasks for row in pq.read_table(task / "documents.parquet").to_pylist()]
    assert not list((warehouse / "captures").rglob("member*")), "no extracted member is left"
    return {row["url"]: row for row in rows}, counts


def warc(folder: Path) -> bytes:
    writer = CaptureWriter(folder / "sample.warc.gz")
    writer.write(capture(1))
    writer.close()
    content = (folder / "sample.warc.gz").read_bytes()
    (folder / "sample.warc.gz").unlink()
    return content


def members(folder: Path) -> dict[str, bytes]:
    pq.write_table(pa.table({"text": ["Parquet one.", None]}), folder / "sample.parquet")
    parquet = (folder / "sample.parquet").read_bytes()
    (folder / "sample.parquet").unlink()
    return {
        "a.txt": b"Plain.",
        "b/c.html": b"<html><title>T</title><p>Marked up.</p></html>",
        "d.txt.gz": gzip.compress(b"Packed."),
        "e.jsonl": b'{"text": "Line one."}\nbad\n{"text": "Line two.", "id": "https://b.example/2", "license": "MIT"}',
        "f.parquet": parquet,
        "g.warc.gz": warc(folder),
        "h.xml.bz2": bz2.compress((HEAD + page("Seite", "Ein [[Wort]].") + page("R", "x", ns=4) + FOOT).encode()),
        "i.xml": b"<feed>other</feed>",
        "j.png": b"\x89PNG",
    }


TEXTS = {
    "a.txt": "Plain.",
    "b/c.html": "Marked up.",
    "d.txt.gz": "Packed.",
    "e.jsonl#e.jsonl:1": "Line one.",
    "f.parquet#f.parquet:1": "Parquet one.",
    "i.xml": "<feed>other</feed>",
}
ELSEWHERE = {
    "https://b.example/2": "Line two.",
    "https://example.org/1": "Page 1\n\nGrüße von Seite 1.",
    "https://de.example/wiki/Seite": "Ein Wort.",
}
SKIPPED = {"bad line": 1, "bad row": 1, "other namespace": 1, "media type image/png": 1}


@pytest.mark.parametrize("kind", ["folder", "zip", "tar", "folder with zip"])
def test_archive_members_are_read_like_files(tmp_path: Path, kind: str) -> None:
    path, content = tmp_path / "source", members(tmp_path)
    prefix = ""
    if kind == "folder":
        for name, member in content.items():
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            (path / name).write_bytes(member)
    elif kind == "folder with zip":
        path.mkdir()
        (path / "m.zip").write_bytes(zipped(content))
        prefix = "m.zip/"
    else:
        path = tmp_path / f"source.{kind}"
        path.write_bytes((zipped if kind == "zip" else tarred)(content))
    rows, counts = gathered(tmp_path, path)
    expected = {f"https://a.example/x/{prefix}{name}": text for name, text in TEXTS.items()}
    assert {url: row["text"] for url, row in rows.items() if url in expected} == expected
    assert {url: row["text"] for url, row in rows.items() if url in ELSEWHERE}.keys() == ELSEWHERE.keys()
    assert counts == {"documents": len(rows)} | {f"skipped: {reason}": count for reason, count in SKIPPED.items()}
    wiki, html = rows["https://de.example/wiki/Seite"], rows[f"https://a.example/x/{prefix}b/c.html"]
    assert (wiki["title"], wiki["text"], wiki["licence"]) == ("Seite", "Ein Wort.", "CC-BY-SA-4.0")
    assert (wiki["extractor"], wiki["fetched"].year) == ("baicai-wikitext 1", 2024)
    assert html["extractor"].startswith("resiliparse 2")
    assert rows["https://b.example/2"]["licence"] == "MIT"
    assert gathered(tmp_path, path) == (rows, counts), "gathering again changes nothing"


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.zip", b"no archive", "damaged archive"),
        ("a.tar.gz", b"no archive", "damaged archive"),
        ("a.jsonl", b"no JSON", "bad line"),
        ("a.parquet", b"no table", "cannot be read"),
        ("a.jsonl.gz", b"no gzip", "cannot be read"),
        ("a.txt.bz2", b"no bzip2", "cannot be read"),
        ("a.xml", (HEAD + page("A", "x")[:-20]).encode(), "cut off"),
        ("a.xml", b'<!DOCTYPE a [<!ENTITY b "c">]>' + HEAD.encode(), "a document type"),
    ],
)
def test_unreadable_source_is_counted(tmp_path: Path, name: str, content: bytes, reason: str) -> None:
    (tmp_path / name).write_bytes(content)
    assert gathered(tmp_path, tmp_path / name) == ({}, {"documents": 0, f"skipped: {reason}": 1})


def test_truncated_table_gives_its_complete_lines(tmp_path: Path) -> None:
    lines = b"".join(b'{"text": "%s"}\n' % random.Random(number).randbytes(300).hex().encode() for number in range(500))
    content = gzip.compress(lines)
    (tmp_path / "a.jsonl.gz").write_bytes(content[: len(content) // 2])
    rows, counts = gathered(tmp_path, tmp_path / "a.jsonl.gz")
    assert 200 < len(rows) < 300
    assert counts == {"documents": len(rows), "skipped: cannot be read": 1}


def test_table_that_is_a_decompression_bomb_is_skipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("baicai.wholesale.sources.decompression_limits.FREE_BYTES", 2**20)
    (tmp_path / "a.tar").write_bytes(tarred({"a.jsonl.gz": gzip.compress(b" " * 2**24), "b.txt": b"x"}))
    rows, counts = gathered(tmp_path, tmp_path / "a.tar")
    assert (len(rows), counts) == (1, {"documents": 1, "skipped: unpacks to far too much": 1})


def test_record_cannot_inject_header_fields(tmp_path: Path) -> None:
    record = {"text": "x", "id": "https://a.example/\r\nX-Licence: CC0-1.0\ud800", "license": "no\r\nX-Title: t\udfff"}
    (tmp_path / "a.jsonl").write_text(json.dumps(record))
    rows, _ = gathered(tmp_path, tmp_path / "a.jsonl")
    ((url, row),) = rows.items()
    assert (url, row["licence"], row["title"]) == ("https://a.example/ X-Licence: CC0-1.0?", "no X-Title: t?", "")


def test_captures_keep_the_original_content(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(zipped({"a.xml": (HEAD + page("A", "'''a'''") + FOOT).encode()}))
    gathered(tmp_path, tmp_path / "a.zip")
    (gathered_file,) = Warehouse(tmp_path / "warehouse").gathered_files()
    assert b"'''a'''" in gzip.decompress(Path(gathered_file.captures).read_bytes()), (
        "so that extraction can be repeated"
    )
    assert read_json(Path(gathered_file.captures).parent / "skipped.json") == {}
