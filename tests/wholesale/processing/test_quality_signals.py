"""Tests of the quality signals against a plain Python reference and hand-computed values."""

import random

import numpy as np
import pytest

from baicai.wholesale.processing.quality_signals import (
    COLUMNS,
    KERNEL_COLUMNS,
    THRESHOLDS,
    compute_signals,
    quality_score,
)
from tests.references import rules

TEXTS = {
    "empty": "",
    "space": " \n\t\n ",
    "one": "word",
    "bullets": "- first item\n• second item\n* third…\nlast line ends here...\n\nA paragraph. Another? Yes! “Quoted.”",
    "repeats": "the cat sat on the mat. " * 7 + "\nthe same line\nthe same line\n\npara\ntwo\n\npara\ntwo",
    "marks": "## Title #tag ... and … more.... dots..… {braces} JavaScript lorem ipsum, see our Privacy Policy",
    "chinese": "床前明月光，疑是地上霜。\n举头望明月，低头思故乡。床前明月光。",
    "mixed": "Größe von 3.5 кг 日本語のテキスト ไทย\r\nline\u2028same line\x0bthere\x1cend \U00020000\U0001f600",
    "thousands": "lorem " * 3000,
}
VOCABULARY = [
    "the",
    "The",
    "of",
    "#",
    "...",
    "…",
    "苹果",
    "apple.",
    "naïve?",
    "\n",
    "\n\n",
    "•",
    "x",
    "42",
    "that",
    "。",
]


def random_text(seed: int) -> str:
    rng = random.Random(seed)
    words = rng.choices(VOCABULARY, k=rng.randint(1, 300))
    return "".join(word + rng.choice([" ", " ", "  ", "", "\t"]) for word in words)


@pytest.mark.parametrize("text", [*TEXTS.values(), *map(random_text, range(40))], ids=lambda text: repr(text[:12]))
def test_signals_match_the_reference(text: str) -> None:
    signals, words_W = compute_signals(text)
    expected = rules.compute_signals(text)
    assert set(expected) == set(KERNEL_COLUMNS)
    assert len(words_W) == expected["words"]
    for name, value in zip(COLUMNS, signals, strict=True):
        if name in expected:
            assert value == pytest.approx(expected[name], abs=1e-12), name


def test_signals_match_hand_computed_values() -> None:
    signals = dict(zip(COLUMNS, compute_signals(TEXTS["marks"])[0], strict=True))
    assert signals["gopher_hash_word_ratio"] == 3 / 16
    assert signals["gopher_ellipsis_word_ratio"] == 4 / 16
    assert [signals[name] for name in COLUMNS[len(KERNEL_COLUMNS) :]] == [1, 1, 1, 1]


def test_quality_is_the_share_of_passed_rules() -> None:
    assert set(THRESHOLDS) <= set(COLUMNS)
    rng, words = random.Random(0), ["river", "stone", "garden", "that", "with", "have", "letter", "of", "winter", "be"]
    text = "\n".join(f"The {' '.join(rng.choices(words, k=12))} number {n}." for n in range(40))
    good, bad = quality_score(compute_signals(text)[0]), quality_score(compute_signals("buy now " * 500)[0])
    assert 0 <= bad < 0.75 < 0.95 < good <= 1
    low = np.array([THRESHOLDS.get(name, (0.0, 0.0))[0] for name in COLUMNS])
    assert quality_score(low) == 1, "thresholds are inclusive"
