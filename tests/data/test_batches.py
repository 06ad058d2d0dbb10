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


def picks(result: Batch) -> list[tuple[int, int]]:
    return list(zip(result.source_B.tolist(), result.windows_B.tolist(), strict=True))


def same(left: Batch, right: Batch) -> bool:
    return picks(left) == picks(right) and torch.equal(left.tokens_BS1, right.tokens_BS1)


def test_rows_match_their_window_indices(sources: list[TokenShards]) -> None:
    result = batches(sources).next()
    assert result.tokens_BS1.shape == (4, 17)
    assert {t.dtype for t in (result.tokens_BS1, result.source_B, result.windows_B)} == {torch.int64}
    for row, (source, window) in zip(result.tokens_BS1, picks(result), strict=True):
        assert row.tolist() == sources[source].window(window, 16).tolist()


def test_resuming_anywhere_equals_no_interruption(sources: list[TokenShards]) -> None:
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


def test_the_seed_determines_the_order(sources: list[TokenShards]) -> None:
    def order(seed: int) -> list[tuple[int, int]]:
        stream = batches(sources, seed=seed)
        return [pick for _ in range(10) for pick in picks(stream.next())]

    assert order(1) == order(1)
    assert len({tuple(order(seed)) for seed in (0, 1, 2, -1, 2**40)}) == 5


def test_each_epoch_visits_every_window_once_in_a_new_order(sources: list[TokenShards]) -> None:
    num_windows = sources[0].num_windows(16)
    stream = batches(sources[:1], [1.0], batch_sequences=num_windows)
    epochs = [stream.next().windows_B.tolist() for _ in range(6)]
    assert all(sorted(epoch) == list(range(num_windows)) for epoch in epochs)
    assert len(set(map(tuple, epochs))) == 6


@pytest.mark.parametrize("weights", [(5, 3, 2), (0.7, 0.2, 0.1), (1, 0, 0), (1e-3, 1, 1), (1, 1, 1)])
def test_every_batch_follows_the_weights(sources: list[TokenShards], weights: Sequence[float]) -> None:
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


def test_new_weights_apply_from_then_on(sources: list[TokenShards]) -> None:
    stream = batches(sources, batch_sequences=7)
    for weights in WEIGHTS:
        stream.reweigh(weights)
        total: Counter[int] = Counter()
        for number in range(1, 20):
            total += Counter(stream.next().source_B.tolist())
            for source, weight in enumerate(weights):
                assert abs(total[source] - weight / sum(weights) * 7 * number) <= 1


def test_new_weights_keep_each_sources_position(sources: list[TokenShards]) -> None:
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


def test_resuming_after_new_weights_equals_no_interruption(sources: list[TokenShards]) -> None:
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


def test_invalid_weights_change_nothing(sources: list[TokenShards]) -> None:
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
def test_permutations_are_uniform(size: int) -> None:
    counts = Counter((index, permute(index, size, key * 7919)) for key in range(3000) for index in (0, size - 1))
    expected = 3000 / size
    assert len(counts) == 2 * size
    assert max(abs(count - expected) for count in counts.values()) < 6 * expected**0.5


def test_permute_scatters_neighbours_of_a_huge_source() -> None:
    size = 10**11
    result = [permute(index, size, 5) for index in range(1000)]
    assert len({position * 10 // size for position in result}) == 10
    assert min(abs(left - right) for left, right in itertools.pairwise(result)) > 1000


def test_sources_that_cannot_be_mixed_are_clear_errors(sources: list[TokenShards], tmp_path: Path) -> None:
    right = train_tokenizer({"b": [document(1)]}, 262, 10_000)
    foreign = write_shards([document(1)], right, tmp_path / "foreign")
    too_short = rf"{sources[2].folder} has {sources[2].num_tokens} tokens, but its share of one batch needs 400001: add"
    table: list[tuple[str, type[BaicaiError], dict[str, Any]]] = [
        ("2 weights for 3 sources: each source needs one weight", ConfigError, {"weights": [1, 1]}),
        ("0 weights for 0 sources", ConfigError, {"sources": [], "weights": []}),
        ("must be finite and at least 0, and one must be above 0", ConfigError, {"weights": [1, -1, 1]}),
        ("must be finite and at least 0", ConfigError, {"weights": [1, float("nan"), 1]}),
        ("and one must be above 0", ConfigError, {"weights": [0, 0, 0]}),
        (too_short, DataError, {"sources": sources[2:], "weights": [1], "sequence_tokens": 10**5}),
        (
            rf"foreign was made with tokenizer {right.hash[:8]}",
            DataError,
            {"sources": [sources[0], foreign, sources[1]]},
        ),
    ]
    for message, kind, options in table:
        with pytest.raises(kind, match=message):
            batches(**{"sources": sources, **options})


def test_the_state_of_another_run_is_refused(sources: list[TokenShards]) -> None:
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


def test_spliced_sequences_continue_as_others_of_the_batch() -> None:
    tokens_BS1 = torch.arange(8)[:, None] * 100 + torch.arange(65)
    batch = Batch(tokens_BS1, torch.arange(8), torch.arange(8))
    tokens, source = splice_sequences(batch, 0.5)
    assert torch.equal(tokens, source * 100 + torch.arange(65)), "every token is its source's token of that place"
    starts = torch.arange(8)[:, None]
    assert bool((source[:, :8] == starts).all()), "no sequence changes before an eighth"
    changed = (source != starts).any(1)
    assert 0 < int(changed.sum()) < 8
    assert torch.equal(batch.tokens_BS1, tokens_BS1)


def test_splicing_depends_only_on_the_windows() -> None:
    def spliced(windows: list[int]) -> torch.Tensor:
        return splice_sequences(Batch(torch.arange(40).view(4, 10), torch.arange(4), torch.tensor(windows)), 0.9)[0]

    assert torch.equal(spliced([1, 2, 3, 4]), spliced([1, 2, 3, 4]))
    assert not torch.equal(spliced([1, 2, 3, 4]), spliced([4, 3, 2, 1]))


@pytest.mark.parametrize("length", [2, 3, 9])
def test_splicing_short_sequences_or_a_share_of_zero(length: int) -> None:
    batch = Batch(torch.arange(4 * length).view(4, length), torch.arange(4), torch.arange(4))
    assert torch.equal(splice_sequences(batch, 0.0)[0], batch.tokens_BS1)
    assert splice_sequences(batch, 1.0)[0].shape == (4, length)
