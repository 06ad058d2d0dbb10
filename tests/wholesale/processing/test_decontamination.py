"""Texts of benchmarks are found in documents."""

from pathlib import Path

import pytest

from baicai.wholesale.processing.decontamination import GRAM_WORDS, Benchmarks, fingerprints, load_benchmarks

QUESTION = "Please add another song by that singer to the playlist for tonight"
OTHER = "a walk along the river in the early morning light was what she liked best of all"
SHARED = Path(__file__).parents[4] / "shared"


@pytest.mark.parametrize(
    ("text", "share"),
    [
        (QUESTION, 1.0),
        (QUESTION.upper() + "!", 1.0),
        (QUESTION.replace(" ", ", "), 1.0),
        (OTHER, 0.0),
        (f"{OTHER} {QUESTION}", 12 / 29),
        (" ".join(QUESTION.split()[:GRAM_WORDS]), 1.0),
        (" ".join(QUESTION.split()[: GRAM_WORDS - 1]), 0.0),
        ("", 0.0),
    ],
)
def test_the_share_of_words_that_a_benchmark_has(text: str, share: float) -> None:
    assert Benchmarks([f"{QUESTION}\nshort line"]).share(text) == pytest.approx(share)


def test_lines_are_apart() -> None:
    first, second = QUESTION.split()[:6], QUESTION.split()[6:]
    assert Benchmarks([" ".join(first) + "\n" + " ".join(second)]).share(QUESTION) == 0


def test_the_assistant_benchmarks_are_found() -> None:
    folder = SHARED / "bench" / "snips"
    if not folder.exists():
        pytest.skip(f"{folder} is not on this machine")
    known = load_benchmarks((str(folder / "valid.jsonl"),))
    line = "I'd like to have this track onto my Classical Relaxations playlist."
    assert known.share(f"{line} {OTHER}") == pytest.approx(12 / 29, abs=0.03)
    assert known.share(OTHER) == 0


def test_other_files_have_other_fingerprints(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(QUESTION)
    before = fingerprints([str(tmp_path)])
    (tmp_path / "a.txt").write_text(OTHER)
    assert fingerprints([str(tmp_path)]) != before
