"""The trunk as an artefact: what it holds, its public sample, and what it refuses."""

import dataclasses
import errno
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from baicai.artefact import read_json, read_tensors
from baicai.data.sources import SourceConfig
from baicai.data.tokenizer import Tokenizer
from baicai.errors import ArtefactError, ConfigError, DataError, MachineError
from baicai.leaves.train_trunk import TrunkRecipe, train_trunk
from baicai.leaves.trunk import Trunk, open_trunk, save_trunk
from baicai.model.config import GQAConfig, ModelConfig
from baicai.model.transformer import Transformer
from baicai.run import Run, run_stage
from baicai.training.config import TrainConfig
from baicai.training.loop import loss_curve
from tests.conftest import TRAIN as SHOP_TRAIN
from tests.conftest import WORDS, Workshop

ABOUT = ("metrics", "data", "curve")
SIZES = ModelConfig(
    vocab_size=320,
    dim=16,
    num_layers=1,
    ffn_dim=16,
    max_tokens=32,
    attention=GQAConfig(num_heads=2, num_kv_heads=1, head_dim=8),
)
TRAIN = TrainConfig(tokens=4 * 4 * 16, batch_sequences=4, sequence_tokens=16, log_steps=1)
ABOUT: dict[str, Any] = {"metrics": {"tokens": 1, "loss": 1.0}, "data": [], "curve": []}


def recipe(workshop: Workshop, **changes: Any) -> TrunkRecipe:
    data = [workshop.text("public"), workshop.text("fruit")]
    base = TrunkRecipe(tokenizer=workshop.path("tokenizer"), data=data, model=SIZES, train=TRAIN, replay_tokens=160)
    return dataclasses.replace(base, **changes)


@pytest.fixture
def trunk(workshop: Workshop) -> Trunk:
    return open_trunk(workshop.path("trunk"))


def test_trunk_folder_holds_everything_its_leaves_need(workshop: Workshop, trunk: Trunk) -> None:
    names = sorted(entry.name for entry in Path(workshop.path("trunk")).iterdir())
    assert names == ["README.md", "config.json", "replay", "tokenizer.json", "trunk.safetensors"]
    card = read_json(Path(workshop.path("trunk")) / "config.json")
    assert card["hash"] == trunk.hash
    assert card["model"]["dim"] == 32
    assert card["metrics"]["tokens"] == SHOP_TRAIN.tokens
    assert [text["domain"] for text in card["data"]] == list(WORDS)
    assert card["data"][0]["licences"] == {"CC0-1.0": 1}
    assert card["curve"][0]["loss"] > card["curve"][-1]["loss"] > 0
    assert card["curve"][-1]["tokens"] == SHOP_TRAIN.tokens
    readme = (Path(workshop.path("trunk")) / "README.md").read_text()
    assert trunk.hash in readme
    assert "| public |" in readme


def test_trunk_is_opened_frozen_and_in_its_stored_type(workshop: Workshop, trunk: Trunk) -> None:
    stored = read_tensors(Path(workshop.path("trunk")) / "trunk.safetensors")
    assert {tensor.dtype for tensor in stored.values()} == {torch.bfloat16}
    parameters = dict(trunk.network.named_parameters())
    assert parameters.keys() == stored.keys()
    assert all(not p.requires_grad and p.dtype == torch.bfloat16 for p in parameters.values())
    assert all(torch.equal(p, stored[name].float()) for name, p in parameters.items())
    assert not trunk.network.training


def test_saving_again_gives_the_same_hash_and_bytes(workshop: Workshop, trunk: Trunk, tmp_path: Path) -> None:
    digest = save_trunk(tmp_path / "again", trunk.network, trunk.tokenizer, replay=trunk.replay(), card_fields=ABOUT)
    assert digest == trunk.hash == open_trunk(tmp_path / "again").hash == open_trunk(digest[:12]).hash
    for name in ("trunk.safetensors", "tokenizer.json", "replay/manifest.json"):
        assert (tmp_path / "again" / name).read_bytes() == (Path(workshop.path("trunk")) / name).read_bytes()


def test_hash_covers_weights_and_sizes(trunk: Trunk, tmp_path: Path) -> None:
    def digest(name: str) -> str:
        return save_trunk(tmp_path / name, trunk.network, trunk.tokenizer, replay=trunk.replay(), card_fields=ABOUT)

    with torch.no_grad():
        trunk.network.norm.weight[0] += 1
    seen = {trunk.hash, digest("weights")}
    trunk.network.config = dataclasses.replace(trunk.network.config, max_tokens=65)
    seen.add(digest("sizes"))
    assert len(seen) == 3


def test_an_unexpected_trunk_is_rejected(workshop: Workshop) -> None:
    with pytest.raises(ArtefactError, match=r"trunk .* has hash \w{8}, expected 00000000: pass the matching trunk"):
        open_trunk(workshop.path("trunk"), "0" * 64)


def test_public_sample_is_training_text(workshop: Workshop, trunk: Trunk) -> None:
    replay = trunk.replay()
    assert replay.num_tokens == 2000 // 32 * 32
    assert replay.tokenizer_hash == trunk.tokenizer.hash
    assert replay.manifest.licences == {"CC0-1.0": 1}
    assert replay.manifest.sources == {"a sample of the trunk's training text": 1}
    texts = [(workshop.folder / f"{domain}.txt").read_text() for domain in WORDS]
    for number in range(20):
        window = trunk.tokenizer.decode(replay.read(32 * number, 32).tolist())
        assert any(window in text for text in texts)


def test_public_sample_has_the_source_shares_of_training(workshop: Workshop, tmp_path: Path) -> None:
    data = [dataclasses.replace(workshop.text("public"), weight=4.0), workshop.text("fruit")]
    run_stage(train_trunk, recipe(workshop, data=data), tmp_path / "trunk")
    trunk = open_trunk(tmp_path / "trunk")
    replay = trunk.replay()
    rows = [trunk.tokenizer.decode(replay.read(16 * number, 16).tolist()) for number in range(10)]
    fruity = [row for row in rows if row in (workshop.folder / "fruit.txt").read_text()]
    assert len(fruity) == 2
    assert [text["domain"] for text in trunk.card["data"]] == ["public", "fruit"]


def test_public_sample_can_be_generated_by_the_trunk(workshop: Workshop, tmp_path: Path) -> None:
    for out in ("one", "other"):
        run_stage(train_trunk, recipe(workshop, replay="sampled"), tmp_path / out)
    trunk = open_trunk(tmp_path / "one")
    replay = trunk.replay()
    assert replay.num_tokens == 160
    assert replay.manifest.sources == {"written by the trunk itself": 1}
    assert replay.hash == open_trunk(tmp_path / "other").replay().hash, "the same seed writes the same text"
    assert len(np.unique(replay.read(0, 160))) > 20
    assert trunk.tokenizer.decode(replay.read(0, 16).tolist()) not in (workshop.folder / "public.txt").read_text()


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        (
            {"model": dataclasses.replace(SIZES, vocab_size=321)},
            ConfigError,
            "is 321, the tokenizer has 320: make them",
        ),
        ({"data": []}, ConfigError, "0 weights for 0 sources"),
        ({"tokenizer": "/nowhere"}, ArtefactError, "/nowhere does not exist"),
        ({"data": [SourceConfig(path="/nowhere", domain="x")]}, DataError, "/nowhere does not exist"),
    ],
)
def test_invalid_recipes(
    workshop: Workshop, tmp_path: Path, changes: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        run_stage(train_trunk, recipe(workshop, **changes), tmp_path / "trunk")
    assert not (tmp_path / "trunk").exists()


def test_two_sources_of_one_domain_are_rejected(workshop: Workshop, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="two sources have the domain 'fruit'"):
        run_stage(train_trunk, recipe(workshop, data=[workshop.text("fruit")] * 2), tmp_path / "trunk")


def test_a_folder_that_is_not_a_trunk_is_a_one_line_error(workshop: Workshop, tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match=r"config\.json is missing: the artefact is incomplete"):
        open_trunk(workshop.path("fruit"))


def test_a_tokenizer_larger_than_the_embedding_is_rejected(workshop: Workshop, tmp_path: Path) -> None:
    whole = open_trunk(workshop.path("trunk"))
    model = Transformer(dataclasses.replace(SIZES, vocab_size=10))
    save_trunk(
        tmp_path / "trunk", model, whole.tokenizer, replay=None, card_fields={key: whole.card[key] for key in ABOUT}
    )
    with pytest.raises(ArtefactError, match="the tokenizer has 320 tokens, the embedding 10 rows"):
        open_trunk(tmp_path / "trunk")


def test_killed_after_training_it_resumes_with_the_same_sample(
    workshop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import baicai.leaves.train_trunk as module

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    run_stage(train_trunk, recipe(workshop), tmp_path / "whole")
    monkeypatch.setattr(module, "save_trunk", killed)
    with pytest.raises(KeyboardInterrupt):
        run_stage(train_trunk, recipe(workshop), tmp_path / "broken")
    monkeypatch.undo()
    monkeypatch.setattr("baicai.leaves.replay.write_tokens", killed)  # the sample is there already
    run_stage(train_trunk, recipe(workshop), tmp_path / "broken")
    whole, broken = open_trunk(tmp_path / "whole"), open_trunk(tmp_path / "broken")
    assert whole.hash == broken.hash
    assert whole.card == broken.card


def test_a_full_disk_while_copying_the_sample_leaves_nothing_behind(
    trunk: Trunk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(shutil, "copyfile", full)
    with pytest.raises(MachineError, match=r"no space left while writing .*out: free some and run the same command"):
        save_trunk(tmp_path / "out", trunk.network, trunk.tokenizer, replay=trunk.replay(), card_fields=ABOUT)
    assert not list(tmp_path.iterdir())


def test_a_curve_is_thinned(tmp_path: Path) -> None:
    with Run(tmp_path / "out", TRAIN) as run:
        for step in range(1, 301):
            run.log({"step": step, "loss": 1 / step} if step % 2 else {"step": step})
        points = loss_curve(run, TRAIN, points=10)
    assert 10 <= len(points) <= 11
    assert points[0] == {"tokens": 64, "loss": 1.0}
    assert points[1]["tokens"] == 64 * 31


def test_trunk_contains_the_tokenizer_it_was_trained_with(workshop: Workshop, trunk: Trunk) -> None:
    assert trunk.tokenizer.hash == Tokenizer.open(Path(workshop.path("tokenizer"))).hash
