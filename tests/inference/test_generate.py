import pytest
import torch

from baicai.errors import ConfigError
from baicai.inference.decoder import open_decoder
from baicai.inference.generate import SamplingConfig, draw, generate, sample_texts
from baicai.model.transformer import Transformer
from tests.model.conftest import GQA, MLA, grown, tiny


@pytest.fixture(params=["gqa", "mla"])
def model(request: pytest.FixtureRequest) -> Transformer:
    return tiny(GQA if request.param == "gqa" else MLA)


def test_greedy_generation_equals_repeated_forward_passes(model: Transformer) -> None:
    model.join("a", grown(model, 1))
    tokens = [5, 6, 7]
    got = [t.id for t in generate(open_decoder(model), tokens, SamplingConfig(max_tokens=12, temperature=0))]
    for _ in range(12):
        with torch.no_grad():
            tokens.append(int(model(torch.tensor([tokens]))[0, -1].argmax()))
    assert got == tokens[3:]


def test_generation_is_a_function_of_its_seed() -> None:
    model = tiny()
    answers = [
        [t.id for t in generate(open_decoder(model), [1], SamplingConfig(max_tokens=20, temperature=1.0, seed=seed))]
        for seed in (1, 1, 2)
    ]
    assert answers[0] == answers[1]
    assert answers[0] != answers[2]


def test_generation_ends_at_an_end_token_and_at_the_models_limit() -> None:
    model = tiny()
    greedy = SamplingConfig(max_tokens=500, temperature=0)
    everything = [t.id for t in generate(open_decoder(model), [1], greedy)]
    assert len(everything) == model.config.max_tokens - 1
    some = everything[5]
    assert [t.id for t in generate(open_decoder(model), [1], greedy, end_ids=[some])] == everything[
        : everything.index(some)
    ]


def test_draw_keeps_to_top_k_and_top_p() -> None:
    logits_BV = torch.tensor([[0.5, 0.3, 0.15, 0.05]]).log().expand(4000, -1)
    generator = torch.Generator().manual_seed(0)
    two = draw(logits_BV, SamplingConfig(temperature=1.0, top_p=1.0, top_k=2), generator)
    assert set(two.tolist()) == {0, 1}
    nucleus = draw(logits_BV, SamplingConfig(temperature=1.0, top_p=0.79), generator)
    assert set(nucleus.tolist()) == {0, 1}
    everything = draw(logits_BV, SamplingConfig(temperature=1.0, top_p=1.0), generator)
    share = torch.bincount(everything, minlength=4) / 4000
    torch.testing.assert_close(share, torch.tensor([0.5, 0.3, 0.15, 0.05]), atol=0.03, rtol=0)
    cold = draw(logits_BV, SamplingConfig(temperature=0.2, top_p=1.0), generator)
    assert (cold == 0).float().mean() > 0.9


@pytest.mark.parametrize("changes", [{"temperature": 5e-324}, {"temperature": 1e-40}, {"top_p": 5e-324}])
def test_what_is_almost_nothing_leaves_the_likeliest_token(changes: dict[str, float]) -> None:
    logits = torch.tensor([[0.0, -torch.inf, 2.0, 2.0 - 1e-6]])
    sampling = SamplingConfig(**{"temperature": 1.0, "top_p": 1.0} | changes)
    assert all(draw(logits, sampling, torch.Generator().manual_seed(seed)).tolist() == [2] for seed in range(5))


def test_generation_reports_which_leaf_was_used() -> None:
    model = tiny()
    model.join("a", grown(model, 1))
    model.join("b", grown(model, 2))
    tokens = list(generate(open_decoder(model, ["b"]), [1, 2], SamplingConfig(max_tokens=5)))
    assert all(set(t.leaf_weights) == {"b"} and t.leaf_weights["b"] > 0 for t in tokens)
    assert all(t.log_probability <= 0 for t in tokens)


def test_sampled_texts_have_the_asked_shape_and_seed() -> None:
    model = tiny()
    texts = sample_texts(model, 0, 5, 30, seed=3)
    assert texts.shape == (5, 30)
    assert torch.equal(texts, sample_texts(model, 0, 5, 30, seed=3))
    assert not torch.equal(texts, sample_texts(model, 0, 5, 30, seed=4))


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda m: list(generate(open_decoder(m), [], SamplingConfig())), "does not fit"),
        (lambda m: list(generate(open_decoder(m), [0] * 64, SamplingConfig())), "does not fit"),
        (lambda m: open_decoder(m, ["x"]), "there is no leaf 'x'"),
        (lambda m: SamplingConfig(top_p=0.0), "top_p"),
        (lambda m: SamplingConfig(stop=("",)), "stop"),
        (lambda m: SamplingConfig(speculate=-1), "speculate"),
    ],
)
def test_wrong_use_is_one_clear_line(act: object, message: str) -> None:
    model = tiny()
    model.join("a", grown(model, 1))
    with pytest.raises(ConfigError, match=message):
        act(model)  # type: ignore[operator]
