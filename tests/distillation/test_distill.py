"""`baicai distill` end to end, for each initialisation and each signal: artefact, report and privacy."""

import dataclasses
import json
from html import unescape
from pathlib import Path

import pytest

from baicai.artefact import read_tensors
from baicai.distillation.config import TeachConfig
from baicai.distillation.distill import distill_model
from baicai.distillation.report.page import distillation_headline
from baicai.distillation.report.results import DistillationResults
from baicai.distillation.training import train_student
from baicai.leaves.model import open_model
from baicai.model.cost import count_cost
from baicai.run import run_stage
from tests.cli.conftest import Command
from tests.distillation.distilling import MARK, QUICK, STUDENTS, Distillery, results_of

ALL = pytest.mark.parametrize("name", STUDENTS)


@ALL
def test_student_is_a_regular_artefact(distilled: Distillery, command: Command, name: str) -> None:
    out = distilled.distil(name)
    inspected = command("inspect", out, "--json")
    assert (inspected.code, inspected.err) == (0, "")
    card, results = json.loads(inspected.out), results_of(out)
    pruned = results["student"]["start"] == "pruned"
    assert (card["kind"], card["verified"]) == ("model" if pruned else "trunk", True)
    student = open_model(out)
    assert results["student"]["hash"] == card["hash"] == (student.hash if pruned else student.trunk.hash)
    files = [student.trunk.path / "trunk.safetensors"]
    files += [leaf.path / "leaf.safetensors" for leaf in student.leaves.values()]
    stored = sum(tensor.nbytes for file in files for tensor in read_tensors(file).values())
    assert results["size"]["student"] == {
        "parameters": card["total_parameters"],
        "bytes": stored,
        "q8_bytes": results["size"]["student"]["q8_bytes"],
    }
    assert json.loads(command("inspect", card["hash"], "--json").out) == card, "the hash is registered"
    generated = command("generate", f"model={out}", "prompt=apple", "chat=false", "sampling.max_tokens=4")
    assert (generated.code, generated.err) == (0, "")


@ALL
def test_report_is_complete(distilled: Distillery, name: str) -> None:
    out = distilled.distil(name)
    report, results = out.with_name(f"{name}.run") / "report", results_of(out)
    parsed = DistillationResults.parse(results)
    assert parsed.model_dump() == results
    files = {file.name for file in report.iterdir()}
    assert {"results.json", "report.html", "quality.png", "calibration.png"} <= files
    assert distillation_headline(parsed) in unescape((report / "report.html").read_text()).replace("\xa0", " ")
    assert set(results["wanted"]) | set(results["dropped"]) == {"fruit", "metal", "public"}
    assert {sample["domain"] for sample in results["samples"]} == {"fruit", "metal", "public"}
    assert all(sample[who] for sample in results["samples"] for who in ("prompt", "teacher", "student"))
    assert results["curves"]["student"][-1]["tokens"] == QUICK.tokens
    for row in results["quality"].values():
        assert row["q8"] == pytest.approx(row["student"], rel=0.03)
    for domain in results["wanted"]:
        assert results["quality"][domain]["student"] < results["quality"][domain]["start"], "training improves it"


def test_report_can_be_inspected(distilled: Distillery, command: Command) -> None:
    report = distilled.distil("pruned").with_name("pruned.run") / "report"
    inspected = json.loads(command("inspect", report, "--json").out)
    assert (inspected["kind"], inspected["report"]) == ("distillation", str(report / "report.html"))
    assert inspected["kept"] == results_of(distilled.distil("pruned"))["kept"]
    assert "kept" in command("inspect", report).out
    broken = distilled.folder / "broken"
    broken.mkdir()
    (broken / "results.json").write_text('{"student": 1}')
    failed = command("inspect", broken)
    assert (failed.code, failed.out) == (2, "")
    assert failed.err.startswith("error: results: key 'format' is missing")


@ALL
def test_student_contains_no_private_text_or_path(distilled: Distillery, home: Path, name: str) -> None:
    out = distilled.distil(name)
    assert MARK in (Path(distilled.source("own", "fruit").path)).read_text()
    for file in out.rglob("*"):
        content = file.read_bytes() if file.is_file() else b""
        for private in (MARK, str(distilled.folder), str(distilled.shop.folder), str(home)):
            assert private.encode() not in content, file


@ALL
def test_card_describes_the_distillation(distilled: Distillery, name: str) -> None:
    out, results = distilled.distil(name), results_of(distilled.distil(name))
    student = open_model(out)
    for folder, card in [(leaf.path, leaf.card) for leaf in student.leaves.values()] or [(out, student.trunk.card)]:
        assert set(card["metrics"]) == {"tokens", "loss", *results["quality"]}
        assert "| bits per byte on | teacher | student |" in (folder / "README.md").read_text()
    if student.leaves:
        return
    card = student.trunk.card
    assert (card["distilled"]["teacher"], card["distilled"]["kept"]) == (results["teacher"]["hash"], results["kept"])
    assert {text["domain"] for text in card["data"]} == set(results["wanted"])
    assert card["recipe"]["teach"]["signal"] == results["student"]["signal"]
    assert card["curve"] == results["curves"]["student"]
    assert student.trunk.replay().num_tokens > 1000


@pytest.mark.parametrize("name", ["dense", "slices", "pruned", "foreign"])
def test_untaught_twin_gets_the_same_operations(distilled: Distillery, name: str) -> None:
    results = results_of(distilled.distil(name))
    spent = results["flops"]
    assert spent["teacher"] > 0.1 * spent["student"]
    step = spent["student"] / QUICK.steps
    assert spent["untaught"] == pytest.approx(spent["teacher"] + spent["student"], abs=step / 2)
    for row in results["quality"].values():
        assert row["untaught"] not in (None, row["student"], row["start"])
    read = results["curves"]["untaught"][-1]["tokens"] / QUICK.tokens
    assert read == pytest.approx(spent["untaught"] / spent["student"])


def test_operations_count_whole_steps(distilled: Distillery, tmp_path: Path) -> None:
    """A recipe with fewer tokens than one step still trains for one step."""
    teach = TeachConfig(signal="online")
    changes = {"train": dataclasses.replace(QUICK, tokens=1), "teach": teach}
    run_stage(distill_model, distilled.recipe(**changes), tmp_path / "student")
    spent, student = results_of(tmp_path / "student")["flops"], open_model(tmp_path / "student").network
    step = 3 * count_cost(student).flops_per_token * QUICK.step_tokens
    teacher = count_cost(open_model(distilled.shop.path("model")).network).flops_per_token
    assert (spent["student"], spent["teacher"]) == (step, teacher * QUICK.step_tokens)
    assert spent["untaught"] == round((spent["student"] + spent["teacher"]) / step) * step


def test_no_twin_without_a_teacher(distilled: Distillery) -> None:
    results = results_of(distilled.distil("untold"))
    assert (results["flops"]["teacher"], results["flops"]["untaught"]) == (0, None)
    assert results["curves"]["untaught"] == results["mix"] == []
    assert all(row["untaught"] is None for row in results["quality"].values())


def test_mix_favours_domains_with_larger_gaps(distilled: Distillery) -> None:
    mix = results_of(distilled.distil("dense"))["mix"]
    assert [line["tokens"] for line in mix] == list(range(0, QUICK.tokens, 2 * QUICK.step_tokens))
    for line in mix:
        assert sum(line["shares"].values()) == pytest.approx(1)
        assert set(line["gaps"]) == {"fruit", "metal"}
    gaps = [{name: max(gap, 1e-9) for name, gap in line["gaps"].items()} for line in mix]  # a student may be better
    by_share = sorted(range(len(mix)), key=lambda index: gaps[index]["fruit"] / sum(gaps[index].values()))
    widest = [mix[by_share[-1]], mix[by_share[0]]]
    assert widest[0]["shares"]["fruit"] > widest[1]["shares"]["fruit"]


def test_report_describes_the_cache_if_one_is_used(distilled: Distillery) -> None:
    results, teacher = results_of(distilled.distil("dense")), open_model(distilled.shop.path("model"))
    teacher_tokens = results["flops"]["teacher"] // count_cost(teacher.network).flops_per_token
    assert results["size"]["teacher"]["parameters"] == count_cost(teacher.network).total_parameters
    assert results["cache"] == {"samples": 12, "bytes_per_token": 4 + 12 * 2, "bytes": 28 * teacher_tokens}
    assert results_of(distilled.distil("slices"))["cache"] is None


def test_generating_teacher_gives_no_soft_targets(
    distilled: Distillery, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        train_student, "distillation_loss", lambda *_: pytest.fail("teacher and student have different tokens")
    )
    changes = STUDENTS["foreign"](distilled) | {"train": dataclasses.replace(QUICK, tokens=1), "untaught": False}
    run_stage(distill_model, distilled.recipe(**changes), tmp_path / "student")


def test_leaf_is_grown_for_a_domain_named_in_reinforce(distilled: Distillery) -> None:
    out = distilled.distil("reinforced")
    results, student = results_of(out), open_model(out)
    assert set(student.leaves) == {"fruit", "metal", "fruit-more"}, "the teacher already has a leaf 'fruit'"
    assert list(results["reinforced"]) == ["fruit"]
    teacher = open_model(out.with_name("reinforced.run") / "teacher")
    assert results["reinforced"]["fruit"] == teacher.leaves["fruit-more"].hash
    assert results["teacher"]["hash"] == teacher.hash
    assert results["quality"]["fruit"]["untaught"] is None


def test_leaf_is_grown_where_the_teacher_is_weak(distilled: Distillery) -> None:
    out = distilled.distil("weak")
    results = results_of(out)
    assert list(results["reinforced"]) == ["fruit", "metal"]
    for name in ("fruit", "metal"):
        weak = results["weak"][name]
        assert (weak["documents"], weak["worse"]) == (1, 1)
        assert {example["who"] for example in weak["examples"]} == {"baseline"}
        assert MARK in weak["examples"][0]["text"], "the user's report may quote the text"
    assert all(row["baseline"] is not None for row in results["quality"].values())
    assert not open_model(out).leaves, "a sliced trunk has no leaves"


def test_pruning_trains_the_kept_leaves_on_a_frozen_trunk(distilled: Distillery) -> None:
    out = distilled.distil("pruned")
    teacher, student = open_model(distilled.shop.path("model")), open_model(out)
    assert student.trunk.hash == teacher.trunk.hash
    assert list(student.leaves) == ["fruit"], "metal is dropped"
    assert results_of(out)["dropped"] == ["metal", "public"]
    for key, tensor in read_tensors(out / "fruit" / "leaf.safetensors").items():
        assert not tensor.isnan().any(), key
    card = student.leaves["fruit"].card
    assert card["pruned"] == teacher.leaves["fruit"].hash
