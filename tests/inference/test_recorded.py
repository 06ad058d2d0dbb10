"""The step that is recorded for CUDA: on a CPU run as it is, in the same fixed shapes, against the plain one."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from baicai.errors import ConfigError
from baicai.inference.decoder import CudaGraphDecoder, Decoder, DecoderOutput
from baicai.inference.generate import DraftStats, SamplingConfig, generate
from baicai.model import grouped_experts
from baicai.model.experts import Leaf
from baicai.model.transformer import Transformer
from tests.model.conftest import GQA, LEAF, MLA, grown, tiny
from tests.model.test_grouped_experts import on_a_gpu

TOKENS = [int(t) for t in torch.randint(97, (20,), generator=torch.Generator().manual_seed(5))]
ATTENTION = {"gqa": GQA, "mla": MLA}


class Unrecorded(CudaGraphDecoder):
    """Runs the step whenever the recording would be played, and writes where the first one wrote, as that does."""

    def __init__(self, *options: object) -> None:
        super().__init__(*options)  # type: ignore[arg-type]
        self._can_record = True

    def _record(self) -> Callable[[], DecoderOutput]:
        said = self._one()

        def play() -> DecoderOutput:
            for first, now in zip(said, self._one(), strict=True):
                first.copy_(now)
            return said

        return play


def joined(attention: str, leaves: int = 3) -> Transformer:
    model = tiny(ATTENTION[attention], mtp=True)
    for seed in range(leaves):
        model.join(f"leaf-{seed}", grown(model, seed))
    model.topk_group = 2
    return model.requires_grad_(False)


def one_by_one(decoder: Decoder, tokens: list[int]) -> list[Tensor]:
    return [torch.cat(column) for column in zip(*(decoder.step([token]) for token in tokens), strict=True)]


@pytest.mark.parametrize("attention", ["gqa", "mla"])
@pytest.mark.parametrize("on", [[], ["leaf-1"], ["leaf-2", "leaf-0"], ["leaf-0", "leaf-1", "leaf-2"]])
@pytest.mark.parametrize("prompt", [0, 9])
def test_fixed_shapes_say_what_the_plain_way_says(attention: str, on: list[str], prompt: int) -> None:
    model, found = joined(attention), []
    for kind in (Decoder, Unrecorded):
        decoder = kind(model, on, 32)
        if prompt:
            decoder.step(TOKENS[:prompt])
        found.append(one_by_one(decoder, TOKENS[prompt:]))
        decoder.length = 12
        found[-1] += one_by_one(decoder, TOKENS[:5])  # others than it has seen in these places
        assert decoder.length == 17
    for plain, fixed in zip(*found, strict=True):
        torch.testing.assert_close(fixed, plain, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("attention", ["gqa", "mla"])
def test_it_never_waits_for_a_value(attention: str, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tiny(ATTENTION[attention]).config
    monkeypatch.setattr(grouped_experts, "can_group", lambda *_: True)
    with FakeTensorMode():  # tensors without values: whoever asks for one fails
        model = Transformer(config)
        for name in "ab":
            model.join(name, Leaf(config, LEAF))
        decoder = Unrecorded(model, ["a", "b"])
        monkeypatch.setattr(decoder, "_products", lambda _: torch.autocast("cpu", torch.bfloat16))
        with torch.inference_mode():
            assert decoder._one().logits_NV.shape == (1, 97)


@pytest.mark.parametrize("attention", ["gqa", "mla"])
def test_drafts_go_beside_it(attention: str) -> None:
    model = joined(attention)
    told = []
    for kind, speculate in ((Decoder, 0), (Unrecorded, 0), (Unrecorded, 2)):
        sampling, count = SamplingConfig(max_tokens=25, temperature=0, speculate=speculate), DraftStats()
        told.append([t.id for t in generate(kind(model, list(model.leaves)), [5, 6], sampling, drafts=count)])
        assert bool(count.proposed) == bool(speculate)
    assert told[0] == told[1] == told[2]


def test_what_it_says_is_not_written_over_and_room_is_kept_to() -> None:
    decoder = Unrecorded(joined("gqa"), [], 3)
    first = decoder.step([1])
    before = first.logits_NV.clone()
    decoder.step([2])
    assert torch.equal(first.logits_NV, before)
    decoder.step([3])
    decoder._play = lambda: pytest.fail("a recording does not look how much room there is")
    with pytest.raises(ConfigError, match="4 tokens do not fit: this model takes at most 3"):
        decoder.step([4])


def test_a_cpu_records_nothing() -> None:
    decoder = CudaGraphDecoder(joined("gqa"), ["leaf-0"])
    torch.testing.assert_close(decoder.step([1]).logits_NV, Decoder(joined("gqa"), ["leaf-0"]).step([1]).logits_NV)
    assert decoder._play is None


@on_a_gpu
@pytest.mark.parametrize("attention", ["gqa", "mla"])
def test_a_recording_says_what_the_plain_way_says(attention: str) -> None:
    model, found = joined(attention).to("cuda", torch.bfloat16), []
    for kind in (Decoder, CudaGraphDecoder):
        decoder = kind(model, list(model.leaves))
        decoder.step(TOKENS[:9])
        found.append(one_by_one(decoder, TOKENS[9:])[0])
    assert decoder._play is not None
    apart = (found[0] - found[1]).norm(dim=-1) / found[0].norm(dim=-1)
    assert float(apart.median()) < 0.05, apart  # rounding sends a token to another expert now and then
