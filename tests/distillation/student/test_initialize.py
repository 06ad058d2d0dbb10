"""Initialisation of students: sizes, trainable parameters, and regular artefacts in the end."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch

from baicai.artefact import read_tensors, tensors_hash, write_tensors
from baicai.convert.exporter import ExportRecipe, export_model
from baicai.data.sources import SourceConfig
from baicai.data.tokenizer import Tokenizer
from baicai.distillation.config import DistillRecipe, TeachConfig
from baicai.distillation.distill import distill_model
from baicai.distillation.sizing import Shape, Target
from baicai.distillation.student.initialize import Student, initialize_student, leaves_to_keep, student_shape
from baicai.distillation.student.slicing import leaves_to_dense, slice_trunk
from baicai.distillation.teacher.models import open_teacher
from baicai.errors import ConfigError
from baicai.leaves.model import SparseModel, open_model
from baicai.leaves.trunk import TRUNK_TENSORS, complete_trunk, open_trunk
from baicai.model.cost import count_cost
from baicai.run import run_stage
from baicai.training.config import TrainConfig
from tests.cli.conftest import Command
from tests.conftest import Workshop
from tests.convert.models import make_model
from tests.distillation.conftest import CPU, Sample
from tests.distillation.distilling import QUICK, SLICES, Distillery, results_of

STARTS = ["slices", "dense", "pruned", "fresh"]


def recipe(domains: tuple[str, ...] = ("fruit", "metal"), **changes: Any) -> DistillRecipe:
    text = [SourceConfig(path="text", domain=domain) for domain in domains]
    train = TrainConfig(tokens=1, sequence_tokens=32, seed=4)
    return DistillRecipe(teacher="teacher", data=text, held_out=text, **{"train": train} | changes)


def shape_of(model: SparseModel) -> Shape:
    return Shape(model.network.config, model.network.leaf_config, len(model.leaves))


def size_of(model: SparseModel) -> tuple[Shape, int]:
    return shape_of(model), shape_of(model).num_parameters()


def initialized(config: DistillRecipe, model: SparseModel, windows: list[torch.Tensor]) -> tuple[Student, Shape]:
    shape = student_shape(config, *size_of(model), model, model.tokenizer.vocab_size)
    return initialize_student(config, shape, model, windows, CPU), shape


@pytest.mark.parametrize("start", STARTS)
def test_default_target_is_a_quarter_of_the_teacher(tokenizer: Tokenizer, tmp_path: Path, start: str) -> None:
    sizes = {"dim": 96, "num_layers": 6, "ffn_dim": 128}
    leaf = dataclasses.replace(recipe().reinforce_leaf, first_layer=1, num_experts=64, expert_dim=32)
    model = make_model(tmp_path, tokenizer, num_leaves=2, leaf=leaf, **sizes)
    config = recipe(start=start, leaves=["leaf-0", "leaf-1"] if start in ("dense", "pruned") else [])
    quarter = shape_of(model).num_parameters() // 4
    shape = student_shape(config, *size_of(model), model, tokenizer.vocab_size)
    assert shape.num_parameters() <= quarter
    assert shape == student_shape(
        dataclasses.replace(config, target=Target(parameters=quarter)), *size_of(model), model, tokenizer.vocab_size
    )
    assert shape.num_parameters() > 0.8 * quarter or start in ("slices", "fresh"), (
        "a trunk is at most as large as its teacher's"
    )


@pytest.mark.parametrize("start", STARTS)
def test_student_has_the_derived_sizes(sparse: SparseModel, sample: Sample, start: str) -> None:
    config = recipe(start=start, target=Target(parameters=55_000))
    student, shape = initialized(config, sparse, sample("fruit", "metal"))
    assert count_cost(student.model).total_parameters == shape.num_parameters() <= 55_000
    assert student.model.config == shape.model
    assert all(parameter.requires_grad for parameter in student.trainable_parameters().values())
    assert all(parameter.dtype == torch.float32 for parameter in student.trainable_parameters().values())
    again, _ = initialized(config, sparse, sample("fruit", "metal"))
    assert tensors_hash(student.model.state_dict()) == tensors_hash(again.model.state_dict())


def test_each_start_initialises_as_named(sparse: SparseModel, sample: Sample) -> None:
    windows, target = sample("fruit", "metal"), Target(parameters=55_000)
    slices, shape = initialized(recipe(start="slices", target=SLICES), sparse, windows)
    expected = slice_trunk(sparse.network, shape.model, windows)
    assert tensors_hash(slices.model.state_dict()) == tensors_hash(expected.state_dict())
    dense, shape = initialized(recipe(start="dense", target=target), sparse, windows)
    expected = leaves_to_dense(sparse.network, ["fruit", "metal"], windows, shape.model.ffn_dim, seed=4)
    assert tensors_hash(dense.model.state_dict()) == tensors_hash(expected.state_dict())
    fresh, _ = initialized(recipe(start="fresh", target=target), sparse, windows)
    other = recipe(start="fresh", target=target, train=TrainConfig(tokens=1, sequence_tokens=32, seed=5))
    assert not torch.equal(fresh.model.embedding.weight, initialized(other, sparse, windows)[0].model.embedding.weight)


def test_only_the_leaves_of_a_pruned_student_are_trained(sparse: SparseModel, sample: Sample) -> None:
    before = tensors_hash(sparse.network.state_dict())
    student, shape = initialized(
        recipe(start="pruned", target=Target(parameters=58_000)), sparse, sample("fruit", "metal")
    )
    assert shape.leaf is not None
    assert 1 <= shape.leaf.num_experts < 4
    assert list(student.leaves) == list(sparse.leaves)
    trained = {id(parameter) for parameter in student.trainable_parameters().values()}
    assert trained == {id(parameter) for parameter in student.model.parameters() if parameter.requires_grad}
    assert (
        len(trained)
        == len(student.trainable_parameters())
        == sum(len(list(leaf.parameters())) for leaf in student.leaves.values())
    )
    student.model(sample("fruit")[0][:, :-1]).sum().backward()  # type: ignore[no-untyped-call]
    assert all(parameter.grad is None for parameter in student.model.trunk_tensors().values())
    assert any(
        parameter.grad is not None and parameter.grad.any() for parameter in student.trainable_parameters().values()
    )
    with torch.no_grad():
        for parameter in student.trainable_parameters().values():
            parameter.zero_()
    assert tensors_hash(sparse.network.state_dict()) == before, "the teacher shares no weights with the student"
    full = 3 * count_cost(student.model).flops_per_token * 1000
    assert 0.4 * full < student.training_flops(1000) < 0.9 * full, "the backward pass is shorter"


def test_leaves_named_after_domains_are_kept(sparse: SparseModel) -> None:
    assert leaves_to_keep(recipe(start="dense"), sparse) == list(sparse.leaves)
    assert leaves_to_keep(recipe(("fruit", "law")), sparse) == ["fruit"]
    assert leaves_to_keep(recipe(("law",), start="dense", leaves=["metal"]), sparse) == ["metal"]
    reinforced = dataclasses.replace(
        sparse, leaves={"fruit": sparse.leaves["fruit"], "fruit-more": sparse.leaves["metal"]}
    )
    assert leaves_to_keep(recipe(("fruit",)), reinforced) == ["fruit", "fruit-more"], "with the reinforcing leaf"
    with pytest.raises(ConfigError, match="leaf 'law'"):
        leaves_to_keep(recipe(start="dense", leaves=["law"]), sparse)
    with pytest.raises(ConfigError, match=r"start=dense keeps leaves, but no leaf of the teacher \(.+, .+\) is"):
        leaves_to_keep(recipe(("law",), start="dense"), sparse)
    bare = open_model(sparse.trunk.path)
    for start in ("dense", "pruned"):
        with pytest.raises(
            ConfigError, match=rf"start={start} keeps leaves, but no leaf of the teacher \(it has none\)"
        ):
            student_shape(recipe(start=start), *size_of(bare), bare, 320)


def test_fresh_student_has_room_for_its_training_sequences(sparse: SparseModel) -> None:
    for length, expected in ((32, 64), (64, 64), (100, 100)):
        train = TrainConfig(tokens=1, sequence_tokens=length)
        config = recipe(start="fresh", target=SLICES, train=train)
        assert student_shape(config, *size_of(sparse), None, 290).model.max_tokens == expected
        assert student_shape(config, *size_of(sparse), None, 290).model.vocab_size == 290


@pytest.mark.parametrize("name", ["dense", "pruned"])
def test_exported_student_predicts_the_same(distilled: Distillery, tmp_path: Path, command: Command, name: str) -> None:
    pytest.importorskip("transformers", reason="pip install 'baicai[dev]' compares logits with transformers")
    exported = command("export", distilled.distil(name), "--out", tmp_path / "exported", "--check")
    assert (exported.code, exported.err) == (0, "")


def test_training_changes_a_pruned_student(distilled: Distillery, workshop: Workshop) -> None:
    student, teacher = open_model(distilled.distil("pruned")), open_model(workshop.path("model"))
    config = distilled.recipe(start="pruned", target=Target(parameters=58_000), data=[distilled.source("own", "fruit")])
    fruit, original = student.leaves["fruit"].experts, teacher.leaves["fruit"].experts
    assert fruit.config == student_shape(config, *size_of(teacher), teacher, 320).leaf
    rows = [set(map(tuple, leaf.layer(1).router_ED.tolist())) for leaf in (fruit, original)]
    assert not rows[0] & rows[1]


def test_default_target_counts_all_parameters_of_a_transformers_teacher(tokenizer: Tokenizer, tmp_path: Path) -> None:
    """Its experts count, although the nearest Baicai shape does not contain them."""
    pytest.importorskip("transformers", reason="reads the exported teacher")
    sizes = {"dim": 96, "num_layers": 6, "ffn_dim": 128}
    leaf = dataclasses.replace(recipe().reinforce_leaf, first_layer=1, num_experts=4, expert_dim=32)
    make_model(tmp_path, tokenizer, num_leaves=2, leaf=leaf, **sizes)
    run_stage(export_model, ExportRecipe(model=str(tmp_path / "model")), tmp_path / "exported")
    teacher = open_teacher(tmp_path / "exported", None, CPU)
    shape = student_shape(recipe(start="fresh"), teacher.shape, teacher.num_parameters, None, tokenizer.vocab_size)
    assert teacher.shape.num_parameters() < 4 * shape.num_parameters() <= teacher.num_parameters


@pytest.mark.parametrize("signal", ["cache", "online"])
def test_transformers_teacher_trains_a_fresh_student(
    exported: Path, distilled: Distillery, tmp_path: Path, signal: str
) -> None:
    target = Target(parameters=33_000)
    teach = TeachConfig(signal=signal, on_policy=0.3)
    changes = {"teacher": str(exported), "start": "fresh", "target": target, "teach": teach, "untaught": False}
    run_stage(distill_model, distilled.recipe(**changes), tmp_path / "student")
    results, student = results_of(tmp_path / "student"), open_model(tmp_path / "student")
    assert student.trunk.hash == results["student"]["hash"]
    assert student.trunk.replay().num_tokens > 1000, "it generated a public sample"
    assert results["speed"]["teacher"] is None
    teacher_tokens = results["cache"]["bytes"] // 28 + 0.3 * QUICK.tokens if signal == "cache" else QUICK.tokens
    assert results["flops"]["teacher"] == teacher_tokens * open_teacher(exported, None, CPU).flops_per_token
    assert results["quality"]["fruit"]["student"] < results["quality"]["fruit"]["start"]


def test_slices_of_a_trunk_without_a_public_sample_generate_one(
    workshop: Workshop, distilled: Distillery, tmp_path: Path
) -> None:
    trunk, bare = open_trunk(workshop.path("trunk")), tmp_path / "bare"
    bare.mkdir()
    tensors = read_tensors(trunk.path / TRUNK_TENSORS)
    write_tensors(bare / TRUNK_TENSORS, tensors)
    card_fields = {"metrics": {"tokens": 1, "loss": 1.0}, "data": [], "curve": []}
    complete_trunk(
        bare, tensors_hash(tensors), trunk.network.config, trunk.tokenizer, replay=None, card_fields=card_fields
    )
    train = dataclasses.replace(QUICK, tokens=QUICK.step_tokens)
    changes = {"teacher": str(bare), "start": "slices", "target": SLICES, "train": train, "untaught": False}
    run_stage(distill_model, distilled.recipe(**changes), tmp_path / "student")
    assert open_model(tmp_path / "student").trunk.replay().hash != trunk.replay().hash
    assert open_model(distilled.distil("slices")).trunk.replay().hash == trunk.replay().hash
