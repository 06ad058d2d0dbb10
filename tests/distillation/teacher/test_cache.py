"""The cache matches the teacher, survives kills, and is rejected for another teacher or corpus."""

import dataclasses
import random
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F  # noqa: N812

from baicai.artefact import file_hash, read_json, write_json
from baicai.data.batches import Batches
from baicai.data.shards import TokenShards
from baicai.data.tokenizer import Tokenizer
from baicai.distillation.sizing import Shape
from baicai.distillation.teacher import cache, logit_sampling
from baicai.distillation.teacher.cache import CacheConfig, TeacherCache, read_soft_targets, write_cache
from baicai.distillation.teacher.models import Teacher, open_teacher
from baicai.errors import ArtefactError, ConfigError, DataError, MachineError
from baicai.leaves.model import SparseModel
from baicai.training import losses
from tests.conftest import start_process
from tests.distillation.conftest import CPU

CONFIG = CacheConfig(samples=12, sequence_tokens=16)
MakeShards = Callable[..., TokenShards]


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "PART_TOKENS", 128)
    monkeypatch.setattr(cache, "BATCH_TOKENS", 48)
    monkeypatch.setitem(losses.CHUNK_TOKENS, "cpu", 20)


def contents(folder: Path) -> dict[str, str]:
    return {file.name: file_hash(file) for file in sorted(folder.iterdir())}


def test_soft_targets_match_the_teachers_logits(teacher: Teacher, make_shards: MakeShards, tmp_path: Path) -> None:
    sources = [make_shards("a", 0, 8), make_shards("b", 20, 5)]
    caches = [write_cache(tmp_path / f"cache-{n}", teacher, shards, CONFIG) for n, shards in enumerate(sources)]
    batches = Batches(sources, [2, 1], batch_sequences=6, sequence_tokens=16, seed=1)
    hits, expected = Counter[bool](), 0.0
    for _ in range(10):
        batch = batches.next()
        rows = read_soft_targets(caches, batch)
        logits = teacher.logits(teacher.hidden(batch.tokens_BS1[:, :-1]))
        nats = F.cross_entropy(logits.flatten(0, 1), batch.tokens_BS1[:, 1:].flatten(), reduction="none")
        torch.testing.assert_close(rows.nats_BS.flatten(), nats, atol=1e-4, rtol=1e-4)
        assert rows.samples_BSN.shape == (6, 16, 12)
        assert rows.samples_BSN.dtype == torch.int64
        best = logits.argmax(-1, keepdim=True)
        hits.update((rows.samples_BSN == best).flatten().tolist())
        expected += float(logits.softmax(-1).amax(-1).mean()) / 10
    assert hits[True] / hits.total() == pytest.approx(expected, abs=0.02), "sampled in proportion to its probability"


def test_cache_takes_28_bytes_per_token_and_announces_its_size(
    teacher: Teacher, make_shards: MakeShards, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    messages: list[str] = []
    monkeypatch.setattr(cache, "notify", messages.append)
    shards = make_shards("a", 0, 8)
    computed = write_cache(tmp_path / "cache", teacher, shards, CONFIG)
    tokens = shards.num_windows(16) * 16
    size = sum(file.stat().st_size for file in computed.folder.glob("*.bin"))
    assert size == 28 * tokens
    assert messages == [
        f"the teacher's cache takes {size / 1e9:.3g} GB, 28 bytes for each of {tokens:,} tokens: {computed.folder}"
    ]
    write_cache(tmp_path / "cache", teacher, shards, CONFIG)
    assert len(messages) == 1, "nothing is missing"
    assert logit_sampling.record_type(2**16, 12).itemsize == 28
    assert logit_sampling.record_type(2**16 + 1, 12).itemsize == 52


def test_cache_without_samples_holds_the_nats(teacher: Teacher, make_shards: MakeShards, tmp_path: Path) -> None:
    shards = make_shards("a", 0, 8)
    bare = write_cache(tmp_path / "bare", teacher, shards, dataclasses.replace(CONFIG, samples=0))
    full = write_cache(tmp_path / "full", teacher, shards, CONFIG)
    assert np.array_equal(bare.window(9)["nats"], full.window(9)["nats"])
    batch = Batches([shards], [1], batch_sequences=2, sequence_tokens=16, seed=0).next()
    assert read_soft_targets([bare], batch).samples_BSN.shape == (2, 16, 0)


class Failing(Teacher):
    """A teacher that fails after `calls` forward passes."""

    def __init__(self, inner: Teacher, calls: int) -> None:
        super().__init__(inner.name, inner.hash, inner.device, inner.tokenizer, inner.max_tokens)
        self.inner, self.calls = inner, calls

    @property
    def shape(self) -> Shape:
        return self.inner.shape

    @property
    def flops_per_token(self) -> int:
        return self.inner.flops_per_token

    def hidden(self, tokens_BS: torch.Tensor) -> torch.Tensor:
        self.calls -= 1
        if self.calls < 0:
            raise KeyboardInterrupt
        return self.inner.hidden(tokens_BS)

    def _incremental_model(self, max_tokens: int) -> Callable[[torch.Tensor], torch.Tensor]:
        return self.inner._incremental_model(max_tokens)

    def _head(self, hidden_E: torch.Tensor) -> torch.Tensor:
        return self.inner._head(hidden_E)


def test_resumed_equals_uninterrupted_and_computes_only_the_rest(
    teacher: Teacher, make_shards: MakeShards, tmp_path: Path
) -> None:
    shards = make_shards("a", 0, 8)
    whole = write_cache(tmp_path / "whole", teacher, shards, CONFIG)
    folder = tmp_path / "cache"
    with pytest.raises(KeyboardInterrupt):
        write_cache(folder, Failing(teacher, 10), shards, CONFIG)  # a part has three batches
    assert len(read_json(folder / "manifest.json")["files"]) == 3
    (folder / ".samples-00003.bin.0123abcd.part").write_bytes(b"half")
    (folder / "samples-00003.bin").write_bytes(b"written, but not yet named")
    batches = -(-shards.num_windows(16) // 8) * 3
    write_cache(folder, Failing(teacher, batches - 9), shards, CONFIG)
    assert contents(folder) == contents(whole.folder)


def _write(model: Path, corpus: Path, folder: Path) -> None:
    torch.set_num_threads(1)
    cache.PART_TOKENS, cache.BATCH_TOKENS, losses.CHUNK_TOKENS["cpu"] = 128, 48, 20
    teacher = open_teacher(model, Tokenizer.open(model), CPU)
    write_cache(folder, teacher, TokenShards.open(corpus), CONFIG)


def test_kill_at_any_moment_loses_nothing(
    model: SparseModel, tokenizer: Tokenizer, make_shards: MakeShards, tmp_path: Path
) -> None:
    shards = make_shards("a", 0, 16)
    teacher = open_teacher(model.trunk.path, tokenizer, CPU)
    whole = write_cache(tmp_path / "whole", teacher, shards, CONFIG)
    folder, kills = tmp_path / "cache", 0
    for pause in random.Random(0).choices(range(20), k=2):
        process = start_process(_write, model.trunk.path, shards.folder, folder)
        start = len(list(folder.glob("*.bin"))) if folder.exists() else 0
        while process.is_alive() and len(list(folder.glob("*.bin"))) < start + 2:
            time.sleep(0.001)
        time.sleep(pause / 1000)
        kills += process.is_alive()
        process.kill()
        process.join()
    assert kills, "the process finished before it could be killed"
    write_cache(folder, teacher, shards, CONFIG)
    assert contents(folder) == contents(whole.folder)


def other_cases(model: SparseModel, tokenizer: Tokenizer, make_shards: MakeShards) -> Iterator[tuple[str, tuple]]:
    trunk = open_teacher(model.trunk.path, tokenizer, CPU)
    teacher = open_teacher(model.trunk.path.parent / "model", tokenizer, CPU)
    shards = make_shards("a", 0, 8)
    yield "teacher", (trunk, shards, CONFIG)
    yield "corpus", (teacher, make_shards("b", 1, 8), CONFIG)
    yield "seed", (teacher, shards, dataclasses.replace(CONFIG, seed=1))


def test_cache_of_something_else_is_rejected_and_kept(
    teacher: Teacher, model: SparseModel, tokenizer: Tokenizer, make_shards: MakeShards, tmp_path: Path
) -> None:
    cases = dict(other_cases(model, tokenizer, make_shards))
    computed = write_cache(tmp_path / "cache", teacher, cases["teacher"][1], CONFIG)
    before = contents(computed.folder)
    for key, arguments in cases.items():
        with pytest.raises(ArtefactError, match=f"cache was made with {key} .+, expected .+: choose another folder"):
            write_cache(computed.folder, *arguments)
        assert contents(computed.folder) == before


def test_invalid_input_is_one_line_and_writes_nothing(
    teacher: Teacher, make_shards: MakeShards, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shards, folder = make_shards("a", 0, 8), tmp_path / "cache"
    with pytest.raises(ConfigError, match="takes at most 64 tokens, but a sequence has 65"):
        write_cache(folder, teacher, shards, CacheConfig(sequence_tokens=65))
    with pytest.raises(DataError, match="but a window has 10001: add text"):
        write_cache(folder, teacher, shards, CacheConfig(sequence_tokens=10_000))
    disk = shutil.disk_usage(tmp_path)._replace(free=1000)
    with monkeypatch.context() as full:
        full.setattr(shutil, "disk_usage", lambda _: disk)
        with pytest.raises(MachineError, match="has 1e-06 GB free: lower samples"):
            write_cache(folder, teacher, shards, CONFIG)
    assert not folder.exists()
    folder.mkdir()
    (folder / "thesis.txt").write_text("mine")
    with pytest.raises(ArtefactError, match="is not a teacher's cache"):
        write_cache(folder, teacher, shards, CONFIG)
    assert [file.name for file in folder.iterdir()] == ["thesis.txt"]


def test_damage_is_detected(teacher: Teacher, make_shards: MakeShards, tmp_path: Path) -> None:
    shards, folder = make_shards("a", 0, 8), tmp_path / "cache"
    computed = write_cache(folder, teacher, shards, CONFIG)
    file = folder / "samples-00001.bin"
    raw = file.read_bytes()

    def rejected(opened: TeacherCache | None = None) -> None:
        with pytest.raises(ArtefactError, match=r"samples-00001.bin is damaged \(.+\): remove"):
            opened.window(8 + 7) if opened else write_cache(folder, teacher, shards, CONFIG)

    file.write_bytes(raw[:-1] + b"\xff")
    rejected()
    rejected(computed)  # token 65,3xx
    file.write_bytes(raw[:-1])
    rejected()
    rejected(computed)
    file.unlink()
    rejected()
    rejected(computed)
    file.write_bytes(raw)
    manifest = read_json(folder / "manifest.json")
    write_json(folder / "manifest.json", {**manifest, "more": 1})
    with pytest.raises(ArtefactError, match="unknown key 'more'"):
        write_cache(folder, teacher, shards, CONFIG)
