"""Tests of complete, truncated and hostile MediaWiki dumps."""

import bz2
import gzip
import random
import tracemalloc
import zlib
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
import zstandard

from baicai.wholesale.processing.text_extraction import extract, extractor_for
from baicai.wholesale.sources.captures import Capture
from baicai.wholesale.sources.mediawiki_dump import is_dump, read_dump

HEAD = """<mediawiki xmlns="http://www.mediawiki.org/xml/export-0.11/" version="0.11" xml:lang="de">
  <siteinfo>
    <sitename>Wikipedia</sitename>
    <base>https://de.example/wiki/Wikipedia:Hauptseite</base>
    <namespaces>
      <namespace key="0" case="first-letter" />
      <namespace key="6" case="first-letter">Datei</namespace>
      <namespace key="14" case="first-letter">Rubrik</namespace>
    </namespaces>
  </siteinfo>
"""
FOOT = "</mediawiki>\n"


def page(title: str, text: str, ns: int = 0, more: str = "", model: str = "wikitext") -> str:
    return f"""  <page>
    <title>{title}</title>
    <ns>{ns}</ns>
    <id>7</id>{more}
    <revision>
      <id>8</id>
      <timestamp>2024-05-06T07:08:09Z</timestamp>
      <contributor><username>Someone</username><id>9</id></contributor>
      <model>{model}</model>
      <format>text/x-wiki</format>
      <text bytes="99" xml:space="preserve">{text}</text>
    </revision>
  </page>
"""


PAGES = [page(f"Seite {number}", f"'''Seite''' {number} &amp; mehr. [[Rubrik:Alle]]") for number in range(50)]
DUMP = (HEAD + "".join(PAGES) + FOOT).encode()
COMPRESSORS: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".zst": zstandard.ZstdCompressor().compress,
}


def read(path: Path) -> tuple[list[Capture], list[str]]:
    results = list(read_dump(path, "file:"))
    return [item for item in results if isinstance(item, Capture)], [item for item in results if isinstance(item, str)]


def read_pages(tmp_path: Path, *pages: str) -> tuple[list[Capture], list[str]]:
    path = tmp_path / "a.xml"
    path.write_text(HEAD + "".join(pages) + FOOT)
    return read(path)


@pytest.mark.parametrize("ending", COMPRESSORS)
def test_articles_of_a_dump_are_read(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"dewiki.xml{ending}"
    path.write_bytes(COMPRESSORS[ending](DUMP))
    assert is_dump(path)
    captures, skips = read(path)
    assert (len(captures), skips) == (50, [])
    first = captures[0]
    assert (first.url, first.title, first.media_type) == ("https://de.example/wiki/Seite_0", "Seite 0", "text/x-wiki")
    assert first.fetched == datetime(2024, 5, 6, 7, 8, 9, tzinfo=UTC)
    assert first.content.decode() == "'''Seite''' 0 & mehr. [[Category:Alle]]", "the canonical name of the namespace"
    assert extract(first, "resiliparse") == ("Seite 0", "Seite 0 & mehr.")
    assert extractor_for(first, "resiliparse 2") == "baicai-wikitext 1"


@pytest.mark.parametrize(
    ("title", "path"),
    [
        ("AC/DC (Band)", "AC/DC_(Band)"),
        ("Käse: 100 %?", "K%C3%A4se:_100_%25%3F"),
        ("C&amp;A", "C%26A"),
        ("甲", "%E7%94%B2"),
    ],
)
def test_urls_are_encoded_as_by_mediawiki(tmp_path: Path, title: str, path: str) -> None:
    captures, _ = read_pages(tmp_path, page(title, "x"))
    assert captures[0].url == f"https://de.example/wiki/{path}"


def test_other_pages_are_counted(tmp_path: Path) -> None:
    captures, skips = read_pages(
        tmp_path,
        page("A", "text"),
        page("B", "#WEITERLEITUNG [[A]]", more='\n    <redirect title="A" />'),
        page("Diskussion:A", "text", ns=1),
        page("C", "{}", model="json"),
        page("D", "text").replace("2024-05-06", "yesterday"),
        page("", "text"),
        "<page></page>",
    )
    assert [capture.title for capture in captures] == ["A"]
    assert sorted(skips) == ["malformed page"] * 3 + ["other content model", "other namespace", "redirect"]


def test_last_revision_counts(tmp_path: Path) -> None:
    old, new = page("A", "old"), page("A", "new")
    both = old.replace("</revision>", "</revision>" + new[new.index("<revision>") : new.index("</page>")])
    captures, _ = read_pages(tmp_path, both)
    assert [capture.content for capture in captures] == [b"new"]


DECOMPRESSORS: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    ".gz": lambda compressed: zlib.decompressobj(31).decompress(compressed),
    ".bz2": lambda compressed: bz2.BZ2Decompressor().decompress(compressed),
    ".zst": lambda compressed: zstandard.ZstdDecompressor().decompressobj().decompress(compressed),
}


@pytest.mark.parametrize("ending", COMPRESSORS)
def test_pages_before_a_cut_are_read(tmp_path: Path, ending: str) -> None:
    rng = random.Random(0)
    pages = [page(f"Seite {number}", rng.randbytes(500).hex()) for number in range(2500)]
    content = COMPRESSORS[ending]((HEAD + "".join(pages) + FOOT).encode())
    path = tmp_path / f"a.xml{ending}"
    content = content[: len(content) * 2 // 3]
    path.write_bytes(content)
    captures, skips = read(path)
    assert skips == ["cut off"]
    assert len(captures) == DECOMPRESSORS[ending](content).count(b"</page>") > 500
    assert [capture.title for capture in captures] == [f"Seite {number}" for number in range(len(captures))]


LOL = '<!DOCTYPE mediawiki [<!ENTITY a "lol"><!ENTITY b "' + "&a;" * 1000 + '"><!ENTITY c "' + "&b;" * 1000 + '">]>'
HOSTILE = {
    "a document type": LOL + HEAD + page("&c;", "&c;"),
    "a document type ": '<!DOCTYPE mediawiki SYSTEM "file:///etc/passwd">' + HEAD + page("A", "x"),
    "a document type  ": '<!DOCTYPE mediawiki [<!ENTITY e SYSTEM "file:///etc/passwd">]>' + HEAD + page("A", "&e;"),
    "malformed XML": HEAD + page("A", "&unknown;"),
    "malformed XML ": HEAD + page("A", "a<b>c</b>"),
    "malformed XML  ": HEAD + page("A", "x").replace("</page>", "</pages>"),
    "nested too deeply": HEAD + "<a>" * 1_000_000,
    "too large": HEAD + page("A", "x" * (64 * 2**20 + 1)),
    "too large ": HEAD + page("A", "&#10;x\n" * (24 * 2**20)),
    "too large  ": HEAD + page("x" * 2**24, "text"),
    "a tag without end": HEAD + "<page a='" + "x" * 2**25,
    "a tag without end ": HEAD + "<!--" + "x" * 2**25,
    "too many names of elements": HEAD + "".join(f"<a{number}/>" for number in range(10**6)),
    "too many names of elements ": HEAD + "".join(f"<a b{number}=''/>" for number in range(10**6)),
}


@pytest.mark.parametrize("reason", HOSTILE)
def test_hostile_dumps_are_counted_and_do_not_fill_memory(tmp_path: Path, reason: str) -> None:
    path = tmp_path / "a.xml.gz"
    path.write_bytes(gzip.compress((HOSTILE[reason] + FOOT).encode(), 1))
    assert is_dump(path)
    tracemalloc.start()
    captures, skips = read(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert not captures
    assert skips[0] == reason.strip()
    assert peak < 200 * 2**20


def test_decompression_bomb_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("baicai.wholesale.sources.decompression_limits.FREE_BYTES", 2**20)
    path = tmp_path / "a.xml.gz"
    path.write_bytes(gzip.compress((HEAD + page("A", "x") + " " * 2**24 + page("B", "x") + FOOT).encode()))
    captures, skips = read(path)
    assert ([capture.title for capture in captures], skips) == (["A"], ["unpacks to far too much"])


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.xml", b"<?xml version='1.0'?><feed><mediawiki/></feed>"),
        ("a.xml", b"no markup"),
        ("a.xml", b""),
        ("a.xml.bz2", b"no bzip2"),
        ("a.txt", DUMP),
    ],
)
def test_other_files_are_not_dumps(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    assert not is_dump(tmp_path / name)


def test_dump_may_begin_with_a_declaration_and_a_comment(tmp_path: Path) -> None:
    (tmp_path / "a.XML").write_bytes(b"\xef\xbb\xbf<?xml version='1.0'?>\n<!-- <made> here -->\n" + DUMP)
    assert is_dump(tmp_path / "a.XML")
    assert len(read(tmp_path / "a.XML")[0]) == 50


@pytest.mark.parametrize("ending", COMPRESSORS)
def test_random_damage_raises_no_error(tmp_path: Path, ending: str) -> None:
    path, rng = tmp_path / f"a.xml{ending}", random.Random(0)
    content = COMPRESSORS[ending](DUMP)
    for _ in range(100):
        damaged = bytearray(content[: rng.randint(1, len(content))] if rng.random() < 0.3 else content)
        for _ in range(rng.randint(0, 8)):
            offset = rng.randrange(len(damaged))
            damaged[offset : offset + rng.randint(0, 9)] = rng.randbytes(rng.randint(0, 9)) or b""
            damaged = damaged or bytearray(b"x")
        path.write_bytes(damaged)
        captures, skips = read(path) if is_dump(path) else ([], [])
        assert len(captures) + len(skips) <= 51
