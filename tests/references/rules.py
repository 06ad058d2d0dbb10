"""Slow twin of `wholesale/counting.py`: the quality rules' numbers in plain Python."""

import itertools
import re
import unicodedata
from collections import Counter
from collections.abc import Sequence

SOLO = ("CJK", "HIRAGANA", "KATAKANA", "THAI", "LAO", "KHMER", "MYANMAR")
TERMINALS = ".?!\"'”’»。！？…」』؟।॥։"
BULLETS = "•‣⁃◦∙▪●○■□–*-"
STOP_WORDS = ("the", "be", "to", "of", "and", "that", "have", "with")
Span = tuple[int, int]


def is_solo(character: str) -> bool:
    return character.isalpha() and (ord(character) >= 0x20000 or unicodedata.name(character, "").startswith(SOLO))


def find_words(text: str) -> list[Span]:
    spans = []
    for found in re.finditer(r"[^\s\x1c-\x1f]+", text):
        start = found.start()
        for at in range(found.start(), found.end()):
            last = at + 1 == found.end()
            if is_solo(text[at]) or last or is_solo(text[at + 1]):
                spans.append((start, at + 1))
                start = at + 1
    return spans


def find_lines(text: str) -> list[Span]:
    spans, at = [], 0
    for line in text.split("\n"):
        if line.strip():
            start = at + len(line) - len(line.lstrip())
            spans.append((start, start + len(line.strip())))
        at += len(line) + 1
    return spans


def find_paragraphs(text: str) -> list[Span]:
    spans: list[Span] = []
    blank = True
    at = 0
    for line in text.split("\n"):
        if not line.strip():
            blank = True
        else:
            start = at + len(line) - len(line.lstrip())
            stop = start + len(line.strip())
            if blank:
                spans.append((start, stop))
            else:
                spans[-1] = (spans[-1][0], stop)
            blank = False
        at += len(line) + 1
    return spans


def repeated(text: str, spans: Sequence[Span]) -> tuple[float, float]:
    seen: set[str] = set()
    count, characters = 0, 0
    for start, stop in spans:
        if text[start:stop] in seen:
            count += 1
            characters += stop - start
        seen.add(text[start:stop])
    return count / max(1, len(spans)), characters / max(1, len(text))


def small(word: str) -> str:
    return "".join(chr(ord(one) + 32) if "A" <= one <= "Z" else one for one in word)


def runs(text: str, words: Sequence[Span], n: int) -> list[tuple[tuple[str, ...], Span]]:
    texts = [small(text[start:stop]) for start, stop in words]
    return [(tuple(texts[at : at + n]), (words[at][0], words[at + n - 1][1])) for at in range(len(words) - n + 1)]


def top(text: str, words: Sequence[Span], n: int) -> float:
    found = runs(text, words, n)
    counts = Counter(run for run, _ in found)
    most = max(counts.values(), default=0)
    if most < 2:
        return 0.0
    # Of each run, the characters that its last place in the text takes.
    last = dict(found)
    return min(1.0, max(most * (last[run][1] - last[run][0]) for run in counts if counts[run] == most) / len(text))


def duplicate(text: str, words: Sequence[Span], n: int) -> float:
    seen: set[tuple[str, ...]] = set()
    covered: set[int] = set()
    for run, (start, stop) in runs(text, words, n):
        if run in seen:
            covered.update(range(start, stop))
        seen.add(run)
    return len(covered) / max(1, len(text))


def compute_signals(text: str) -> dict[str, float]:
    words, lines, paragraphs = find_words(text), find_lines(text), find_paragraphs(text)
    texts = [text[start:stop] for start, stop in words]
    many, rows = max(1, len(words)), [text[start:stop] for start, stop in lines]
    by_lines = max(1, len(rows))
    numbers: dict[str, float] = {
        "characters": len(text),
        "words": len(words),
        "lines": len(rows),
        "gopher_bullet_lines": sum(row[0] in BULLETS for row in rows) / by_lines,
        "gopher_ellipsis_lines": sum(row.endswith(("...", "…")) for row in rows) / by_lines,
        "c4_terminal_lines": sum(row[-1] in TERMINALS for row in rows) / by_lines,
        "fineweb_short_lines": sum(len(row) <= 30 for row in rows) / by_lines,
        "gopher_mean_word_length": sum(map(len, texts)) / many,
        "gopher_alphabetic_words": sum(any(one.isalpha() for one in word) for word in texts) / many,
        "gopher_stop_words": len(set(STOP_WORDS) & {small(word) for word in texts}),
        "gopher_hash_word_ratio": text.count("#") / many,
        "gopher_ellipsis_word_ratio": (text.count("…") + len(re.findall(r"\.{3,}", text))) / many,
        "c4_sentences": sentences(text),
        "fineweb_newline_word_ratio": max(0, len(rows) - 1) / many,
    }
    for name, spans in (("line", lines), ("paragraph", paragraphs)):
        share, characters = repeated(text, spans)
        numbers[f"gopher_duplicate_{name}s"] = share
        numbers[f"gopher_duplicate_{name}_characters"] = characters
    for n in range(2, 5):
        numbers[f"gopher_top_{n}_gram_characters"] = top(text, words, n)
    for n in range(5, 11):
        numbers[f"gopher_duplicate_{n}_gram_characters"] = duplicate(text, words, n)
    return numbers


def sentences(text: str) -> int:
    """Count runs of terminal marks that space, the end or, after one that is not ASCII, anything follows."""
    count = 0
    for this, after in itertools.pairwise(text + " "):
        if this in TERMINALS and after not in TERMINALS and (after.isspace() or ord(this) > 127):
            count += 1
    return count
