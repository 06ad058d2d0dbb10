"""Reference of `wholesale/text_kernels.py`: the quality signals in plain Python."""

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
    for match in re.finditer(r"[^\s\x1c-\x1f]+", text):
        start = match.start()
        for index in range(match.start(), match.end()):
            last = index + 1 == match.end()
            if is_solo(text[index]) or last or is_solo(text[index + 1]):
                spans.append((start, index + 1))
                start = index + 1
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


def lowercase(word: str) -> str:
    return "".join(chr(ord(char) + 32) if "A" <= char <= "Z" else char for char in word)


def ngrams(text: str, words: Sequence[Span], n: int) -> list[tuple[tuple[str, ...], Span]]:
    texts = [lowercase(text[start:stop]) for start, stop in words]
    return [(tuple(texts[i : i + n]), (words[i][0], words[i + n - 1][1])) for i in range(len(words) - n + 1)]


def top(text: str, words: Sequence[Span], n: int) -> float:
    occurrences = ngrams(text, words, n)
    counts = Counter(ngram for ngram, _ in occurrences)
    highest = max(counts.values(), default=0)
    if highest < 2:
        return 0.0
    last = dict(occurrences)  # the length of an n-gram in characters is that of its last occurrence
    lengths = [last[ngram][1] - last[ngram][0] for ngram in counts if counts[ngram] == highest]
    return min(1.0, highest * max(lengths) / len(text))


def duplicate(text: str, words: Sequence[Span], n: int) -> float:
    seen: set[tuple[str, ...]] = set()
    covered: set[int] = set()
    for ngram, (start, stop) in ngrams(text, words, n):
        if ngram in seen:
            covered.update(range(start, stop))
        seen.add(ngram)
    return len(covered) / max(1, len(text))


def compute_signals(text: str) -> dict[str, float]:
    words, lines, paragraphs = find_words(text), find_lines(text), find_paragraphs(text)
    texts = [text[start:stop] for start, stop in words]
    by_words, rows = max(1, len(words)), [text[start:stop] for start, stop in lines]
    by_lines = max(1, len(rows))
    numbers: dict[str, float] = {
        "characters": len(text),
        "words": len(words),
        "lines": len(rows),
        "gopher_bullet_lines": sum(row[0] in BULLETS for row in rows) / by_lines,
        "gopher_ellipsis_lines": sum(row.endswith(("...", "…")) for row in rows) / by_lines,
        "c4_terminal_lines": sum(row[-1] in TERMINALS for row in rows) / by_lines,
        "fineweb_short_lines": sum(len(row) <= 30 for row in rows) / by_lines,
        "gopher_mean_word_length": sum(map(len, texts)) / by_words,
        "gopher_alphabetic_words": sum(any(char.isalpha() for char in word) for word in texts) / by_words,
        "gopher_stop_words": len(set(STOP_WORDS) & {lowercase(word) for word in texts}),
        "gopher_hash_word_ratio": text.count("#") / by_words,
        "gopher_ellipsis_word_ratio": (text.count("…") + len(re.findall(r"\.{3,}", text))) / by_words,
        "c4_sentences": sentences(text),
        "fineweb_newline_word_ratio": max(0, len(rows) - 1) / by_words,
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
    """Count runs of terminal marks before space or the end, or before anything if the last mark is not ASCII."""
    count = 0
    for char, following in itertools.pairwise(text + " "):
        if char in TERMINALS and following not in TERMINALS and (following.isspace() or ord(char) > 127):
            count += 1
    return count
