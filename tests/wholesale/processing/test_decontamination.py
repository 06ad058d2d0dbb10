"""Tests of finding benchmark texts in documents."""

from pathlib import Path

import pytest

from baicai.wholesale.processing.decontamination import NGRAM_WORDS, Benchmarks, benchmark_hashes, load_benchmarks

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
        (" ".join(QUESTION.split()[:NGRAM_WORDS]), 1.0),
        (" ".join(QUESTION.split()[: NGRAM_WORDS - 1]), 0.0),
        ("", 0.0),
    ],
)
def test_overlap_is_the_share_of_words_in_a_benchmark(text: str, share: float) -> None:
    assert Benchmarks([f"{QUESTION}\nshort line"]).overlap(text) == pytest.approx(share)


def test_ngrams_do_not_cross_lines() -> None:
    first, second = QUESTION.split()[:6], QUESTION.split()[6:]
    assert Benchmarks([" ".join(first) + "\n" + " ".join(second)]).overlap(QUESTION) == 0


def test_assistant_benchmark_is_found() -> None:
    folder = SHARED / "bench" / "snips"
    if not folder.exists():
        pytest.skip(f"{folder} is not on this machine")
    benchmarks = load_benchmarks((str(folder / "valid.jsonl"),))
    line = "I'd like to have this track onto my Classical Relaxations playlist."
    assert benchmarks.overlap(f"{line} {OTHER}") == pytest.approx(12 / 29, abs=0.03)
    assert benchmarks.overlap(OTHER) == 0


def test_changed_files_have_other_hashes(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(QUESTION)
    before = benchmark_hashes([str(tmp_path)])
    (tmp_path / "a.txt").write_text(OTHER)
    assert benchmark_hashes([str(tmp_path)]) != before
