"""Tests of text extraction, with wrong charsets and pages built to keep parsers busy."""

import contextlib
import time
from datetime import UTC, datetime

import pytest

from baicai.errors import MachineError
from baicai.wholesale.processing.text_extraction import Extractor, NoTextError, extract, extractor_version
from baicai.wholesale.sources.captures import Capture

PAGE = (
    "<html><head><title> A \n title </title><style>p {}</style></head><body><nav><a href=x>Home</a></nav>"
    "<main><h1>Käse</h1><p>The first paragraph says something of cheese.</p><script>evil()</script>"
    "<p>The second one ends here.</p></main></body></html>"
)


def capture(content: bytes, media_type: str = "text/html", charset: str = "") -> Capture:
    return Capture("https://a.example/", datetime(2026, 1, 1, tzinfo=UTC), media_type, charset, content)


@pytest.mark.parametrize(
    ("content", "charset"),
    [
        (PAGE.encode(), "utf-8"),
        (PAGE.encode(), ""),
        (PAGE.encode(), "no-such-charset"),
        (PAGE.encode("latin-1"), "iso-8859-1"),
        (PAGE.encode("latin-1"), "utf-8"),
        (PAGE.encode("utf-16"), "utf-16"),
    ],
)
@pytest.mark.parametrize("extractor", ["resiliparse", "trafilatura"])
def test_title_and_text_of_a_page_are_extracted(content: bytes, charset: str, extractor: Extractor) -> None:
    title, text = extract(capture(content, charset=charset), extractor)
    assert title == "A title"
    assert "Käse" in text
    assert "The second one ends here." in text
    assert "evil" not in text
    assert "p {}" not in text


def test_plain_text_is_unchanged() -> None:
    assert extract(capture(b"a\n\n  b\0c\n", "text/plain"), "resiliparse") == ("", "a\n\n  bc")


@pytest.mark.parametrize(
    ("content", "media_type", "reason"),
    [
        (b"%PDF-1.7", "application/pdf", "media type application/pdf"),
        (b"x", "", "media type unknown"),
        (b"", "text/plain", "no text"),
        (b"<html><body></body></html>", "text/html", "no text"),
        (b"<div>" * 200_000 + b"x", "text/html", "overgrown markup"),
        (b"<div>x" * 5000 + b"</div>" * 5000, "text/html", "overgrown markup"),
        (("<div>" * 20_000).encode("utf-16"), "text/html", "overgrown markup"),
        (b"<p " + b" ".join(b"a%d=1" % number for number in range(100_000)) + b">x", "text/html", "overgrown markup"),
    ],
)
def test_captures_without_text_have_a_reason(content: bytes, media_type: str, reason: str) -> None:
    begun = time.monotonic()
    with pytest.raises(NoTextError, match=reason):
        extract(capture(content, media_type), "resiliparse")
    assert time.monotonic() - begun < 20


@pytest.mark.parametrize(
    "page",
    [
        "<p>x" * 20_000,
        "<li>x" * 20_000,
        "<br>x" * 20_000,
        "&amp;" * 200_000,
        "<!--" + "a" * 500_000,
        "<![CDATA[x" * 20_000,
        "<select>" * 900 + "<option>x" * 10_000,
        "x" + "<" * 100_000,
        "<a href='" + "x" * 500_000,
        "<p>" + "wide " * 100_000,
        "\0\ud800".encode("utf-8", "surrogatepass").decode("utf-8", "replace") + "<p>x",
    ],
    ids=lambda page: repr(page[:12]),
)
def test_hostile_pages_are_parsed_quickly(page: str) -> None:
    begun = time.monotonic()
    with contextlib.suppress(NoTextError):
        extract(capture(page.encode()), "resiliparse")
    assert time.monotonic() - begun < 20, "without limits some take hours"


def test_missing_extractor_is_reported() -> None:
    assert extractor_version("resiliparse").startswith("resiliparse 2")
    with pytest.raises(MachineError, match=r"nobody is not installed: pip install 'baicai\[data,nobody\]'"):
        extractor_version("nobody")  # type: ignore[arg-type]
