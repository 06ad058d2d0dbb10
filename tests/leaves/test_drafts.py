"""Multi-token prediction from recipe to answer: it learns and is saved with the trunk, and drafts for its leaves."""

import dataclasses
import json
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

import baicai
from baicai.artefact import read_tensors
from baicai.data.batches import Batch, splice_sequences
from baicai.errors import ConfigError
from baicai.inference.decoder import open_decoder
from baicai.inference.generate import DraftStats, SamplingConfig, generate
from baicai.leaves.generation import text_prompt
from baicai.leaves.grow import grow_leaf
from baicai.leaves.join import JoinRecipe, join_leaves
from baicai.leaves.model import SparseModel, open_model
from baicai.leaves.train_trunk import TrunkRecipe, train_trunk, trunk_loss
from baicai.leaves.trunk import open_trunk, save_trunk
from baicai.model.transformer import Transformer
from baicai.run import run_stage
from tests.conftest import SIZES, TRAIN, WORDS, Workshop, grow_recipe

DRAFTING = dataclasses.replace(SIZES, mtp=True)


def recipe(workshop: Workshop) -> TrunkRecipe:
    texts = [workshop.text(domain) for domain in WORDS]
    return TrunkRecipe(
        tokenizer=workshop.path("tokenizer"), data=texts, model=DRAFTING, train=TRAIN, replay_tokens=2000
    )


@pytest.fixture(scope="module")
def folder(workshop: Workshop, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("drafting")
    run_stage(train_trunk, recipe(workshop), folder / "trunk")
    run_stage(grow_leaf, grow_recipe(workshop, "fruit", trunk=str(folder / "trunk")), folder / "fruit")
    join = JoinRecipe(trunk=str(folder / "trunk"), leaves=[str(folder / "fruit")], max_firing=1.0)
    run_stage(join_leaves, join, folder / "model")
    return folder


@pytest.fixture(scope="module")
def model(folder: Path) -> SparseModel:
    return open_model(folder / "model")


def test_draft_loss_falls_along_with_the_trunk_loss(folder: Path) -> None:
    lines = [json.loads(line) for line in (folder / "trunk.run" / "metrics.jsonl").read_text().splitlines()]
    assert lines[-1]["mtp"] < 0.6 * lines[0]["mtp"]
    assert lines[-1]["next_token"] < 0.6 * lines[0]["next_token"]
    for line in lines:
        parts = line["next_token"] + 0.3 * line["mtp"] + 0.05 * line["source"]
        assert line["loss"] == pytest.approx(parts, abs=1e-5)


def test_loss_and_gradients_match_the_plain_formula(workshop: Workshop) -> None:
    config = recipe(workshop)
    generator = torch.Generator().manual_seed(0)
    batch = Batch(torch.randint(320, (4, 17), generator=generator), torch.arange(4) % 3, torch.arange(4))
    tokens_BS1, _ = splice_sequences(batch, config.splice)

    def nats(logits_BSV: Tensor, targets_BS: Tensor) -> Tensor:
        return F.cross_entropy(logits_BSV.flatten(0, 1), targets_BS.flatten())

    def gradients(model: Transformer, loss: Tensor) -> dict[str, Tensor]:
        names, parameters = zip(*model.named_parameters(), strict=True)
        return dict(zip(names, torch.autograd.grad(loss, parameters), strict=True))

    model = Transformer(DRAFTING)
    model.initialize(0)
    hidden_BSD = model.hidden(tokens_BS1[:, :-1])
    next_token = nats(model.logits(hidden_BSD), tokens_BS1[:, 1:])
    second = nats(model.logits(model.draft(hidden_BSD[:, :-1], tokens_BS1[:, 1:-1])), tokens_BS1[:, 2:])
    source = torch.tensor(3.0).log()  # probes that know nothing yet
    expected = next_token + 0.3 * second + config.source_loss * source
    loss, parts = trunk_loss(config, model, 3, torch.device("cpu"))[0](batch)
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(parts["mtp"], second)
    actual = gradients(model, loss)
    for name, gradient in gradients(model, expected).items():
        torch.testing.assert_close(actual[name], gradient, atol=1e-6, rtol=1e-4, msg=name)


def test_mtp_module_is_saved_and_opened_with_the_trunk(folder: Path, tmp_path: Path) -> None:
    stored = read_tensors(folder / "trunk" / "trunk.safetensors")
    trunk = open_trunk(folder / "trunk")
    assert trunk.network.mtp is not None
    for name, parameter in trunk.network.mtp.named_parameters():
        assert torch.equal(stored[f"mtp.{name}"].float(), parameter)
    with torch.no_grad():
        trunk.network.mtp.norm.weight[0] += 1
    fields = {key: trunk.card[key] for key in ("metrics", "data", "curve")}
    other = save_trunk(tmp_path / "other", trunk.network, trunk.tokenizer, replay=trunk.replay(), card_fields=fields)
    assert other != trunk.hash


def test_trunk_without_mtp_module_keeps_its_hash(tmp_path: Path) -> None:
    trunk = open_trunk(Path(baicai.__file__).parent / "starter")
    fields = {key: trunk.card[key] for key in ("metrics", "data", "curve")}
    again = save_trunk(tmp_path / "again", trunk.network, trunk.tokenizer, replay=trunk.replay(), card_fields=fields)
    assert again == trunk.hash == "dff34c7dbb2c05a2fff30a052ffd3e93e9fffc64e23bf1bf3326e2044f5b1079"


@pytest.mark.parametrize("speculate", [1, 2, 4])
@pytest.mark.parametrize("leaves", [None, []], ids=["with-leaf", "trunk-alone"])
def test_many_drafts_are_accepted_and_greedy_output_is_unchanged(
    model: SparseModel, leaves: list[str] | None, speculate: int
) -> None:
    drafts = DraftStats()
    for text in ("apple pear", "iron copper", "the of", "is"):
        prompt = text_prompt(model, text)
        plain, drafted = (
            [
                token.id
                for token in generate(
                    open_decoder(model.network, leaves),
                    prompt,
                    SamplingConfig(max_tokens=50, temperature=0, speculate=k),
                    drafts=drafts,
                )
            ]
            for k in (0, speculate)
        )
        assert drafted == plain
    assert drafts.accepted > 0.3 * drafts.proposed > 0


def test_sampling_with_drafts_depends_only_on_the_seed(model: SparseModel) -> None:
    def text(seed: int) -> list[int]:
        sampling = SamplingConfig(max_tokens=30, temperature=1.0, seed=seed, speculate=2)
        return [token.id for token in generate(open_decoder(model.network), text_prompt(model, "apple"), sampling)]

    assert text(1) == text(1) != text(2)


def test_mtp_needs_sequences_of_two_tokens(workshop: Workshop) -> None:
    short = dataclasses.replace(TRAIN, sequence_tokens=1)
    with pytest.raises(ConfigError, match=r"train\.sequence_tokens is 1, but model\.mtp predicts two tokens ahead"):
        dataclasses.replace(recipe(workshop), train=short)
