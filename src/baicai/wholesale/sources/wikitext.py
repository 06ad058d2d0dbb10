"""From wikitext to text, in one pass whose time grows with the length of the page alone.

The parsers that there are go back where something was opened and not closed, and can be kept busy with that
(docs/log.md). Here what was opened and never closed has been read as text all the time.

Left out: templates, tables, references, files, categories, comments, magic words. Links become their text, headings and
lists stay as lines.
"""

import re
from html import unescape
from typing import NamedTuple

VERSION = 1
"""To be raised when the same wikitext gives another text."""
NAME = f"baicai-wikitext {VERSION}"
"""What is recorded beside each document."""
MAX_DEPTH = 100
"""Of what is open at once; MediaWiki stops at 40 templates."""
FILES, CATEGORIES = "File", "Category"
"""The names of these namespaces that every wiki knows."""
LEFT_OUT = frozenset(
    {"file", "image", "media", "category", "bild", "datei", "kategorie", "fichier", "catégorie", "archivo", "categoría"}
    | {"imagen", "immagine", "categoria", "imagem", "ficheiro", "bestand", "afbeelding", "categorie", "plik", "grafika"}
    | {"kategoria", "файл", "изображение", "категория", "ファイル", "画像", "カテゴリ", "文件", "图像", "图片", "分类"}
    | {"檔案", "圖像", "分類", "파일", "분류"}
)
"""Namespaces whose links are no text. A dump names its own, which its reader turns into File and Category; a wiki may
also know other names of them, which no dump tells."""
MEDIA = re.compile(r"(?i)[^:]+:[^\n]*\.(jpe?g|png|svg|gif|tiff?|webp|ogg|og[av]|webm|mp[34]|wav|mid|pdf|djvu)\s*")
LANGUAGE_LINK = re.compile(r"[a-z]{2,3}(-[a-z]+)*:")
RAW = frozenset({"nowiki", "pre", "math", "chem", "ce", "source", "syntaxhighlight"})
"""Elements whose content is text, and no wikitext."""
DROPPED = frozenset(
    {"ref", "references", "gallery", "timeline", "score", "imagemap", "hiero", "graph", "mapframe", "maplink", "style"}
    | {"templatedata", "templatestyles", "indicator", "inputbox", "section", "script", "categorytree", "phonos"}
)
BLOCKS = frozenset({"br", "p", "div", "hr", "li", "ul", "ol", "dl", "dt", "dd", "blockquote", "center", "poem"})
TOKEN = re.compile(
    r"""(?xm)
      (?P<comment><!--)
    | <(?P<end>/?)(?P<tag>[a-zA-Z][a-zA-Z0-9]*)(?P<rest>[^<>]*)>
    | (?P<braces>\{{2,}) | (?P<closing_braces>\}{2,})
    | (?P<table>^[ \t:*\#]*\{\|) | (?P<closing_table>^[ \t]*\|\}(?!\}))
    | (?P<link>\[\[) | (?P<address>\[(?=https?://|//|ftp://|mailto:)[^\s\[\]<>|{}]*) | (?P<closing_brackets>\]+)
    | (?P<pipe>\|) | (?P<quotes>'{2,}) | (?P<word>__\w{1,40}?__)"""
)
VARIANT = re.compile(r"-\{([^{}]*)\}-")
ENTITY = re.compile(r"&(?:#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z]\w{1,31});")
BLANKS, LINES = re.compile(r"[ \t]+"), re.compile(r"\n{3,}")


class _Open(NamedTuple):
    """Something that was opened: where its content starts among the pieces, and what closes it."""

    kind: str
    start: int


def wikitext_to_text(page: str) -> str:
    """Return what a reader of the page would read."""
    reader = _Reader(VARIANT.sub(_variant, page))
    reader.read()
    lines = (_line(line) for line in "".join(reader.pieces).split("\n"))
    text = LINES.sub("\n\n", "\n".join(line for line in lines if line is not None))
    return ENTITY.sub(lambda found: unescape(found[0]), text).strip()


class _Reader:
    """Reads a page into pieces of text; what turns out to be no text is taken out of them when it is closed."""

    def __init__(self, page: str) -> None:
        self.pieces: list[str] = []
        self._page, self._at = page, 0
        self._open: list[_Open] = []
        self._pipes: list[int] = []
        """For each that is open, where its first pipe is among the pieces; -1 if there was none."""
        self._endless: set[str] = set()
        """Elements that are not closed any more."""

    def read(self) -> None:
        """Read to the end."""
        while found := TOKEN.search(self._page, self._at):
            if found.start() > self._at:
                self.pieces.append(self._page[self._at : found.start()])
            self._at = found.end()
            kind, token = found.lastgroup, found[0]
            if kind == "comment":
                end = self._page.find("-->", self._at)
                self._at = end + 3 if end >= 0 else len(self._page)
            elif kind == "rest":
                self._element(found["tag"].lower(), bool(found["end"]), found["rest"].endswith("/"))
            elif kind == "pipe":
                if self._open and self._pipes[-1] < 0:
                    self._pipes[-1] = len(self.pieces)
                self.pieces.append(token)
            elif kind in ("braces", "closing_braces"):
                self._braces(len(token), closing=kind == "closing_braces")
            elif kind in ("table", "link", "address"):
                self._push(kind)
            elif kind == "closing_table":
                self._drop("table")
            elif kind == "closing_brackets":
                self._brackets(len(token))
            elif kind == "quotes":
                self.pieces.append("'" if len(token) == 4 else "")
            elif token != token.upper():  # a word between underscores that is no magic word
                self.pieces.append(token)
        self.pieces.append(self._page[self._at :])

    def _push(self, kind: str) -> None:
        if len(self._open) < MAX_DEPTH:
            self._open.append(_Open(kind, len(self.pieces)))
            self._pipes.append(-1)

    def _find(self, *kinds: str) -> int:
        """Return the innermost of these kinds that is open, or -1."""
        return next((n for n in range(len(self._open) - 1, -1, -1) if self._open[n].kind in kinds), -1)

    def _drop(self, *kinds: str) -> int:
        """Close the innermost of these kinds, which is no text, and return its place; -1 if none is open."""
        place = self._find(*kinds)
        if place >= 0:
            del self.pieces[self._open[place].start :]
            del self._open[place:], self._pipes[place:]
        return place

    def _braces(self, count: int, *, closing: bool) -> None:
        """Open or close templates, and what three braces stand around, which is a template's parameter."""
        if not closing:
            for _ in range(count // 2 - count % 2):
                self._push("template")
            if count % 2:
                self._push("parameter")
            return
        while count >= 2 and (place := self._find("template", "parameter")) >= 0:
            count -= 3 if count >= 3 and self._open[place].kind == "parameter" else 2
            self._drop("template", "parameter")

    def _brackets(self, count: int) -> None:
        while count:
            place = self._find("link", "address")
            if place < 0 or (count == 1 and self._open[place].kind == "link"):
                self.pieces.append("]" * count)
                return
            count -= 2 if self._open[place].kind == "link" else 1
            start, pipe = self._open[place].start, self._pipes[place]
            if self._open[place].kind == "link":
                target = "".join(self.pieces[start : pipe if pipe >= 0 else None])
                if _is_left_out(target.strip(), labelled=pipe >= 0):
                    del self.pieces[start:]
                elif pipe >= 0:
                    del self.pieces[start : pipe + 1]
                elif target.lstrip().startswith(":"):
                    self.pieces[start:] = [target.lstrip().removeprefix(":")]
            del self._open[place:], self._pipes[place:]

    def _element(self, tag: str, ends: bool, empty: bool) -> None:
        """Pass a tag, and where its content is no wikitext, the whole element."""
        if tag in BLOCKS:
            self.pieces.append("\n")
        if ends or empty or tag in self._endless or tag not in RAW | DROPPED:
            return
        closing = re.compile(rf"(?i)</{tag}\s*>").search(self._page, self._at)
        if closing is None:
            self._endless.add(tag)
            return
        if tag in RAW:
            self.pieces.append(self._page[self._at : closing.start()])
        self._at = closing.end()


def _is_left_out(target: str, *, labelled: bool) -> bool:
    """Return whether a link is a file or a category, or leads to the same page in another language."""
    space = target.partition(":")[0].strip(" _").lower() if ":" in target else ""
    return space in LEFT_OUT or bool(MEDIA.match(target) or (not labelled and LANGUAGE_LINK.match(target)))


def _variant(found: re.Match[str]) -> str:
    """Return what `-{...}-` says: a text, or one for each way of writing a language, of which the first is taken."""
    flags, bar, text = found[1].rpartition("|")
    if bar and not {"A", "R"} & set(flags.split(";")):  # others change the title, or what comes later
        return ""
    language, colon, first = text.partition(":")
    return first.partition(";")[0].strip() if colon and LANGUAGE_LINK.fullmatch(f"{language.strip()}:") else text


def _line(line: str) -> str | None:
    """Return a line without the marks of headings and lists, or None if it is what is left of a table."""
    line = BLANKS.sub(" ", line).strip()
    if line.startswith(("|", "!", "{|")):
        return None
    if line.startswith("=") and line.endswith("=") and line.strip("= "):
        return line.strip("= ")
    marks = len(line) - len(line.lstrip("*#:;"))
    content = line[marks:].strip()
    if marks:
        return f"- {content}" if content and line[marks - 1] in "*#" else content
    return "" if line.startswith("----") and not line.strip("-") else line
