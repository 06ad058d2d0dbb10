"""Evaluation: what is written, that the numbers are right, and that it resumes."""

import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional as F  # noqa: N812

import baicai.leaves.evaluate as module
from baicai.artefact import atomic_folder, read_json
from baicai.data.sources import SourceConfig, open_source
from baicai.errors import ArtefactError, ConfigError, DataError
from baicai.evaluation.results import EvaluationResults
from baicai.leaves.evaluate import EvaluateRecipe, evaluate_model, summarise
from baicai.leaves.join import JoinRecipe, join_leaves
from baicai.leaves.model import open_model
from baicai.model.router import LayerTrace
from baicai.run import last_metrics, run_stage
from tests.conftest import WORDS, Workshop, write_domain

MAX_TOKENS = 2000


def recipe(workshop: Workshop, folder: Path, model: str = "model") -> EvaluateRecipe:
    for domain in WORDS:
        write_domain(folder, domain, sentences=60, seed=1)
    data = [SourceConfig(path=str(folder / f"{name}.txt"), domain=name, licence="CC0-1.0") for name in WORDS]
    return EvaluateRecipe(model=workshop.path(model), data=data, sequence_tokens=32, max_tokens=MAX_TOKENS)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Held-out text and the report on it."""
    return tmp_path_factory.mktemp("quality")


@pytest.fixture(scope="module")
def results(workshop: Workshop, folder: Path) -> dict[str, Any]:
    run_stage(evaluate_model, recipe(workshop, folder), folder / "report")
    return read_json(folder / "report" / "results.json")


@torch.no_grad()
def direct(workshop: Workshop, folder: Path, domain: str, parts: list[str]) -> tuple[float, int]:
    """Bits per byte of a model that has just these leaves, one window after the other."""
    out = folder / f"direct-{'-'.join(parts)}"
    join = JoinRecipe(trunk=workshop.path("trunk"), leaves=[workshop.path(name) for name in parts])
    run_stage(join_leaves, join, out)
    model = open_model(out)
    shards = open_source(SourceConfig(path=str(folder / f"{domain}.txt"), licence="CC0-1.0"), model.tokenizer)
    bits, num_bytes = 0.0, 0
    for index in range(min(shards.num_windows(32), MAX_TOKENS // 32)):
        tokens = torch.from_numpy(shards.window(index, 32))
        logits = model.network(tokens[None, :-1])[0]
        for row, token in zip(logits, tokens[1:].tolist(), strict=True):
            size = len(model.tokenizer.id_to_bytes(token))
            num_bytes += size
            bits += float(F.cross_entropy(row, torch.tensor(token))) / math.log(2) if size else 0.0
    return bits / num_bytes, num_bytes


@pytest.mark.parametrize(
    ("domain", "column", "parts"),
    [("fruit", "joined", ["fruit", "metal"]), ("fruit", "trunk", []), ("public", "metal", ["metal"])],
)
def test_scores_match_a_direct_computation(
    workshop: Workshop, folder: Path, results: dict[str, Any], domain: str, column: str, parts: list[str]
) -> None:
    expected, num_bytes = direct(workshop, folder, domain, parts)
    assert results["bits_per_byte"][domain][column] == pytest.approx(expected, rel=1e-5)
    assert results["bytes"][domain] == num_bytes


def test_joined_model_beats_the_trunk_on_the_domains_of_its_leaves(results: dict[str, Any]) -> None:
    scores = results["bits_per_byte"]
    for domain in ("fruit", "metal"):
        assert scores[domain]["joined"] < 0.95 * scores[domain]["trunk"]
        assert scores[domain]["oracle"] == scores[domain][domain]
        assert scores[domain][domain] < scores[domain]["metal" if domain == "fruit" else "fruit"]
    assert scores["public"]["oracle"] is None
    assert 0 < results["summary"]["retention_worst"] <= results["summary"]["retention_mean"] < 1.2
    assert results["summary"]["off_domain_ratio"] == pytest.approx(
        scores["public"]["joined"] / scores["public"]["trunk"]
    )


@torch.no_grad()
def test_routing_share_is_the_mean_weight_per_token(workshop: Workshop, folder: Path, results: dict[str, Any]) -> None:
    model, routing = open_model(workshop.path("model")), results["routing"]
    assert routing["layers"] == [1, 2]
    assert set(routing["leaves"]) == {"fruit", "metal"}
    shards = open_source(SourceConfig(path=str(folder / "fruit.txt"), licence="CC0-1.0"), model.tokenizer)
    windows = [torch.from_numpy(shards.window(i, 32)) for i in range(min(shards.num_windows(32), MAX_TOKENS // 32))]
    trace: list[LayerTrace] = []
    model.network(torch.stack(windows)[:, :-1], trace=trace)
    for layer, actual in zip(trace, routing["share"]["fruit"], strict=True):
        expected = [0.0, 0.0]
        for ids, weights in zip(layer.choice.expert_ids_TK.tolist(), layer.choice.weights_TK.tolist(), strict=True):
            for expert, weight in zip(ids, weights, strict=True):
                expected[expert // 4] += weight / (32 * len(windows))
        named = dict(zip(layer.leaf_names, expected, strict=True))
        assert actual == pytest.approx([named[name] for name in routing["leaves"]], rel=1e-4)


def test_leaves_claim_less_of_public_text_than_of_their_own(results: dict[str, Any]) -> None:
    share = {domain: [sum(layer) for layer in layers] for domain, layers in results["routing"]["share"].items()}
    for public, fruit, metal in zip(share["public"], share["fruit"], share["metal"], strict=True):
        assert 0 <= public < min(fruit, metal) <= 2


def test_all_result_files_are_written(workshop: Workshop, folder: Path, results: dict[str, Any]) -> None:
    out = folder / "report"
    names = sorted(entry.name for entry in out.iterdir())
    assert names == ["curves.png", "quality.png", "report.html", "results.json", "routing.png", "table.md"]
    assert all((out / name).read_bytes().startswith(b"\x89PNG") for name in names if name.endswith("png"))
    page, table = (out / "report.html").read_text(), (out / "table.md").read_text()
    model = open_model(workshop.path("model"))
    assert page.startswith("<!doctype html>")
    assert model.hash[:12] in page
    for domain, row in results["bits_per_byte"].items():
        assert f"| {domain} |" in table
        assert f"{row['joined']:.3f}" in table
        assert f"{row['joined']:.3f}" in page
    assert results["model"] == model.hash
    assert results["leaves"] == {name: leaf.hash for name, leaf in model.leaves.items()}
    assert results["columns"] == ["trunk", "fruit", "metal", "joined", "oracle"]
    assert set(results["curves"]) == {"trunk", "fruit", "metal"}
    assert results["cost"]["active_parameters"] < results["cost"]["total_parameters"]


def test_a_trunk_alone_can_be_evaluated(workshop: Workshop, tmp_path: Path, results: dict[str, Any]) -> None:
    run_stage(evaluate_model, recipe(workshop, tmp_path, model="trunk"), tmp_path / "report")
    actual = read_json(tmp_path / "report" / "results.json")
    assert actual["columns"] == ["trunk", "oracle"]
    assert actual["summary"] == {"retention_mean": None, "retention_worst": None, "off_domain_ratio": None}
    assert actual["bits_per_byte"]["fruit"]["trunk"] == pytest.approx(results["bits_per_byte"]["fruit"]["trunk"])
    assert not (tmp_path / "report" / "routing.png").exists()


def write_json_only(out: Path, results: EvaluationResults) -> None:
    with atomic_folder(out) as part:
        results.write(part / "results.json")


class Killed:
    """Scoring that dies at one call and counts the others; no pictures are drawn."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, at: int) -> None:
        monkeypatch.setattr(module, "write_results", write_json_only)
        self.calls, self.at, self.score = 0, at, module._score
        monkeypatch.setattr(module, "_score", self)

    def __call__(self, *args: Any) -> dict[str, float]:
        self.calls += 1
        if self.calls == self.at:
            raise KeyboardInterrupt
        return self.score(*args)


def test_evaluation_resumes_after_a_kill(
    workshop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, results: dict[str, Any]
) -> None:
    config, killed = recipe(workshop, tmp_path), Killed(monkeypatch, at=6)
    with pytest.raises(KeyboardInterrupt):
        run_stage(evaluate_model, config, tmp_path / "report")
    assert last_metrics(tmp_path / "report")["domain"] == "metal"
    with (tmp_path / "report.run" / "metrics.jsonl").open("a") as file:
        file.write('{"domain": "met')  # killed while it wrote a line
    run_stage(evaluate_model, config, tmp_path / "report")
    assert killed.calls == 3 * 4 + 1
    assert read_json(tmp_path / "report" / "results.json") == results
    assert not run_stage(evaluate_model, config, tmp_path / "report")
    shutil.rmtree(tmp_path / "report")
    run_stage(evaluate_model, config, tmp_path / "report")
    assert killed.calls == 3 * 4 + 1, "what was measured is not measured again"


def test_changed_model_or_text_at_the_same_path_is_measured_again(
    workshop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted = Killed(monkeypatch, at=-1)
    config = recipe(workshop, tmp_path)
    config = EvaluateRecipe(model=str(tmp_path / "model"), data=config.data, sequence_tokens=32, max_tokens=320)
    for number, leaf in enumerate(("fruit", "metal"), 1):
        for name in ("model", "model.run", "report"):
            shutil.rmtree(tmp_path / name, ignore_errors=True)
        join = JoinRecipe(trunk=workshop.path("trunk"), leaves=[workshop.path(leaf)])
        run_stage(join_leaves, join, tmp_path / "model")
        run_stage(evaluate_model, config, tmp_path / "report")
        assert counted.calls == number * 3 * 3
        assert read_json(tmp_path / "report" / "results.json")["columns"] == ["trunk", leaf, "joined", "oracle"]
    before = read_json(tmp_path / "report" / "results.json")
    write_domain(tmp_path, "fruit", sentences=60, seed=2)
    shutil.rmtree(tmp_path / "report")
    run_stage(evaluate_model, config, tmp_path / "report")
    assert counted.calls == 7 * 3
    after = read_json(tmp_path / "report" / "results.json")
    assert after["bits_per_byte"]["fruit"] != before["bits_per_byte"]["fruit"]
    assert after["bits_per_byte"]["public"] == before["bits_per_byte"]["public"]


def test_two_sources_of_one_domain_are_refused(workshop: Workshop, tmp_path: Path) -> None:
    data = [workshop.text("fruit")] * 2
    with pytest.raises(ConfigError, match="two sources have the domain 'fruit'"):
        run_stage(evaluate_model, EvaluateRecipe(model=workshop.path("model"), data=data), tmp_path / "report")


def test_text_shorter_than_a_window_is_a_one_line_error(workshop: Workshop, tmp_path: Path) -> None:
    (tmp_path / "short.txt").write_text("apple")
    config = EvaluateRecipe(model=workshop.path("model"), data=[SourceConfig(path=str(tmp_path / "short.txt"))])
    with pytest.raises(DataError, match="one window needs 257"):
        run_stage(evaluate_model, config, tmp_path / "report")


def test_missing_results_are_a_one_line_error(tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match=r"results\.json is missing"):
        read_json(tmp_path / "results.json")


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        ({"a": (4.0, 3.0, 2.0), "b": (2.0, 1.5, 1.5)}, (0.75, 0.5, None)),
        ({"a": (4.0, 3.0, 2.0), "c": (2.0, 2.1, None)}, (0.5, 0.5, 1.05)),
        ({"a": (4.0, 3.0, 4.5)}, (None, None, None)),  # a leaf worse than the trunk has nothing to keep
        ({"c": (2.0, None, None)}, (None, None, None)),
    ],
)
def test_summary(
    scores: dict[str, tuple[float | None, ...]], expected: tuple[float | None, float | None, float | None]
) -> None:
    rows = {
        domain: {"trunk": trunk, "oracle": oracle} | ({} if joined is None else {"joined": joined})
        for domain, (trunk, joined, oracle) in scores.items()
    }
    actual = summarise(rows)
    assert (actual["retention_mean"], actual["retention_worst"], actual["off_domain_ratio"]) == expected


def test_results_are_plain_json(folder: Path, results: dict[str, Any]) -> None:
    assert json.loads((folder / "report" / "results.json").read_text()) == results
