"""Text extraction from captures."""

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
    """The capture has no text. The message is a short reason, by which skipped captures are counted."""


def extract(capture: Capture, extractor: Extractor) -> tuple[str, str]:
    """Extract the title, which may be empty, and the text of a capture.

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
    """Return the name and version of an extractor, which are recorded with each document.

    Raises: MachineError if it is not installed.
    """
    try:
        return f"{extractor} {version(extractor)}"
    except ModuleNotFoundError:
        raise MachineError(f"{extractor} is not installed: pip install 'baicai[data,{extractor}]'") from None


def extractor_for(capture: Capture, html_extractor: str) -> str:
    """Return the name and version of the extractor that applies to a capture; wikitext has its own."""
    return NAME if capture.media_type == WIKITEXT else html_extractor


def _decode(capture: Capture) -> str:
    """Decode a capture. The declared charset may be wrong, so UTF-8 and a detected one are tried as well."""
    detected = detect_encoding(capture.content, from_html_meta=capture.media_type in HTML) or "utf-8"
    try:
        return bytes_to_str(capture.content, capture.charset or detected, "replace", ("utf-8", detected))
    except LookupError:  # the declared charset does not exist
        return bytes_to_str(capture.content, detected, "replace")


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
