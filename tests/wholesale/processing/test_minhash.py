"""Tests of near-duplicate detection within a batch and against earlier batches."""

import random
from pathlib import Path

import numpy as np
import pytest

from baicai.wholesale.processing.minhash import DuplicateIndex, MinHashes, estimate_jaccard, minhash
from baicai.wholesale.processing.quality_signals import compute_signals

WORDS = [
    f"{first}{last}" for first in ("gar", "win", "ker", "dol", "mas") for last in ("den", "ter", "nel", "lar", "ton")
]


def text_of(seed: int, words: int = 200) -> list[str]:
    return random.Random(seed).choices(WORDS, k=words)


def edited(words: list[str], share: float, seed: int) -> list[str]:
    rng = random.Random(seed)
    return [rng.choice(WORDS) if rng.random() < share else word for word in words]


def minhashes_of(*texts: list[str]) -> MinHashes:
    return minhash([compute_signals(" ".join(words))[1] for words in texts])


def test_minhashes_estimate_the_jaccard_similarity() -> None:
    first, second = text_of(1, 1000), text_of(2, 1000)
    half = first[:500] + second[500:]
    minhashes = minhashes_of(first, half, second, first)
    similarities = estimate_jaccard(minhashes[:1], minhashes)
    assert similarities[3] == 1
    assert similarities[1] == pytest.approx(1 / 3, abs=0.12)
    assert similarities[2] < 0.1


def test_edited_copies_are_found_and_other_texts_are_not(tmp_path: Path) -> None:
    originals = [text_of(seed) for seed in range(200)]
    copies = [edited(words, 0.1, seed) for seed, words in enumerate(originals)]
    index = DuplicateIndex(tmp_path / "index")
    first = index.add("originals", minhashes_of(*originals))
    assert first.tolist() == list(range(200)), "no two of them are alike"
    groups = index.add("copies", minhashes_of(*copies))
    is_match = groups == first
    assert is_match.mean() >= 0.9
    assert (groups[~is_match] >= 200).all(), "a missed copy is not matched with another text"


def test_groups_are_the_same_within_and_across_batches(tmp_path: Path) -> None:
    texts = [edited(text_of(number // 3), 0.05, number) for number in range(90)]
    together = DuplicateIndex(tmp_path / "whole").add("all", minhashes_of(*texts))
    parts = DuplicateIndex(tmp_path / "parts")
    apart = np.concatenate(
        [parts.add(f"part {begin}", minhashes_of(*texts[begin : begin + 30])) for begin in range(0, 90, 30)]
    )
    assert (together == apart).mean() > 0.95
    reopened = DuplicateIndex(tmp_path / "parts")
    assert len(reopened) == 90
    assert reopened.add("part 30", minhashes_of(*texts[30:60])).tolist() == apart[30:60].tolist()
    assert len(reopened) == 90, "a known batch is not added twice"


def test_find_returns_all_near_duplicates(tmp_path: Path) -> None:
    index = DuplicateIndex(tmp_path / "index")
    index.add("first", minhashes_of(*(text_of(seed) for seed in range(10))))
    index.add("second", minhashes_of(*(edited(text_of(4), 0.05, seed) for seed in range(12))))
    (numbers,) = index.find(minhashes_of(text_of(4)))
    assert numbers == [4, *range(10, 22)]
    assert index.find(minhashes_of(text_of(99))) == [[]]


def test_empty_and_short_texts_are_indexed(tmp_path: Path) -> None:
    index = DuplicateIndex(tmp_path / "index")
    groups = index.add("short", minhashes_of([], ["one"], ["one", "two"], []))
    assert groups[0] == groups[3]
    assert len({*groups.tolist()}) == 3
    assert len(index.add("none", minhash([]))) == 0


def test_open_index_takes_no_memory(tmp_path: Path) -> None:
    index = DuplicateIndex(tmp_path / "index")
    for seed in range(3):
        index.add(str(seed), minhashes_of(*(text_of(number) for number in range(seed, seed + 5))))
    assert len(DuplicateIndex(tmp_path / "index").find(minhashes_of(text_of(4)))[0]) == 3
    assert str(tmp_path) not in Path("/proc/self/maps").read_text(), "nothing stays mapped"
