import itertools
import json
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from baicai.data.batches import Batch, Batches, permute, splice_sequences
from baicai.data.shards import TokenShards, write_shards
from baicai.data.tokenizer import train_tokenizer
from baicai.errors import ArtefactError, BaicaiError, ConfigError, DataError
from tests.data.texts import document

MakeShards = Callable[..., TokenShards]


@pytest.fixture
def sources(make_shards: MakeShards) -> list[TokenShards]:
    return [make_shards("a", 0, 8), make_shards("b", 20, 5), make_shards("c", 40, 1)]


def batches(
    sources: Sequence[TokenShards],
    weights: Sequence[float] = (5, 3, 2),
    batch_sequences: int = 4,
    sequence_tokens: int = 16,
    seed: int = 1,
) -> Batches:
    return Batches(sources, weights, batch_sequences=batch_sequences, sequence_tokens=sequence_tokens, seed=seed)


def picks(found: Batch) -> list[tuple[int, int]]:
    return list(zip(found.source_B.tolist(), found.windows_B.tolist(), strict=True))


def same(one: Batch, other: Batch) -> bool:
    return picks(one) == picks(other) and torch.equal(one.tokens_BS1, other.tokens_BS1)


def test_rows_are_the_windows_they_are_said_to_be(sources: list[TokenShards]) -> None:
    found = batches(sources).next()
    assert found.tokens_BS1.shape == (4, 17)
    assert {t.dtype for t in (found.tokens_BS1, found.source_B, found.windows_B)} == {torch.int64}
    for row, (source, window) in zip(found.tokens_BS1, picks(found), strict=True):
        assert row.tolist() == sources[source].window(window, 16).tolist()


def test_a_restart_anywhere_equals_no_restart(sources: list[TokenShards]) -> None:
    stream = batches(sources)
    states, expected = [], []
    for _ in range(40):
        states.append(json.dumps(stream.state()))
        expected.append(stream.next())
    for position, state in enumerate(states):
        resumed = batches(sources)
        resumed.next()
        resumed.restore(json.loads(state))
        assert all(same(resumed.next(), later) for later in expected[position : position + 3])


def test_the_seed_is_the_order(sources: list[TokenShards]) -> None:
    def order(seed: int) -> list[tuple[int, int]]:
        stream = batches(sources, seed=seed)
        return [pick for _ in range(10) for pick in picks(stream.next())]

    assert order(1) == order(1)
    assert len({tuple(order(seed)) for seed in (0, 1, 2, -1, 2**40)}) == 5


def test_an_epoch_has_every_window_once_and_each_epoch_another_order(sources: list[TokenShards]) -> None:
    num_windows = sources[0].num_windows(16)
    stream = batches(sources[:1], [1.0], batch_sequences=num_windows)
    epochs = [stream.next().windows_B.tolist() for _ in range(6)]
    assert all(sorted(epoch) == list(range(num_windows)) for epoch in epochs)
    assert len(set(map(tuple, epochs))) == 6


@pytest.mark.parametrize("weights", [(5, 3, 2), (0.7, 0.2, 0.1), (1, 0, 0), (1e-3, 1, 1), (1, 1, 1)])
def test_sources_are_drawn_by_weight_in_every_batch(sources: list[TokenShards], weights: Sequence[float]) -> None:
    stream = batches(sources, weights, batch_sequences=7)
    total: Counter[int] = Counter()
    for number in range(1, 100):
        batch = Counter(stream.next().source_B.tolist())
        total += batch
        for source, weight in enumerate(weights):
            share = weight / sum(weights)
            assert abs(total[source] - share * 7 * number) <= 1
            assert abs(batch[source] - share * 7) <= 2
            assert share or not total[source]


WEIGHTS = [(1, 0, 0), (1, 8, 1), (0, 1, 1), (5, 3, 2)]


def test_other_weights_hold_from_then_on(sources: list[TokenShards]) -> None:
    stream = batches(sources, batch_sequences=7)
    for weights in WEIGHTS:
        stream.reweigh(weights)
        total: Counter[int] = Counter()
        for number in range(1, 20):
            total += Counter(stream.next().source_B.tolist())
            for source, weight in enumerate(weights):
                assert abs(total[source] - weight / sum(weights) * 7 * number) <= 1


def test_other_weights_leave_each_source_where_it_was(sources: list[TokenShards]) -> None:
    stream, seen = batches(sources), {0: list[int](), 1: list[int](), 2: list[int]()}
    for weights in itertools.islice(itertools.cycle(WEIGHTS), 60):
        stream.reweigh(weights)
        for source, window in picks(stream.next()):
            seen[source].append(window)
    for source, windows in seen.items():
        count = sources[source].num_windows(16)
        epochs = [sorted(windows[start : start + count]) for start in range(0, len(windows) - count + 1, count)]
        assert epochs
        assert all(epoch == list(range(count)) for epoch in epochs)


def test_a_restart_after_other_weights_equals_no_restart(sources: list[TokenShards]) -> None:
    stream = batches(sources)
    states, expected = [], []
    for step in range(24):
        if step % 5 == 3:
            stream.reweigh(WEIGHTS[step // 5 % len(WEIGHTS)])
        states.append(json.dumps(stream.state()))
        expected.append(stream.next())
    for position, state in enumerate(states):
        resumed = batches(sources)
        resumed.reweigh([1, 1, 7])
        resumed.next()
        resumed.restore(json.loads(state))
        assert json.dumps(resumed.state()) == state
        assert same(resumed.next(), expected[position])


def test_weights_that_cannot_be_change_nothing(sources: list[TokenShards]) -> None:
    stream = batches(sources)
    before = stream.state()
    for weights in ([1, 1], [0, 0, 0], [1, float("inf"), 1]):
        with pytest.raises(ConfigError, match="weights"):
            stream.reweigh(weights)
    assert stream.state() == before


@pytest.mark.parametrize("size", [*range(1, 70), 255, 256, 257, 1000, 4097])
def test_permute_is_a_permutation(size: int) -> None:
    for key in (0, 1, 2**63 + 11):
        assert sorted(permute(index, size, key) for index in range(size)) == list(range(size))


@pytest.mark.parametrize("size", [2, 3, 4, 5, 16, 33])
def test_permutations_are_even(size: int) -> None:
    counts = Counter((index, permute(index, size, key * 7919)) for key in range(3000) for index in (0, size - 1))
    expected = 3000 / size
    assert len(counts) == 2 * size
    assert max(abs(count - expected) for count in counts.values()) < 6 * expected**0.5


def test_permute_scatters_neighbours_of_a_huge_source() -> None:
    size = 10**11
    found = [permute(index, size, 5) for index in range(1000)]
    assert len({place * 10 // size for place in found}) == 10
    assert min(abs(one - other) for one, other in itertools.pairwise(found)) > 1000


def test_what_cannot_be_mixed_is_named(sources: list[TokenShards], tmp_path: Path) -> None:
    other = train_tokenizer({"b": [document(1)]}, 262, 10_000)
    foreign = write_shards([document(1)], other, tmp_path / "foreign")
    too_short = rf"{sources[2].folder} has {sources[2].num_tokens} tokens, its share of one batch is 400001: add"
    table: list[tuple[str, type[BaicaiError], dict[str, Any]]] = [
        ("2 weights for 3 sources: give each source one weight", ConfigError, {"weights": [1, 1]}),
        ("0 weights for 0 sources", ConfigError, {"sources": [], "weights": []}),
        ("they must be 0 or more, and one above 0", ConfigError, {"weights": [1, -1, 1]}),
        ("they must be 0 or more", ConfigError, {"weights": [1, float("nan"), 1]}),
        ("and one above 0", ConfigError, {"weights": [0, 0, 0]}),
        (too_short, DataError, {"sources": sources[2:], "weights": [1], "sequence_tokens": 10**5}),
        (
            rf"foreign was made with tokenizer {other.hash[:8]}",
            DataError,
            {"sources": [sources[0], foreign, sources[1]]},
        ),
    ]
    for message, kind, options in table:
        with pytest.raises(kind, match=message):
            batches(**{"sources": sources, **options})


def test_a_position_of_another_run_is_refused(sources: list[TokenShards]) -> None:
    state = batches(sources).state()
    table: dict[str, tuple[Batches, dict[str, Any]]] = {
        "saved with seed = 1, now it is 2": (batches(sources, seed=2), state),
        "saved with shares = ": (batches(sources, [1, 1, 1]), state),
        "saved with sequence_tokens = 16, now it is 8": (batches(sources, sequence_tokens=8), state),
        "saved with batch_sequences = 4, now it is 2": (batches(sources, batch_sequences=2), state),
        "saved with sources = ": (batches(sources[::-1]), state),
        "drawn = None": (batches(sources), {key: value for key, value in state.items() if key != "drawn"}),
        r"drawn = \[1, -1, 0\]": (batches(sources), {**state, "drawn": [1, -1, 0]}),
        r"drawn = \[1\]": (batches(sources), {**state, "drawn": [1]}),
        "since = None": (batches(sources), {key: value for key, value in state.items() if key != "since"}),
        r"since = \[0, 0, True\]": (batches(sources), {**state, "since": [0, 0, True]}),
        "shares_since = None": (batches(sources), {**state, "shares_since": None}),
        r"shares_since = \[1.0\]": (batches(sources), {**state, "shares_since": [1.0]}),
        r"shares_since = \['a', 0, 0\]": (batches(sources), {**state, "shares_since": ["a", 0, 0]}),
        r"shares_since = \[nan, 1, 0\]": (batches(sources), {**state, "shares_since": [float("nan"), 1, 0]}),
        r"shares_since = \[2, 0, -1\]": (batches(sources), {**state, "shares_since": [2, 0, -1]}),
    }
    for message, (stream, saved) in table.items():
        with pytest.raises(ArtefactError, match=message):
            stream.restore(saved)


def test_spliced_sequences_go_on_as_others_of_the_batch() -> None:
    tokens_BS1 = torch.arange(8)[:, None] * 100 + torch.arange(65)
    batch = Batch(tokens_BS1, torch.arange(8), torch.arange(8))
    tokens, source = splice_sequences(batch, 0.5)
    assert torch.equal(tokens, source * 100 + torch.arange(65)), "every token is its source's token of that place"
    starts = torch.arange(8)[:, None]
    assert bool((source[:, :8] == starts).all()), "no sequence changes before an eighth"
    changed = (source != starts).any(1)
    assert 0 < int(changed.sum()) < 8
    assert torch.equal(batch.tokens_BS1, tokens_BS1)


def test_what_is_spliced_depends_on_the_windows_alone() -> None:
    def spliced(windows: list[int]) -> torch.Tensor:
        return splice_sequences(Batch(torch.arange(40).view(4, 10), torch.arange(4), torch.tensor(windows)), 0.9)[0]

    assert torch.equal(spliced([1, 2, 3, 4]), spliced([1, 2, 3, 4]))
    assert not torch.equal(spliced([1, 2, 3, 4]), spliced([4, 3, 2, 1]))


@pytest.mark.parametrize("length", [2, 3, 9])
def test_short_sequences_and_a_share_of_nothing(length: int) -> None:
    batch = Batch(torch.arange(4 * length).view(4, length), torch.arange(4), torch.arange(4))
    assert torch.equal(splice_sequences(batch, 0.0)[0], batch.tokens_BS1)
    assert splice_sequences(batch, 1.0)[0].shape == (4, length)
