"""The step captured as a CUDA graph: run uncaptured on a CPU, in the same fixed shapes, against the plain decoder."""

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


class Uncaptured(CudaGraphDecoder):
    """Runs the step whenever the graph would be replayed, and overwrites the first outputs, as a replay does."""

    def __init__(self, *options: object) -> None:
        super().__init__(*options)  # type: ignore[arg-type]
        self._can_capture = True

    def _capture(self) -> Callable[[], DecoderOutput]:
        output = self._step_fixed()

        def replay() -> DecoderOutput:
            for first, now in zip(output, self._step_fixed(), strict=True):
                first.copy_(now)
            return output

        return replay


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
def test_fixed_shapes_match_the_plain_decoder(attention: str, on: list[str], prompt: int) -> None:
    model, outputs = joined(attention), []
    for kind in (Decoder, Uncaptured):
        decoder = kind(model, on, 32)
        if prompt:
            decoder.step(TOKENS[:prompt])
        outputs.append(one_by_one(decoder, TOKENS[prompt:]))
        decoder.length = 12
        outputs[-1] += one_by_one(decoder, TOKENS[:5])  # other tokens than before at these positions
        assert decoder.length == 17
    for plain, fixed in zip(*outputs, strict=True):
        torch.testing.assert_close(fixed, plain, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("attention", ["gqa", "mla"])
def test_step_never_synchronizes(attention: str, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tiny(ATTENTION[attention]).config
    monkeypatch.setattr(grouped_experts, "can_group", lambda *_: True)
    with FakeTensorMode():  # tensors without values: reading one fails
        model = Transformer(config)
        for name in "ab":
            model.join(name, Leaf(config, LEAF))
        decoder = Uncaptured(model, ["a", "b"])
        monkeypatch.setattr(decoder, "_products", lambda _: torch.autocast("cpu", torch.bfloat16))
        with torch.inference_mode():
            assert decoder._step_fixed().logits_NV.shape == (1, 97)


@pytest.mark.parametrize("attention", ["gqa", "mla"])
def test_drafting_works_with_a_captured_step(attention: str) -> None:
    model = joined(attention)
    completions = []
    for kind, speculate in ((Decoder, 0), (Uncaptured, 0), (Uncaptured, 2)):
        sampling, count = SamplingConfig(max_tokens=25, temperature=0, speculate=speculate), DraftStats()
        completions.append([t.id for t in generate(kind(model, list(model.leaves)), [5, 6], sampling, drafts=count)])
        assert bool(count.proposed) == bool(speculate)
    assert completions[0] == completions[1] == completions[2]


def test_outputs_are_not_overwritten_and_the_limit_is_enforced() -> None:
    decoder = Uncaptured(joined("gqa"), [], 3)
    first = decoder.step([1])
    before = first.logits_NV.clone()
    decoder.step([2])
    assert torch.equal(first.logits_NV, before)
    decoder.step([3])
    decoder._replay = lambda: pytest.fail("a replay does not check the limit")
    with pytest.raises(ConfigError, match="4 tokens do not fit: this model takes at most 3"):
        decoder.step([4])


def test_nothing_is_captured_on_a_cpu() -> None:
    decoder = CudaGraphDecoder(joined("gqa"), ["leaf-0"])
    torch.testing.assert_close(decoder.step([1]).logits_NV, Decoder(joined("gqa"), ["leaf-0"]).step([1]).logits_NV)
    assert decoder._replay is None


@on_a_gpu
@pytest.mark.parametrize("attention", ["gqa", "mla"])
def test_a_graph_matches_the_plain_decoder(attention: str) -> None:
    model, outputs = joined(attention).to("cuda", torch.bfloat16), []
    for kind in (Decoder, CudaGraphDecoder):
        decoder = kind(model, list(model.leaves))
        decoder.step(TOKENS[:9])
        outputs.append(one_by_one(decoder, TOKENS[9:])[0])
    assert decoder._replay is not None
    error_T = (outputs[0] - outputs[1]).norm(dim=-1) / outputs[0].norm(dim=-1)
    assert float(error_T.median()) < 0.05, error_T  # rounding sends a token to another expert now and then
