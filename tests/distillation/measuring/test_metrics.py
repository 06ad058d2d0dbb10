"""Measured chunk by chunk, it is what the whole logits say; teachers, leaves alone and networks are read alike."""

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
def taught(workshop: Workshop, sparse: SparseModel) -> Teacher:
    return open_teacher(workshop.path("model"), sparse.tokenizer, CPU)


def test_nats_are_those_of_whole_logits_and_no_logits_are_more_than_a_chunk(
    sparse: SparseModel, sample: Sample, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokens, seen = sample("fruit")[0], list[int]()
    whole, logits = token_nats(sparse.network)(tokens), sparse.network.logits

    def counted(hidden: torch.Tensor) -> torch.Tensor:
        seen.append(len(hidden))
        return logits(hidden)

    monkeypatch.setattr(sparse.network, "logits", counted)
    torch.testing.assert_close(window_nats(sparse.network, tokens), whole.detach())
    assert max(seen) == 50
    assert sum(seen) == whole.numel()


def test_quality_is_the_projects_own_and_calibration_the_definition_on_the_same_tokens(
    model: SparseModel, tokenizer: Tokenizer, make_shards: Callable[..., TokenShards]
) -> None:
    windows, bytes_V = (
        list(held_out_windows(make_shards("held", 0, 20), 32)),
        torch.from_numpy(tokenizer.bytes_per_token()),
    )
    found = measure_quality(model.network, iter(windows), tokenizer, CPU)
    wanted = bits_per_byte(token_nats(model.network), windows, tokenizer)
    assert found.num_bytes == wanted.num_bytes
    assert found.bits_per_byte == pytest.approx(wanted.bits_per_byte, rel=1e-6)
    tokens = torch.cat(windows)
    scored = bytes_V[tokens[:, 1:]] > 0
    assert not scored.all(), "documents end"
    best = model.network(tokens[:, :-1]).softmax(-1).max(-1)
    confidence, right = best.values[scored].double().numpy(), (best.indices == tokens[:, 1:])[scored].numpy()
    assert found.calibration_error == pytest.approx(defined(confidence, right), abs=1e-6)


def test_a_teacher_is_read_like_its_network_and_each_leaf_alone(
    sparse: SparseModel, sample: Sample, taught: Teacher, teacher: Teacher
) -> None:
    windows, tokenizer = sample("fruit"), sparse.tokenizer
    ours = measure_quality(taught, windows, tokenizer, CPU)
    assert ours.bits_per_byte == pytest.approx(
        measure_quality(sparse.network, windows, tokenizer, CPU).bits_per_byte, rel=0.01
    )
    alone = {
        name: measure_quality(leaf, windows, tokenizer, CPU).bits_per_byte for name, leaf in taught.leaves().items()
    }
    for name, found in alone.items():
        nats_of = token_nats(sparse.network, sparse.network.leaf_mask([name])[0])
        assert found == pytest.approx(bits_per_byte(nats_of, windows, tokenizer).bits_per_byte, rel=0.01)
    assert alone["fruit"] < 0.9 * alone["metal"]
    assert measure_quality(taught, windows, tokenizer, CPU) == ours, "it still has all its leaves on"


def test_a_folder_of_transformers_and_a_trunk_have_no_leaves_to_read_alone(
    exported: Path, workshop: Workshop, sparse: SparseModel, tokenizer: Tokenizer
) -> None:
    assert open_teacher(exported, tokenizer, CPU).leaves() == {}
    assert open_teacher(workshop.path("trunk"), sparse.tokenizer, CPU).leaves() == {}


def test_speed_is_the_median_round_of_tokens_after_the_first(
    sparse: SparseModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    seconds = [100.0, 2.0, 1.0, 4.0]  # the first round warms up
    clock = itertools.chain.from_iterable((10 * n, 10 * n + took) for n, took in enumerate(seconds))
    monkeypatch.setattr(metrics, "time", SimpleNamespace(perf_counter=lambda: next(clock)))
    assert tokens_per_second(sparse.network, range(10)) == (64 - 10 - 1) / 2.0, "as many as there is room for"
    assert next(clock, None) is None


def test_a_prompt_without_room_is_refused(sparse: SparseModel) -> None:
    with pytest.raises(ConfigError, match="a prompt of 64 tokens does not fit"):
        tokens_per_second(sparse.network, range(64))
