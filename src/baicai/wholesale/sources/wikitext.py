"""Converts wikitext to text, in one pass and in linear time.

Existing parsers backtrack where something is opened and never closed, so hostile pages can keep them busy
(docs/log.md). Here unclosed markup is treated as text from the start, and removed only when it is closed.

Removed: templates, tables, references, files, categories, comments, magic words. Links become their text, headings and
lists stay as lines.
"""

import re
from html import unescape
from typing import NamedTuple

VERSION = 1
"""Increase when the same wikitext gives another text."""
NAME = f"baicai-wikitext {VERSION}"
"""Name recorded with each document."""
MAX_DEPTH = 100
"""Maximum nesting of markup; MediaWiki itself stops at 40 templates."""
FILES, CATEGORIES = "File", "Category"
"""Canonical names of these namespaces, valid in every wiki."""
REMOVED = frozenset(
    {"file", "image", "media", "category", "bild", "datei", "kategorie", "fichier", "catégorie", "archivo", "categoría"}
    | {"imagen", "immagine", "categoria", "imagem", "ficheiro", "bestand", "afbeelding", "categorie", "plik", "grafika"}
    | {"kategoria", "файл", "изображение", "категория", "ファイル", "画像", "カテゴリ", "文件", "图像", "图片", "分类"}
    | {"檔案", "圖像", "分類", "파일", "분류"}
)
"""Namespaces whose links are removed. The dump reader maps the local names stated in a dump to File and Category; these
are common aliases, which dumps do not list."""
MEDIA = re.compile(r"(?i)[^:]+:[^\n]*\.(jpe?g|png|svg|gif|tiff?|webp|ogg|og[av]|webm|mp[34]|wav|mid|pdf|djvu)\s*")
LANGUAGE_LINK = re.compile(r"[a-z]{2,3}(-[a-z]+)*:")
RAW = frozenset({"nowiki", "pre", "math", "chem", "ce", "source", "syntaxhighlight"})
"""Elements whose content is plain text, not wikitext."""
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
    """Open markup: its kind, and the index of its first fragment."""

    kind: str
    start: int


def wikitext_to_text(page: str) -> str:
    """Convert a page to the text that its readers see."""
    reader = _Reader(VARIANT.sub(_variant, page))
    reader.read()
    lines = (_line(line) for line in "".join(reader.fragments).split("\n"))
    text = LINES.sub("\n\n", "\n".join(line for line in lines if line is not None))
    return ENTITY.sub(lambda match: unescape(match[0]), text).strip()


class _Reader:
    """Splits a page into fragments of text. Markup that is not text is removed when it is closed."""

    def __init__(self, page: str) -> None:
        self.fragments: list[str] = []
        self._page, self._position = page, 0
        self._open: list[_Open] = []
        self._pipes: list[int] = []
        """Index of the first pipe fragment of each open markup, or -1."""
        self._unclosed: set[str] = set()
        """Elements without a closing tag in the rest of the page."""

    def read(self) -> None:
        """Read the page to its end."""
        while match := TOKEN.search(self._page, self._position):
            if match.start() > self._position:
                self.fragments.append(self._page[self._position : match.start()])
            self._position = match.end()
            kind, token = match.lastgroup, match[0]
            if kind == "comment":
                end = self._page.find("-->", self._position)
                self._position = end + 3 if end >= 0 else len(self._page)
            elif kind == "rest":
                self._element(match["tag"].lower(), bool(match["end"]), match["rest"].endswith("/"))
            elif kind == "pipe":
                if self._open and self._pipes[-1] < 0:
                    self._pipes[-1] = len(self.fragments)
                self.fragments.append(token)
            elif kind in ("braces", "closing_braces"):
                self._braces(len(token), closing=kind == "closing_braces")
            elif kind in ("table", "link", "address"):
                self._push(kind)
            elif kind == "closing_table":
                self._drop("table")
            elif kind == "closing_brackets":
                self._brackets(len(token))
            elif kind == "quotes":
                self.fragments.append("'" if len(token) == 4 else "")
            elif token != token.upper():  # a lower-case word between underscores is not a magic word
                self.fragments.append(token)
        self.fragments.append(self._page[self._position :])

    def _push(self, kind: str) -> None:
        if len(self._open) < MAX_DEPTH:
            self._open.append(_Open(kind, len(self.fragments)))
            self._pipes.append(-1)

    def _find_open(self, *kinds: str) -> int:
        """Return the index of the innermost open markup of these kinds, or -1."""
        return next((n for n in range(len(self._open) - 1, -1, -1) if self._open[n].kind in kinds), -1)

    def _drop(self, *kinds: str) -> int:
        """Close and remove the innermost open markup of these kinds. Returns its index, or -1 if none is open."""
        index = self._find_open(*kinds)
        if index >= 0:
            del self.fragments[self._open[index].start :]
            del self._open[index:], self._pipes[index:]
        return index

    def _braces(self, count: int, *, closing: bool) -> None:
        """Open or close templates (two braces) and template parameters (three braces)."""
        if not closing:
            for _ in range(count // 2 - count % 2):
                self._push("template")
            if count % 2:
                self._push("parameter")
            return
        while count >= 2 and (index := self._find_open("template", "parameter")) >= 0:
            count -= 3 if count >= 3 and self._open[index].kind == "parameter" else 2
            self._drop("template", "parameter")

    def _brackets(self, count: int) -> None:
        while count:
            index = self._find_open("link", "address")
            if index < 0 or (count == 1 and self._open[index].kind == "link"):
                self.fragments.append("]" * count)
                return
            count -= 2 if self._open[index].kind == "link" else 1
            start, pipe = self._open[index].start, self._pipes[index]
            if self._open[index].kind == "link":
                target = "".join(self.fragments[start : pipe if pipe >= 0 else None])
                if _is_left_out(target.strip(), labelled=pipe >= 0):
                    del self.fragments[start:]
                elif pipe >= 0:
                    del self.fragments[start : pipe + 1]
                elif target.lstrip().startswith(":"):
                    self.fragments[start:] = [target.lstrip().removeprefix(":")]
            del self._open[index:], self._pipes[index:]

    def _element(self, tag: str, is_closing: bool, is_empty: bool) -> None:
        """Skip a tag, or the whole element if its content is not wikitext."""
        if tag in BLOCKS:
            self.fragments.append("\n")
        if is_closing or is_empty or tag in self._unclosed or tag not in RAW | DROPPED:
            return
        closing = re.compile(rf"(?i)</{tag}\s*>").search(self._page, self._position)
        if closing is None:
            self._unclosed.add(tag)
            return
        if tag in RAW:
            self.fragments.append(self._page[self._position : closing.start()])
        self._position = closing.end()


def _is_left_out(target: str, *, labelled: bool) -> bool:
    """Return whether a link is a file, a category or a link to the same page in another language."""
    namespace = target.partition(":")[0].strip(" _").lower() if ":" in target else ""
    return namespace in REMOVED or bool(MEDIA.match(target) or (not labelled and LANGUAGE_LINK.match(target)))


def _variant(match: re.Match[str]) -> str:
    """Return the text of a `-{...}-` language conversion; of several variants, the first."""
    flags, bar, text = match[1].rpartition("|")
    if bar and not {"A", "R"} & set(flags.split(";")):  # other flags change the title or later text
        return ""
    language, colon, first = text.partition(":")
    return first.partition(";")[0].strip() if colon and LANGUAGE_LINK.fullmatch(f"{language.strip()}:") else text


def _line(line: str) -> str | None:
    """Return a line without heading and list markup, or None if it is a remnant of a table."""
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
