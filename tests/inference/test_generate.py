import pytest
import torch

from baicai.errors import ConfigError
from baicai.inference.decoder import open_decoder
from baicai.inference.generate import SamplingConfig, generate, generate_batch, sample
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


def test_sample_respects_top_k_and_top_p() -> None:
    logits_BV = torch.tensor([[0.5, 0.3, 0.15, 0.05]]).log().expand(4000, -1)
    generator = torch.Generator().manual_seed(0)
    two = sample(logits_BV, SamplingConfig(temperature=1.0, top_p=1.0, top_k=2), generator)
    assert set(two.tolist()) == {0, 1}
    nucleus = sample(logits_BV, SamplingConfig(temperature=1.0, top_p=0.79), generator)
    assert set(nucleus.tolist()) == {0, 1}
    everything = sample(logits_BV, SamplingConfig(temperature=1.0, top_p=1.0), generator)
    share = torch.bincount(everything, minlength=4) / 4000
    torch.testing.assert_close(share, torch.tensor([0.5, 0.3, 0.15, 0.05]), atol=0.03, rtol=0)
    cold = sample(logits_BV, SamplingConfig(temperature=0.2, top_p=1.0), generator)
    assert (cold == 0).float().mean() > 0.9


@pytest.mark.parametrize("changes", [{"temperature": 5e-324}, {"temperature": 1e-40}, {"top_p": 5e-324}])
def test_vanishing_temperature_or_top_p_selects_the_likeliest_token(changes: dict[str, float]) -> None:
    logits = torch.tensor([[0.0, -torch.inf, 2.0, 2.0 - 1e-6]])
    sampling = SamplingConfig(**{"temperature": 1.0, "top_p": 1.0} | changes)
    assert all(sample(logits, sampling, torch.Generator().manual_seed(seed)).tolist() == [2] for seed in range(5))


def test_generation_reports_which_leaf_was_used() -> None:
    model = tiny()
    model.join("a", grown(model, 1))
    model.join("b", grown(model, 2))
    tokens = list(generate(open_decoder(model, ["b"]), [1, 2], SamplingConfig(max_tokens=5)))
    assert all(set(t.leaf_weights) == {"b"} and t.leaf_weights["b"] > 0 for t in tokens)
    assert all(t.log_probability <= 0 for t in tokens)


PROMPTS = torch.arange(12).view(3, 4)


on_a_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=on_a_gpu)])
def test_batch_generation_depends_only_on_the_seed(device: str) -> None:
    model = tiny().to(device)
    texts = generate_batch(model, PROMPTS, 30, seed=3)
    assert texts.shape == (3, 30)
    torch.manual_seed(1)
    before = torch.get_rng_state()
    assert torch.equal(texts, generate_batch(model, PROMPTS, 30, seed=3))
    assert torch.equal(torch.get_rng_state(), before)
    assert not torch.equal(texts, generate_batch(model, PROMPTS, 30, seed=4))


@torch.no_grad()
def test_batch_generation_equals_repeated_forward_passes() -> None:
    model = tiny()
    model.join("a", grown(model, 1))
    text = PROMPTS
    for _ in range(20):
        text = torch.cat((text, model(text)[:, -1:, :40].argmax(-1)), 1)
    assert torch.equal(generate_batch(model, PROMPTS, 20, seed=0, temperature=0, vocab_size=40), text[:, 4:])


def test_tokens_are_sampled_in_proportion_to_their_probability() -> None:
    model = tiny()
    model.embedding.weight.data *= 10
    drawn = generate_batch(model, PROMPTS[:1].expand(5000, -1), 1, seed=0).flatten()
    chance = model(PROMPTS[:1])[0, -1].softmax(-1).detach()
    assert chance.max() > 0.2, "a flat distribution would show nothing"
    torch.testing.assert_close(drawn.bincount(minlength=len(chance)) / 5000, chance, atol=0.02, rtol=0)


def test_a_model_in_training_generates_and_trains_on_it() -> None:
    model = tiny().train()
    with torch.autocast("cpu", torch.bfloat16):
        first = generate_batch(model, PROMPTS, 8, seed=0)
        assert model.training
        model(first).square().mean().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    torch.optim.SGD(model.parameters(), lr=10).step()
    assert not torch.equal(generate_batch(model, PROMPTS, 8, seed=0), first), "the updated weights are used"


def test_more_tokens_than_the_limit_are_refused_up_front() -> None:
    assert generate_batch(tiny(), PROMPTS, 61, seed=0).shape == (3, 61)
    with pytest.raises(ConfigError, match="65 tokens do not fit: this model takes at most 64"):
        generate_batch(tiny(), PROMPTS, 62, seed=0)


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda m: list(generate(open_decoder(m), [], SamplingConfig())), "does not fit"),
        (lambda m: list(generate(open_decoder(m), [0] * 64, SamplingConfig())), "does not fit"),
        (lambda m: open_decoder(m, ["x"]), "unknown leaf 'x'"),
        (lambda m: SamplingConfig(top_p=0.0), "top_p"),
        (lambda m: SamplingConfig(stop=("",)), "stop"),
        (lambda m: SamplingConfig(speculate=-1), "speculate"),
    ],
)
def test_misuse_is_one_clear_error(act: object, message: str) -> None:
    model = tiny()
    model.join("a", grown(model, 1))
    with pytest.raises(ConfigError, match=message):
        act(model)  # type: ignore[operator]
