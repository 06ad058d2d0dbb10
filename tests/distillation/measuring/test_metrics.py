"""Chunked metrics equal those of full logits, for teachers, single leaves and networks alike."""

import itertools
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from baicai.data.shards import TokenShards
from baicai.data.tokenizer import Tokenizer
from baicai.distillation.measuring import metrics
from baicai.distillation.measuring.metrics import measure_quality, tokens_per_second, window_nats
from baicai.distillation.teacher.models import Teacher, open_teacher
from baicai.errors import ConfigError
from baicai.evaluation.bits_per_byte import bits_per_byte, held_out_windows, token_nats
from baicai.leaves.model import SparseModel
from baicai.training import losses
from tests.conftest import Workshop
from tests.distillation.conftest import CPU, Sample
from tests.evaluation.test_calibration import defined


@pytest.fixture(autouse=True)
def chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(losses.CHUNK_TOKENS, "cpu", 50)
    monkeypatch.setattr(metrics, "has_fast_bfloat16", lambda device: False)


@pytest.fixture
def trained_teacher(workshop: Workshop, sparse: SparseModel) -> Teacher:
    return open_teacher(workshop.path("model"), sparse.tokenizer, CPU)


def test_nats_equal_those_of_full_logits_and_logits_stay_within_a_chunk(
    sparse: SparseModel, sample: Sample, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokens, sizes = sample("fruit")[0], list[int]()
    expected, logits = token_nats(sparse.network)(tokens), sparse.network.logits

    def counted(hidden: torch.Tensor) -> torch.Tensor:
        sizes.append(len(hidden))
        return logits(hidden)

    monkeypatch.setattr(sparse.network, "logits", counted)
    torch.testing.assert_close(window_nats(sparse.network, tokens), expected.detach())
    assert max(sizes) == 50
    assert sum(sizes) == expected.numel()


def test_quality_and_calibration_match_their_definitions(
    model: SparseModel, tokenizer: Tokenizer, make_shards: Callable[..., TokenShards]
) -> None:
    windows, bytes_V = (
        list(held_out_windows(make_shards("held", 0, 20), 32)),
        torch.from_numpy(tokenizer.bytes_per_token()),
    )
    measured = measure_quality(model.network, iter(windows), tokenizer, CPU)
    expected = bits_per_byte(token_nats(model.network), windows, tokenizer)
    assert measured.num_bytes == expected.num_bytes
    assert measured.bits_per_byte == pytest.approx(expected.bits_per_byte, rel=1e-6)
    tokens = torch.cat(windows)
    scored = bytes_V[tokens[:, 1:]] > 0
    assert not scored.all(), "end-of-document tokens are not scored"
    top = model.network(tokens[:, :-1]).softmax(-1).max(-1)
    confidence, correct = top.values[scored].double().numpy(), (top.indices == tokens[:, 1:])[scored].numpy()
    assert measured.calibration_error == pytest.approx(defined(confidence, correct), abs=1e-6)


def test_teacher_measures_like_its_network_also_with_single_leaves(
    sparse: SparseModel, sample: Sample, trained_teacher: Teacher, teacher: Teacher
) -> None:
    windows, tokenizer = sample("fruit"), sparse.tokenizer
    ours = measure_quality(trained_teacher, windows, tokenizer, CPU)
    assert ours.bits_per_byte == pytest.approx(
        measure_quality(sparse.network, windows, tokenizer, CPU).bits_per_byte, rel=0.01
    )
    alone = {
        name: measure_quality(leaf, windows, tokenizer, CPU).bits_per_byte
        for name, leaf in trained_teacher.single_leaf_models().items()
    }
    for name, measured in alone.items():
        nats_of = token_nats(sparse.network, sparse.network.leaf_mask([name])[0])
        assert measured == pytest.approx(bits_per_byte(nats_of, windows, tokenizer).bits_per_byte, rel=0.01)
    assert alone["fruit"] < 0.9 * alone["metal"]
    assert measure_quality(trained_teacher, windows, tokenizer, CPU) == ours, "all its leaves are still active"


def test_transformers_teachers_and_trunks_have_no_single_leaf_models(
    exported: Path, workshop: Workshop, sparse: SparseModel, tokenizer: Tokenizer
) -> None:
    assert open_teacher(exported, tokenizer, CPU).single_leaf_models() == {}
    assert open_teacher(workshop.path("trunk"), sparse.tokenizer, CPU).single_leaf_models() == {}


def test_speed_is_the_median_round_without_the_first_token(
    sparse: SparseModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    seconds = [100.0, 2.0, 1.0, 4.0]  # the first round warms up
    clock = itertools.chain.from_iterable((10 * n, 10 * n + duration) for n, duration in enumerate(seconds))
    monkeypatch.setattr(metrics, "time", SimpleNamespace(perf_counter=lambda: next(clock)))
    assert tokens_per_second(sparse.network, range(10)) == (64 - 10 - 1) / 2.0, "as many as there is room for"
    assert next(clock, None) is None


def test_prompt_without_room_is_rejected(sparse: SparseModel) -> None:
    with pytest.raises(ConfigError, match="a prompt of 64 tokens does not fit"):
        tokens_per_second(sparse.network, range(64))
