"""The compiled decoder against PyTorch, its readable reference."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor

from baicai.errors import ConfigError
from baicai.inference.cpu import thread_pool
from baicai.inference.decoder import CompiledDecoder, Decoder
from baicai.inference.quantize import load_int8_weights, quantize
from baicai.model.config import GQAConfig, MLAConfig
from baicai.model.transformer import Transformer
from tests.model.conftest import GQA, MLA, grown, tiny

PLAIN_MLA = MLAConfig(kind="mla", num_heads=3, kv_lora_rank=10, nope_head_dim=6, rope_head_dim=8, value_head_dim=4)
PLAIN_GQA = GQAConfig(num_heads=3, num_kv_heads=1, head_dim=6)
WIDE_MLA = MLAConfig(kind="mla", num_heads=2, kv_lora_rank=64, nope_head_dim=8, rope_head_dim=32, value_head_dim=8)
WIDE_GQA = GQAConfig(num_heads=6, num_kv_heads=1, head_dim=64)
"""Sizes that fill whole SIMD vectors, with more queries per key head than are multiplied at once."""
TOKENS = [int(t) for t in torch.randint(97, (40,), generator=torch.Generator().manual_seed(5))]


@pytest.fixture(params=[1, 2], ids=["one-thread", "two-threads"])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def joined(attention: GQAConfig | MLAConfig = GQA, leaves: int = 3, topk_group: int = 2, **sizes: bool) -> Transformer:
    model = tiny(attention, **sizes)
    for seed in range(leaves):
        model.join(f"leaf-{seed}", grown(model, seed))
    model.topk_group = topk_group
    return model


def one_by_one(decoder: Decoder, tokens: list[int] = TOKENS) -> Tensor:
    return torch.cat([decoder.step([token]).logits_NV for token in tokens])


@torch.no_grad()
def reference(model: Transformer, on: list[str] | None = None) -> Tensor:
    return model(torch.tensor([TOKENS]), on_BG=None if on is None else model.leaf_mask(on))[0]


@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize("attention", [GQA, PLAIN_GQA, MLA, PLAIN_MLA], ids=["gqa", "plain-gqa", "mla", "plain-mla"])
@pytest.mark.parametrize(("leaves", "topk_group"), [(0, 1), (1, 1), (3, 1), (3, 2), (3, 9)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
def test_logits_equal_pytorchs(
    attention: GQAConfig | MLAConfig, leaves: int, topk_group: int, dtype: torch.dtype
) -> None:
    model = joined(attention, leaves, topk_group, tied_head=leaves != 1).to(dtype)
    decoder = CompiledDecoder(model, list(model.leaves))
    torch.testing.assert_close(one_by_one(decoder), reference(model), atol=2e-5, rtol=1e-5)


@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize("attention", [WIDE_GQA, WIDE_MLA], ids=["gqa", "mla"])
def test_wide_heads_equal_pytorchs(attention: GQAConfig | MLAConfig) -> None:
    model = joined(attention)
    decoder = CompiledDecoder(model, list(model.leaves))
    torch.testing.assert_close(one_by_one(decoder), reference(model), atol=2e-5, rtol=1e-5)


@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize("attention", [GQA, MLA, WIDE_GQA, WIDE_MLA], ids=["gqa", "mla", "wide-gqa", "wide-mla"])
def test_a_token_has_the_same_bits_alone_and_in_a_batch(attention: GQAConfig | MLAConfig) -> None:
    model = joined(attention)
    alone = one_by_one(CompiledDecoder(model, list(model.leaves)))
    batched = CompiledDecoder(model, list(model.leaves))
    parts = [batched.step(TOKENS[a:b], b - a).logits_NV for a, b in ((0, 7), (7, 8), (8, 24), (24, 40))]
    assert torch.equal(torch.cat(parts), alone)


@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize("attention", [GQA, PLAIN_GQA, MLA, PLAIN_MLA], ids=["gqa", "plain-gqa", "mla", "plain-mla"])
@pytest.mark.parametrize("leaves", [0, 2])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
def test_drafts_equal_pytorchs(attention: GQAConfig | MLAConfig, leaves: int, dtype: torch.dtype) -> None:
    model, outputs = joined(attention, leaves, mtp=True).to(dtype), []
    for decoder in (CompiledDecoder(model, list(model.leaves)), Decoder(model, list(model.leaves))):
        hidden_SD = torch.cat([decoder.step(TOKENS[start : start + 13]).hidden_SD for start in (0, 13, 26)])
        steps = ((0, 5), (5, 6), (6, 26), (26, 39))
        drafts = [decoder.draft(hidden_SD[a:b], TOKENS[a + 1 : b + 1], a) for a, b in steps]
        outputs.append([torch.cat(draft) for draft in (*drafts, decoder.draft(drafts[-1][1][None], [3], 39))])
    for ours, reference in zip(*outputs, strict=True):
        torch.testing.assert_close(ours, reference, atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize("attention", [GQA, MLA], ids=["gqa", "mla"])
def test_a_prompt_is_processed_in_one_call(attention: GQAConfig | MLAConfig) -> None:
    model = joined(attention)
    decoder = CompiledDecoder(model, list(model.leaves))
    fed = decoder.step(TOKENS[:30])
    assert fed.logits_NV.shape == (1, 97)
    rest = one_by_one(decoder, TOKENS[30:])
    torch.testing.assert_close(torch.cat((fed.logits_NV, rest)), reference(model)[29:], atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", [Decoder, CompiledDecoder])
def test_tokens_can_be_dropped(kind: type[Decoder]) -> None:
    model = joined()
    decoder = kind(model, list(model.leaves))
    decoder.step(TOKENS[:10])
    decoder.step([1, 2, 3])
    decoder.length = 10
    again = decoder.step(TOKENS[10:12], 2)
    torch.testing.assert_close(again.logits_NV, reference(model)[10:12], atol=2e-5, rtol=1e-5)


def test_an_inactive_leaf_equals_an_absent_one_and_is_not_read() -> None:
    model = joined()
    off = CompiledDecoder(model, ["leaf-2", "leaf-0"])
    masked = reference(model, ["leaf-0", "leaf-2"])
    for parameter in model.leaves["leaf-1"].parameters():
        torch.nn.init.constant_(parameter, float("nan"))
    got = one_by_one(off)
    torch.testing.assert_close(got, masked, atol=2e-5, rtol=1e-5)
    model.peel("leaf-1")
    assert torch.equal(got, one_by_one(CompiledDecoder(model, list(model.leaves))))


@pytest.mark.parametrize("kind", [Decoder, CompiledDecoder])
def test_leaf_weights_match_the_trace(kind: type[Decoder]) -> None:
    model = joined(topk_group=1)
    trace: list = []
    model(torch.tensor([TOKENS[:9]]), trace=trace)
    expected = torch.stack([layer.leaf_weights() for layer in trace]).mean(0)
    torch.testing.assert_close(kind(model, list(model.leaves)).step(TOKENS[:9], 9).leaf_weights_NG, expected)


@pytest.mark.parametrize("kind", [Decoder, CompiledDecoder])
def test_too_many_tokens_are_refused_without_side_effects(kind: type[Decoder]) -> None:
    model = joined()
    decoder = kind(model, [], 12)
    decoder.step(TOKENS[:10])
    with pytest.raises(ConfigError, match="13 tokens do not fit: this model takes at most 12"):
        decoder.step(TOKENS[10:13])
    torch.testing.assert_close(
        decoder.step(TOKENS[10:12], 2).logits_NV, reference(model, [])[10:12], atol=2e-5, rtol=1e-5
    )


def test_threads_wake_up_again_after_a_pause() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        model = joined()
        decoder = CompiledDecoder(model, list(model.leaves))
    finally:
        torch.set_num_threads(before)
    parts = []
    for start in range(0, 40, 8):
        parts.append(decoder.step(TOKENS[start : start + 8], 8).logits_NV)
        torch.randn(600, 600) @ torch.randn(600, 600)
        pause()
    torch.testing.assert_close(torch.cat(parts), reference(model), atol=2e-5, rtol=1e-5)


def pause() -> None:
    import time

    time.sleep(0.05)


def test_int8_rows_are_within_half_a_step() -> None:
    weight = torch.randn(5, 3, 70, generator=torch.Generator().manual_seed(0))
    weight[0, 0] = 0
    codes, scale = quantize(weight)
    assert codes.shape == (5, 3, 128)
    assert (codes[..., 70:] == 128).all()
    back = (codes[..., :70].float() - 128) * scale.unsqueeze(-1)
    assert ((back - weight).abs() <= scale.unsqueeze(-1) * 0.5001).all()


@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize("attention", [GQA, MLA], ids=["gqa", "mla"])
def test_int8_decoding_matches_the_rounded_weights(
    attention: GQAConfig | MLAConfig, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    monkeypatch.setenv("BAICAI_HOME", str(tmp_path_factory.mktemp("home")))
    model = joined(attention)
    int8 = {name: load_int8_weights(f"hash-{name}", leaf.state_dict()) for name, leaf in model.leaves.items()}
    int8[""] = load_int8_weights("hash", model.trunk_tensors())
    got = one_by_one(CompiledDecoder(model, list(model.leaves), None, int8))
    rounded = {"": model.trunk_tensors()} | {name: leaf.state_dict() for name, leaf in model.leaves.items()}
    with torch.no_grad():
        for part, tensors in rounded.items():
            for name, tensor in tensors.items():
                if f"{name}.scales" in int8[part]:
                    codes, scale = int8[part][name], int8[part][f"{name}.scales"]
                    tensor.copy_((codes[..., : tensor.shape[-1]].float() - 128) * scale.unsqueeze(-1))
    expected = reference(model)
    error_T = (got - expected).norm(dim=1) / expected.norm(dim=1)
    assert 0 < error_T.median() < 0.02  # activations are rounded too, which makes some tokens choose other experts
    assert (error_T < 0.05).float().mean() > 0.8


def test_int8_weights_are_cached(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    monkeypatch.setenv("BAICAI_HOME", str(tmp_path))
    first = load_int8_weights("name", {"a": torch.randn(4, 8), "norm": torch.ones(4), "router_ED": torch.ones(2, 8)})
    assert set(first) == {"a", "a.scales"}
    again = load_int8_weights("name", {"a": torch.zeros(4, 8)})
    assert torch.equal(first["a"], again["a"])


@pytest.mark.parametrize("token", [-1, 97])
def test_a_token_outside_the_vocabulary_is_refused(token: int) -> None:
    model = tiny(mtp=True)
    decoder = CompiledDecoder(model, [])
    hidden_SD = decoder.step([5]).hidden_SD
    for act in (lambda: decoder.step([3, token]), lambda: decoder.draft(hidden_SD, [token], 0)):
        with pytest.raises(ConfigError, match="outside the model's vocabulary of 97"):
            act()


def test_a_thread_that_falls_asleep_before_the_step_is_submitted_takes_part(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    decoder = CompiledDecoder(tiny(), [])
    torch.set_num_threads(before)
    decoder.step([5])
    time.sleep(0.02)  # the worker sleeps
    monkeypatch.setattr(decoder._pool, "_wake", [])
    done = threading.Thread(target=decoder.step, args=([6],), daemon=True)
    done.start()
    done.join(10)
    assert not done.is_alive()


def test_the_first_run_announces_compilation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("BAICAI_QUIET", "0")
    monkeypatch.setattr(thread_pool, "COMPILED", tmp_path)
    for announced in (True, False):
        CompiledDecoder(tiny(), [])
        assert ("Compiling" in "".join(capsys.readouterr())) == announced
        (tmp_path / "step.run_step.1.nbc").touch()  # how numba names a cache file
