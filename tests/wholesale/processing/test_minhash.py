"""Near-duplicates are found, also among what came earlier; others are not."""

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
    draw = random.Random(seed)
    return [draw.choice(WORDS) if draw.random() < share else word for word in words]


def signed(*texts: list[str]) -> MinHashes:
    return minhash([compute_signals(" ".join(words))[1] for words in texts])


def test_signatures_estimate_what_is_in_common() -> None:
    one, other = text_of(1, 1000), text_of(2, 1000)
    half = one[:500] + other[500:]
    signatures = signed(one, half, other, one)
    shared = estimate_jaccard(signatures[:1], signatures)
    assert shared[3] == 1
    assert shared[1] == pytest.approx(1 / 3, abs=0.12)
    assert shared[2] < 0.1


def test_planted_edits_are_found_and_others_are_not(tmp_path: Path) -> None:
    originals = [text_of(seed) for seed in range(200)]
    copies = [edited(words, 0.1, seed) for seed, words in enumerate(originals)]
    index = DuplicateIndex(tmp_path / "index")
    first = index.add("originals", signed(*originals))
    assert first.tolist() == list(range(200)), "none of them is like another"
    groups = index.add("copies", signed(*copies))
    found = groups == first
    assert found.mean() >= 0.9
    assert (groups[~found] >= 200).all(), "what is not found is not taken for another"


def test_within_a_batch_and_across_batches_it_is_the_same(tmp_path: Path) -> None:
    texts = [edited(text_of(number // 3), 0.05, number) for number in range(90)]
    whole = DuplicateIndex(tmp_path / "whole")
    together = whole.add("all", signed(*texts))
    parts = DuplicateIndex(tmp_path / "parts")
    apart = np.concatenate([parts.add(f"part {at}", signed(*texts[at : at + 30])) for at in range(0, 90, 30)])
    assert (together == apart).mean() > 0.95
    again = DuplicateIndex(tmp_path / "parts")
    assert len(again) == 90
    assert again.add("part 30", signed(*texts[30:60])).tolist() == apart[30:60].tolist()
    assert len(again) == 90, "a batch that is known is not added twice"


def test_all_that_are_like_a_text_are_found(tmp_path: Path) -> None:
    index = DuplicateIndex(tmp_path / "index")
    index.add("first", signed(*(text_of(seed) for seed in range(10))))
    index.add("second", signed(*(edited(text_of(4), 0.05, seed) for seed in range(12))))
    (found,) = index.find(signed(text_of(4)))
    assert found == [4, *range(10, 22)]
    assert index.find(signed(text_of(99))) == [[]]


def test_texts_without_words_are_no_trouble(tmp_path: Path) -> None:
    index = DuplicateIndex(tmp_path / "index")
    groups = index.add("short", signed([], ["one"], ["one", "two"], []))
    assert groups[0] == groups[3]
    assert len({*groups.tolist()}) == 3
    assert len(index.add("none", minhash([]))) == 0


def test_what_is_known_takes_no_memory(tmp_path: Path) -> None:
    index = DuplicateIndex(tmp_path / "index")
    for seed in range(3):
        index.add(str(seed), signed(*(text_of(number) for number in range(seed, seed + 5))))
    assert len(DuplicateIndex(tmp_path / "index").find(signed(text_of(4)))[0]) == 3
    assert str(tmp_path) not in Path("/proc/self/maps").read_text(), "nothing stays mapped"
