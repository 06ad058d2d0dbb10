"""Quality signals: the numbers that published quality filters look at. Subscribers choose their own thresholds.

The rules are those of Gopher (Rae et al., 2021, appendix A1.1), C4 (Raffel et al., 2020, section 2.2) and FineWeb
(Penedo et al., 2024, section 3.6). A word is a run of characters without space, or one character of a script written
without spaces. Words are compared case-insensitively. Blank lines are not counted.
"""

import functools
import unicodedata
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from baicai.wholesale import text_kernels

TERMINALS = ".?!\"'”’»。！？…」』؟।॥։"
BULLETS = "•‣⁃◦∙▪●○■□–*-"
STOP_WORDS = ("the", "be", "to", "of", "and", "that", "have", "with")
"""Gopher's stop words, which are English."""
POLICY_PHRASES = ("terms of use", "privacy policy", "cookie policy", "uses cookies", "use of cookies", "use cookies")
SHORT_LINE_CHARACTERS = 30
TABLE_CODES = 0x20000
"""Characters from this code point on are taken for ideographs, each a word of its own."""
SOLO_NAMES = ("CJK", "HIRAGANA", "KATAKANA", "THAI", "LAO", "KHMER", "MYANMAR")

KERNEL_COLUMNS = (
    "characters",
    "words",
    "lines",
    "gopher_bullet_lines",
    "gopher_ellipsis_lines",
    "c4_terminal_lines",
    "fineweb_short_lines",
    "gopher_mean_word_length",
    "gopher_alphabetic_words",
    "gopher_stop_words",
    "gopher_hash_word_ratio",
    "gopher_ellipsis_word_ratio",
    "c4_sentences",
    "fineweb_newline_word_ratio",
    "gopher_duplicate_lines",
    "gopher_duplicate_line_characters",
    "gopher_duplicate_paragraphs",
    "gopher_duplicate_paragraph_characters",
    *(f"gopher_top_{n}_gram_characters" for n in range(2, 5)),
    *(f"gopher_duplicate_{n}_gram_characters" for n in range(5, 11)),
)
COLUMNS = (*KERNEL_COLUMNS, "c4_curly_brackets", "c4_javascript", "c4_lorem_ipsum", "c4_policy_phrases")
"""Names of the signals: counts, ratios, and shares of the words, lines, paragraphs or characters of a text."""

THRESHOLDS: Mapping[str, tuple[float, float]] = {
    "words": (50, 100_000),
    "gopher_mean_word_length": (3, 10),
    "gopher_hash_word_ratio": (0, 0.1),
    "gopher_ellipsis_word_ratio": (0, 0.1),
    "gopher_bullet_lines": (0, 0.9),
    "gopher_ellipsis_lines": (0, 0.3),
    "gopher_alphabetic_words": (0.8, 1),
    "gopher_stop_words": (2, np.inf),
    "gopher_duplicate_lines": (0, 0.3),
    "gopher_duplicate_line_characters": (0, 0.2),
    "gopher_duplicate_paragraphs": (0, 0.3),
    "gopher_duplicate_paragraph_characters": (0, 0.2),
    "gopher_top_2_gram_characters": (0, 0.2),
    "gopher_top_3_gram_characters": (0, 0.18),
    "gopher_top_4_gram_characters": (0, 0.16),
    **{f"gopher_duplicate_{n}_gram_characters": (0, (20 - n) / 100) for n in range(5, 11)},
    "c4_sentences": (5, np.inf),
    "c4_curly_brackets": (0, 0),
    "c4_lorem_ipsum": (0, 0),
    "c4_terminal_lines": (0.12, 1),
    "fineweb_short_lines": (0, 0.67),
    "fineweb_newline_word_ratio": (0, 0.3),
}
"""Range in which a text passes the rule of its paper. The range of `c4_terminal_lines` is FineWeb's."""

_RULE_COLUMNS = [COLUMNS.index(name) for name in THRESHOLDS]
_LOW, _HIGH = np.array(list(THRESHOLDS.values())).T


def compute_signals(text: str) -> tuple[NDArray[np.float64], text_kernels.Hashes]:
    """Return the signals of a text, in the order of `COLUMNS`, and the hashes of its words."""
    signals = np.zeros(len(COLUMNS))
    words_W = text_kernels.signals(
        text_kernels.code_points(text), _classes(), _stop_words(), SHORT_LINE_CHARACTERS, signals
    )
    lowercase = text.lower()
    signals[len(KERNEL_COLUMNS) :] = (
        text.count("{"),
        lowercase.count("javascript"),
        lowercase.count("lorem ipsum"),
        sum(lowercase.count(phrase) for phrase in POLICY_PHRASES),
    )
    return signals, words_W


def hash_words(text: str) -> text_kernels.Hashes:
    """Return the hashes of the words of a text."""
    words_W: text_kernels.Hashes = text_kernels.hash_words(text_kernels.code_points(text), _classes())
    return words_W


def quality_score(signals: NDArray[np.float64]) -> float:
    """Return the share of the rules in `THRESHOLDS` that the signals of a text pass."""
    values = signals[_RULE_COLUMNS]
    return float(((values >= _LOW) & (values <= _HIGH)).mean())


@functools.cache
def _stop_words() -> text_kernels.Hashes:
    return np.array([text_kernels.hash_word(text_kernels.code_points(word)) for word in STOP_WORDS], np.uint64)


@functools.cache
def _classes() -> text_kernels.Classes:
    """Return the class bits of each character up to `TABLE_CODES`."""
    return np.array([_class(chr(code)) for code in range(TABLE_CODES)], np.uint8)


def _class(character: str) -> int:
    letter = character.isalpha()
    solo = letter and unicodedata.name(character, "").startswith(SOLO_NAMES)
    return (
        text_kernels.SPACE * character.isspace()
        + text_kernels.ALPHA * letter
        + text_kernels.SOLO * solo
        + text_kernels.TERMINAL * (character in TERMINALS)
        + text_kernels.BULLET * (character in BULLETS)
        + text_kernels.ELLIPSIS * (character == "…")
        + text_kernels.HASH * (character == "#")
    )
