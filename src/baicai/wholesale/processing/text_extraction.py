"""From a capture to its text."""

from collections.abc import Callable, Mapping
from importlib.metadata import version
from typing import Literal

from resiliparse.extract.html2text import extract_plain_text
from resiliparse.parse.encoding import bytes_to_str, detect_encoding
from resiliparse.parse.html import HTMLTree

from baicai.errors import MachineError
from baicai.wholesale.sources.captures import Capture
from baicai.wholesale.sources.html_limits import exceeds_html_limits
from baicai.wholesale.sources.media_types import HTML, PLAIN, WIKITEXT
from baicai.wholesale.sources.wikitext import NAME, wikitext_to_text

Extractor = Literal["resiliparse", "trafilatura"]


class NoTextError(Exception):
    """A capture holds no text: the message is the reason, a few words that are counted."""


def extract(capture: Capture, extractor: Extractor) -> tuple[str, str]:
    """Return the title, which may be empty, and the text of a capture.

    Raises: NoTextError.
    """
    if capture.media_type not in (*HTML, *PLAIN, WIKITEXT):
        raise NoTextError(f"media type {capture.media_type or 'unknown'}")
    page = _decode(capture)
    if capture.media_type in HTML and exceeds_html_limits(page):
        raise NoTextError("overgrown markup")
    if capture.media_type in HTML:
        title, text = EXTRACTORS[extractor](page)
    else:
        title, text = capture.title, wikitext_to_text(page) if capture.media_type == WIKITEXT else page
    text = text.replace("\0", "").strip()
    if not text:
        raise NoTextError("no text")
    return " ".join(title.split()), text


def extractor_version(extractor: Extractor) -> str:
    """Return name and version of an extractor: what is recorded beside each document that it was asked for.

    Raises: MachineError if it is not installed.
    """
    try:
        return f"{extractor} {version(extractor)}"
    except ModuleNotFoundError:
        raise MachineError(f"{extractor} is not installed: pip install 'baicai[data,{extractor}]'") from None


def extractor_of(capture: Capture, asked: str) -> str:
    """Return name and version of what a capture's text comes from: pages that are no HTML have their own."""
    return NAME if capture.media_type == WIKITEXT else asked


def _decode(capture: Capture) -> str:
    """Return the characters of a capture, by the charset that fits: what the source says may be wrong."""
    guessed = detect_encoding(capture.content, from_html_meta=capture.media_type in HTML) or "utf-8"
    try:
        return bytes_to_str(capture.content, capture.charset or guessed, "replace", ("utf-8", guessed))
    except LookupError:  # a charset that there is not
        return bytes_to_str(capture.content, guessed, "replace")


def _resiliparse(page: str) -> tuple[str, str]:
    tree = HTMLTree.parse(page)
    text = extract_plain_text(tree, main_content=True, alt_texts=False)
    return tree.title or "", text or extract_plain_text(tree, alt_texts=False)


def _trafilatura(page: str) -> tuple[str, str]:
    import trafilatura

    tree = trafilatura.load_html(page)
    if tree is None:
        return "", ""
    return tree.findtext(".//title") or "", trafilatura.extract(tree, include_comments=False, deduplicate=False) or ""


EXTRACTORS: Mapping[Extractor, Callable[[str], tuple[str, str]]] = {
    "resiliparse": _resiliparse,
    "trafilatura": _trafilatura,
}
