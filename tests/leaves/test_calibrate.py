"""Calibration: only a few scales are trained, and they belong to one set of leaves."""

import dataclasses
from pathlib import Path

import pytest
import torch

from baicai.artefact import file_hash
from baicai.data.sources import open_source
from baicai.errors import ArtefactError, ConfigError
from baicai.evaluation.bits_per_byte import bits_per_byte, held_out_windows, token_nats
from baicai.leaves.calibrate import CalibrateRecipe, calibrate_model
from baicai.leaves.join import JoinRecipe, PeelRecipe, join_leaves, peel_leaves
from baicai.leaves.model import SparseModel, open_model
from baicai.run import Run, run_stage
from baicai.training.config import TrainConfig
from baicai.training.losses import linear_cross_entropy
from tests.conftest import TRAIN, Workshop

SHORT = dataclasses.replace(TRAIN, tokens=20 * TRAIN.step_tokens, learning_rate=0.05)


@pytest.fixture(scope="module")
def calibrated(workshop: Workshop, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("calibrated") / "model"
    data = [workshop.text("fruit"), workshop.text("public")]
    recipe = CalibrateRecipe(model=workshop.path("model"), data=data, train=SHORT)
    run_stage(calibrate_model, recipe, out)
    return out


@torch.no_grad()
def logits(model: SparseModel) -> torch.Tensor:
    out: torch.Tensor = model.network(torch.arange(40).view(1, 40) * 37 % 320)
    return out


def quality(workshop: Workshop, model: SparseModel, domain: str) -> float:
    shards = open_source(workshop.text(domain), model.tokenizer)
    return bits_per_byte(token_nats(model.network), held_out_windows(shards, 32, 4000), model.tokenizer).bits_per_byte


def test_one_scale_per_leaf_and_layer_is_trained(workshop: Workshop, calibrated: Path) -> None:
    before, after = open_model(workshop.path("model")), open_model(calibrated)
    assert after.calibration.keys() == {leaf.hash for leaf in before.leaves.values()}
    assert all(len(scales) == 2 for scales in after.calibration.values())
    assert all(0.1 < scale < 5 and scale != 1 for scales in after.calibration.values() for scale in scales)
    for name, leaf in before.leaves.items():
        layers, scaled = leaf.experts.layer_list(), after.leaves[name].experts.layer_list()
        for layer, other, scale in zip(layers, scaled, after.calibration[leaf.hash], strict=True):
            assert torch.equal(other.router_ED, layer.router_ED * scale)
            for part in ("gate_EFD", "up_EFD", "down_EDF", "bias_E"):
                assert torch.equal(getattr(layer, part), getattr(other, part))


def test_calibration_lowers_the_loss_on_its_text(workshop: Workshop, calibrated: Path) -> None:
    before, after = open_model(workshop.path("model")), open_model(calibrated)

    def mean(model: SparseModel) -> float:
        return quality(workshop, model, "fruit") + quality(workshop, model, "public")

    assert mean(after) < mean(before)


def test_calibrated_model_has_a_new_hash_and_the_same_parts(workshop: Workshop, calibrated: Path) -> None:
    before, after = open_model(workshop.path("model")), open_model(calibrated)
    assert after.hash != before.hash
    assert {leaf.hash for leaf in after.leaves.values()} == {leaf.hash for leaf in before.leaves.values()}
    assert not torch.equal(logits(after), logits(before))
    assert torch.equal(logits(after), logits(open_model(after.hash)))


def test_artefacts_are_unchanged_and_results_reproducible(workshop: Workshop, tmp_path: Path) -> None:
    files = [file for name in ("trunk", "fruit", "metal", "model") for file in Path(workshop.path(name)).glob("*.*")]
    before = [file_hash(file) for file in files]
    recipe = CalibrateRecipe(model=workshop.path("model"), train=SHORT)
    for name in ("one", "other"):
        run_stage(calibrate_model, recipe, tmp_path / name)
    assert open_model(tmp_path / "one").hash == open_model(tmp_path / "other").hash
    assert before == [file_hash(file) for file in files]


def test_default_text_is_the_public_sample(workshop: Workshop, tmp_path: Path, calibrated: Path) -> None:
    run_stage(calibrate_model, CalibrateRecipe(model=workshop.path("model"), train=SHORT), tmp_path / "model")
    assert open_model(tmp_path / "model").calibration != open_model(calibrated).calibration


def test_calibrating_again_starts_from_the_earlier_scales(
    workshop: Workshop, calibrated: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import baicai.leaves.calibrate as module

    monkeypatch.setattr(module, "train", lambda *_, **__: {})  # learns nothing
    run_stage(calibrate_model, CalibrateRecipe(model=str(calibrated), train=SHORT), tmp_path / "model")
    assert open_model(tmp_path / "model").calibration == open_model(calibrated).calibration
    assert open_model(tmp_path / "model").hash == open_model(calibrated).hash


def test_peeling_drops_the_scales(workshop: Workshop, calibrated: Path, tmp_path: Path) -> None:
    run_stage(peel_leaves, PeelRecipe(model=str(calibrated), leaves=["metal"]), tmp_path / "peeled")
    peeled = open_model(tmp_path / "peeled")
    recipe = JoinRecipe(trunk=workshop.path("trunk"), leaves=[workshop.path("fruit")])
    run_stage(join_leaves, recipe, tmp_path / "alone")
    assert peeled.calibration == {}
    assert peeled.hash == open_model(tmp_path / "alone").hash
    assert torch.equal(logits(peeled), logits(open_model(tmp_path / "alone")))


def test_a_trunk_alone_has_nothing_to_calibrate(workshop: Workshop, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="has no leaves: there is nothing to calibrate"):
        run_stage(calibrate_model, CalibrateRecipe(model=workshop.path("trunk"), train=SHORT), tmp_path / "model")


def test_a_changed_scale_is_detected(calibrated: Path, tmp_path: Path) -> None:
    scale = next(iter(open_model(calibrated).calibration.values()))[0]
    text = (calibrated / "model.toml").read_text()
    assert repr(scale) in text
    (tmp_path / "model.toml").write_text(text.replace(repr(scale), "1.25"))
    with pytest.raises(ArtefactError, match="does not match its hash"):
        open_model(tmp_path)


def test_calibration_resumes_bit_for_bit_after_a_kill(
    workshop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import baicai.leaves.calibrate as module

    train = TrainConfig(**{**vars(SHORT), "tokens": 6 * SHORT.step_tokens, "checkpoint_seconds": 0.0})
    recipe = CalibrateRecipe(model=workshop.path("model"), train=train)
    run_stage(calibrate_model, recipe, tmp_path / "whole")
    calls = iter(range(100))

    def killed(*args: torch.Tensor) -> torch.Tensor:
        if next(calls) == 3:
            raise KeyboardInterrupt
        return linear_cross_entropy(*args)

    monkeypatch.setattr(module, "linear_cross_entropy", killed)
    with pytest.raises(KeyboardInterrupt):
        run_stage(calibrate_model, recipe, tmp_path / "broken")
    run_stage(calibrate_model, recipe, tmp_path / "broken")
    assert next(calls) == 7, "three steps, the one that died, and the three that were left"
    assert open_model(tmp_path / "broken").hash == open_model(tmp_path / "whole").hash


def test_half_trained_scales_do_not_resume_on_another_model(workshop: Workshop, tmp_path: Path) -> None:
    recipe = CalibrateRecipe(model=workshop.path("model"), train=SHORT)
    with Run(tmp_path / "out", recipe) as run:  # as a kill leaves it
        run.record_inputs({"model": "of other leaves"})
        run.log({"step": 1})
    with pytest.raises(ArtefactError, match="begun with another 'model' at the same path"):
        run_stage(calibrate_model, recipe, tmp_path / "out")
