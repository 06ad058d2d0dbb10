"""Tests of writing captures to WARC files and reading them, with damaged records counted and skipped."""

import gzip
import random
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import pytest

from baicai.wholesale.sources.captures import MAX_CAPTURE_BYTES, Capture, CaptureWriter, read_captures
from baicai.wholesale.sources.warc import SkipCounts

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def capture(number: int) -> Capture:
    page = f"<html><title>Page {number}</title><body><p>Grüße von Seite {number}.</p></body></html>"
    return Capture(f"https://example.org/{number}", NOW, "text/html", "utf-8", page.encode(), "CC0-1.0")


def write(path: Path, count: int = 20) -> bytes:
    writer = CaptureWriter(path)
    for number in range(count):
        writer.write(capture(number))
    writer.close()
    return path.read_bytes()


def read(path: Path) -> tuple[list[Capture], SkipCounts]:
    skips: SkipCounts = Counter()
    return list(read_captures(path, skips)), skips


def response(
    body: bytes, head: str = "HTTP/1.1 200 OK\r\nContent-Type: text/html", url: str = "https://a.example/"
) -> bytes:
    block = f"{head}\r\n\r\n".encode() + body
    warc = (
        f"WARC/1.1\r\nWARC-Type: response\r\nWARC-Record-ID: <urn:uuid:00000000-0000-4000-8000-000000000000>\r\n"
        f"WARC-Date: 2026-01-02T03:04:05Z\r\nWARC-Target-URI: https://a.example/\r\n"
        f"Content-Type: application/http; msgtype=response\r\nContent-Length: {len(block)}\r\n\r\n"
    )
    return warc.encode() + block + b"\r\n\r\n"


@pytest.mark.parametrize("compressed", [True, False])
def test_written_captures_are_read_back(tmp_path: Path, compressed: bool) -> None:
    path = tmp_path / "a.warc.gz"
    content = write(path)
    assert content[:2] == b"\x1f\x8b"
    assert gzip.decompress(content).startswith(b"WARC/1.1\r\n")
    if not compressed:
        path.write_bytes(gzip.decompress(content))
    assert read(path) == ([capture(number) for number in range(20)], Counter())


@pytest.mark.parametrize("compressed", [True, False])
@pytest.mark.parametrize("cut", [1, 30, 100, 250])
def test_truncated_file_is_counted(tmp_path: Path, compressed: bool, cut: int) -> None:
    path = tmp_path / "a.warc.gz"
    content = write(path)
    path.write_bytes((content if compressed else gzip.decompress(content))[: -cut - 4])
    captures, skips = read(path)
    assert captures == [capture(number) for number in range(len(captures))]
    assert len(captures) in (18, 19)
    assert sum(skips.values()) >= 1


@pytest.mark.parametrize("compressed", [True, False])
def test_damage_costs_at_most_two_records(tmp_path: Path, compressed: bool) -> None:
    path = tmp_path / "a.warc.gz"
    content = write(path)
    content = content if compressed else gzip.decompress(content)
    originals = [capture(number) for number in range(20)]
    for middle in range(len(content) // 3, len(content) // 2, 29):
        path.write_bytes(content[:middle] + b"\0" * 40 + content[middle + 40 :])
        captures, skips = read(path)
        assert 18 <= len(captures) < 20
        assert sum(skips.values()) >= 1
        expected = {original.url: original.content for original in originals}
        assert all(item.content == expected[item.url] for item in captures)
        assert [item.url for item in captures] == [url for url in expected if url in {item.url for item in captures}]


@pytest.mark.parametrize("junk", [b"hello", b"\0" * 1000, b"\x1f\x8b\x08"])
def test_junk_before_the_first_record_is_skipped(tmp_path: Path, junk: bytes) -> None:
    path = tmp_path / "a.warc.gz"
    path.write_bytes(junk + write(path))
    captures, skips = read(path)
    assert len(captures) == 20
    assert skips


@pytest.mark.parametrize("content", [b"", b"\0" * 100, b"no warc at all", b"\x1f\x8b", b"WARC/1.1"])
def test_other_files_give_no_captures(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.warc").write_bytes(content)
    captures, skips = read(tmp_path / "a.warc")
    assert not captures
    assert bool(skips) == bool(content)


def test_random_damage_raises_no_error(tmp_path: Path) -> None:
    path = tmp_path / "a.warc.gz"
    compressed = write(path)
    rng = random.Random(0)
    for content in (compressed, gzip.decompress(compressed)):
        for _ in range(150):
            damaged = bytearray(content)
            for _ in range(rng.randint(1, 20)):
                offset = rng.randrange(len(damaged))
                damaged[offset : offset + rng.randint(0, 9)] = rng.randbytes(rng.randint(0, 9))
            path.write_bytes(damaged)
            captures, _ = read(path)
            assert len(captures) <= 20


def test_http_responses_are_decoded_and_others_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "a.warc"
    html = "HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=ISO-8859-1"
    path.write_bytes(
        response("Grüße".encode("latin-1"), html)
        + response(gzip.compress(b"packed page"), f"{html}\r\nContent-Encoding: gzip")
        + response(b"5\r\nchunk\r\n3\r\ned!\r\n0\r\n\r\n", f"{html}\r\nTransfer-Encoding: chunked")
        + response(b"gone", "HTTP/1.1 404 Not Found\r\nContent-Type: text/html")
        + response(gzip.compress(b"\0" * (MAX_CAPTURE_BYTES + 1)), f"{html}\r\nContent-Encoding: gzip")
    )
    captures, skips = read(path)
    assert [item.content for item in captures] == ["Grüße".encode("latin-1"), b"packed page", b"chunked!"]
    assert {(item.media_type, item.charset.lower().replace("_", "-")) for item in captures} <= {
        ("text/html", "iso-8859-1"),
        ("text/html", "iso8859-1"),
        ("text/html", "windows-1252"),
        ("text/html", "cp1252"),
    }
    assert skips == {"status 404": 1, "too large when unpacked": 1}
