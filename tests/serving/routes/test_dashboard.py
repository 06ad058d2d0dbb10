"""Runs and the release catalog over HTTP, including damaged files and paths outside the root."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from baicai.artefact import read_json, write_json
from baicai.errors import MachineError
from baicai.leaves.evaluate import EvaluateRecipe, evaluate_model
from baicai.run import Run, last_metrics, run_stage
from baicai.run_reader import MAX_METRICS_BYTES
from baicai.serving.config import ServeRecipe
from baicai.wholesale.release.catalog import Catalog
from tests.conftest import TRAIN, Workshop, grow_recipe
from tests.serving.servers import serving
from tests.serving.test_errors import check
from tests.wholesale.release.test_catalog import KEY, manifest, shard


@pytest.fixture(scope="module")
def report(workshop: Workshop) -> Path:
    out = workshop.folder / "report"
    data = [workshop.text("fruit"), workshop.text("metal"), workshop.text("public")]
    recipe = EvaluateRecipe(model=workshop.path("model"), data=data, sequence_tokens=32, max_tokens=640)
    run_stage(evaluate_model, recipe, out)
    return out


@pytest.fixture(scope="module")
def runs(workshop: Workshop, report: Path) -> Iterator[httpx.Client]:
    config = ServeRecipe(model="none", runs_dir=str(workshop.folder))
    with serving(config, []) as address, httpx.Client(base_url=address) as web:
        yield web


@pytest.fixture
def empty_root(tmp_path: Path) -> Iterator[tuple[Path, httpx.Client]]:
    """An empty folder of runs, and a client of its server."""
    root = tmp_path / "out"
    root.mkdir()
    with serving(ServeRecipe(model="none", runs_dir=str(root)), []) as address, httpx.Client(base_url=address) as web:
        yield root, web


def list_by_id(web: httpx.Client) -> dict[str, dict[str, Any]]:
    return {run["id"]: run for run in web.get("/v1/runs").json()["data"]}


def test_runs_are_listed_with_their_latest_metrics(runs: httpx.Client, workshop: Workshop) -> None:
    runs_by_id = list_by_id(runs)
    stages = {name: run["stage"] for name, run in runs_by_id.items()}
    assert stages == {
        "tokenizer": "tokenizer", "trunk": "trunk", "fruit": "grow", "metal": "grow", "model": "join",
        "report": "evaluate",
    }  # fmt: skip
    assert {run["state"] for run in runs_by_id.values()} == {"done"}
    trunk = runs_by_id["trunk"]
    assert (trunk["steps"], trunk["last"]["step"]) == (TRAIN.steps, TRAIN.steps)
    assert trunk["last"]["loss"] == last_metrics(workshop.folder / "trunk")["loss"]
    assert trunk["created"] <= trunk["updated"]
    assert runs_by_id["model"]["steps"] is None


def test_a_run_shows_recipe_metrics_and_quality(runs: httpx.Client, workshop: Workshop) -> None:
    response = runs.get("/v1/runs/fruit").json()
    assert response["recipe"]["name"] == "fruit"
    assert response["metrics"]["step"] == list(range(5, TRAIN.steps + 1, 5))
    assert {"loss", "recognition", "learning_rate", "tokens_per_second", "gradient_norm"} < response["metrics"].keys()
    card = read_json(workshop.folder / "fruit" / "leaf.json")
    assert response["bits_per_byte"] == {"public": card["metrics"]["public"]}
    assert (response["routing"], response["summary"]) == (None, None)


def test_an_evaluation_shows_quality_and_routing(runs: httpx.Client, report: Path) -> None:
    response, results = runs.get("/v1/runs/report").json(), read_json(report / "results.json")
    for name in ("bits_per_byte", "routing", "summary"):
        assert response[name] == results[name]
    assert response["metrics"] == {}


def test_metrics_can_be_thinned_and_followed(runs: httpx.Client) -> None:
    all_metrics = runs.get("/v1/runs/trunk").json()["metrics"]
    few = runs.get("/v1/runs/trunk", params={"points": 3}).json()["metrics"]
    assert len(few["step"]) == 3
    assert (few["step"][-1], few["loss"][-1]) == (all_metrics["step"][-1], all_metrics["loss"][-1])
    after = runs.get("/v1/runs/trunk", params={"after": all_metrics["step"][-3]}).json()["metrics"]
    assert after["loss"] == all_metrics["loss"][-2:]
    assert runs.get("/v1/runs/trunk", params={"after": all_metrics["step"][-1]}).json()["metrics"] == {}


@pytest.mark.parametrize(
    ("params", "param", "code"),
    [
        ({"after": "-1"}, "after", "integer_below_min_value"),
        ({"after": "x"}, "after", "invalid_value"),
        ({"points": "0"}, "points", "integer_below_min_value"),
        ({"points": "1000000"}, "points", "integer_above_max_value"),
    ],
)
def test_invalid_query_parameters_are_named(runs: httpx.Client, params: dict[str, str], param: str, code: str) -> None:
    check(runs.get("/v1/runs/trunk", params=params), param, code)


def test_an_active_run_can_be_followed(empty_root: tuple[Path, httpx.Client], workshop: Workshop) -> None:
    root, web = empty_root
    recipe = grow_recipe(workshop, "fruit")
    with Run(root / "deep" / "fruit", recipe) as run:
        for step in range(1, 3001):
            run.log({"step": step, "loss": 1 / step, "note": "x" * 40})
        assert list_by_id(web)["deep/fruit"]["state"] == "running"
        assert list_by_id(web)["deep/fruit"]["last"] == {"step": 3000, "loss": 1 / 3000}
        response = web.get("/v1/runs/deep/fruit", params={"after": 100, "points": 5000}).json()
        assert response["metrics"]["step"] == list(range(101, 3001))
    assert list_by_id(web)["deep/fruit"]["state"] == "stopped"
    with Run(root / "deep" / "fruit", recipe):
        assert web.get("/v1/runs/deep/fruit").json()["state"] == "running"


def test_an_active_evaluation_shows_partial_results(empty_root: tuple[Path, httpx.Client]) -> None:
    root, web = empty_root
    with Run(root / "report", EvaluateRecipe(model="m", data=[])) as run:
        run.log({"domain": "fruit", "column": "trunk", "bits_per_byte": 2.5, "bytes": 10})
        run.log({"domain": "fruit", "column": "joined", "bits_per_byte": 2.25, "bytes": 10})
        assert web.get("/v1/runs/report").json()["bits_per_byte"] == {"fruit": {"trunk": 2.5, "joined": 2.25}}


def test_damage_hides_only_what_is_damaged(empty_root: tuple[Path, httpx.Client]) -> None:
    root, web = empty_root
    folder = root / "a.run"
    folder.mkdir()
    good = json.dumps({"step": 3, "loss": 0.5})
    deep = "[" * 100_000
    lines = ["{", deep, "[]", '"x"', '{"step": -1, "loss": 1}', '{"step": "1"}', '{"step": true, "loss": 1}', good]
    half = '{"step": 4, "\\ud800": 1, "domain": "\\ud800", "column": "\\ud800", "bits_per_byte": 1}'
    odd = '{"step": 4, "loss": NaN, "norm": 1e999, "big": 1' + "0" * 400 + "}"
    (folder / "metrics.jsonl").write_bytes("\n".join([*lines, half, odd, '{"step": 5, "lo']).encode() + b"\xff\xfe")
    for content in (b"", b"{", b'{"recipe": 3}', b'{"recipe": {"train": {"tokens": -1}}, "stage": {}}', b"\xff", b"[]"):
        (folder / "recipe.json").write_bytes(content)
        run = list_by_id(web)["a"]
        assert (run["state"], run["steps"], run["last"]) == ("stopped", None, {"step": 4})
        response = web.get("/v1/runs/a").json()
        assert response["metrics"] == {
            "step": [3, 4, 4], "loss": [0.5, None, None], "?": [None, 1, None], "bits_per_byte": [None, 1, None],
        }  # fmt: skip
        assert response["bits_per_byte"] == {"?": {"?": 1}}
    (root / "a").mkdir()
    for name in ("results.json", "leaf.json"):
        for content in (b"{", b'{"metrics": 3}', b'{"metrics": {"x": {"leaf": "y"}}}', b'{"bits_per_byte": []}'):
            (root / "a" / name).write_bytes(content)
            assert web.get("/v1/runs/a").status_code == 200


def test_nothing_outside_the_root_is_read(
    empty_root: tuple[Path, httpx.Client], workshop: Workshop, tmp_path: Path
) -> None:
    root, web = empty_root
    secret = tmp_path / "secret.run"
    secret.mkdir()
    write_json(secret / "recipe.json", {"stage": "secret", "recipe": {"secret": 1}})
    (root / "linked.run").symlink_to(secret)
    (root / "linked").symlink_to(tmp_path)
    assert list_by_id(web) == {}
    names = ["linked", "linked/secret", "../secret", "..%2Fsecret", "%2e%2e/secret", str(tmp_path / "secret"), ".", ""]
    for name in names:
        assert web.get(f"/v1/runs/{name}").status_code == 404 or name in ("", "..", ".")
        assert "secret" not in web.get(f"/v1/runs/{name}").json().get("recipe", {})
    check(web.get("/v1/runs/moss"), None, "run_not_found", 404)
    (root / "a.run").mkdir()
    (root / "a.run" / "recipe.json").symlink_to(secret / "recipe.json")
    (root / "a").symlink_to(workshop.folder / "fruit")
    Path(os.fsdecode(bytes(root) + b"/\xff.run")).mkdir()
    (root / "b.run").mkdir()
    for name in ("metrics.jsonl", "lock"):
        os.mkfifo(root / "b.run" / name)
    assert list_by_id(web)["b"]["last"] == {}
    response = web.get("/v1/runs/a").json()
    assert (response["stage"], response["recipe"], response["bits_per_byte"]) == ("", None, {})


def test_only_the_end_of_a_huge_log_is_read(empty_root: tuple[Path, httpx.Client]) -> None:
    root, web = empty_root
    (root / "long.run").mkdir()
    with (root / "long.run" / "metrics.jsonl").open("wb") as file:
        file.seek(4 * MAX_METRICS_BYTES)  # a hole, which takes no room
        file.write(b'\n{"step": 7, "loss": 2.0}\n')
    assert list_by_id(web)["long"]["last"] == {"step": 7, "loss": 2.0}
    assert web.get("/v1/runs/long").json()["metrics"] == {"step": [7], "loss": [2.0]}


def test_a_missing_root_has_no_runs(tmp_path: Path, workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(workshop.folder)
    for runs in ("", str(tmp_path / "nowhere")):
        with serving(ServeRecipe(model="none", runs_dir=runs), []) as address:
            assert httpx.get(f"{address}/v1/runs").json() == {"object": "list", "data": []}
            check(httpx.get(f"{address}/v1/runs/trunk"), None, "run_not_found", 404)


@pytest.fixture
def catalog(tmp_path: Path) -> Iterator[Catalog]:
    opened = Catalog(f"sqlite:///{tmp_path / 'catalog.sqlite'}")
    held = [shard(documents=3), shard(documents=4), shard("code", "en", "MIT", 5)]
    opened.add_release(manifest("corpus", 1, *held), KEY, "/releases/corpus")
    yield opened
    opened.close()


def test_releases_and_their_slices_are_listed(catalog: Catalog) -> None:
    with (
        serving(ServeRecipe(model="none"), [], catalog) as address,
        httpx.Client(base_url=f"{address}/v1") as web,
    ):
        response = web.get("/catalog").json()
        assert response["catalog"] == catalog.address
        (release,) = response["data"]
        assert (release["name"], release["domain"], release["documents"]) == ("corpus", {"code": 5, "law": 7}, 12)
        held = web.get(f"/catalog/{release['hash']}").json()["holdings"]
        assert [(one["domain"], one["documents"], one["max_quality"]) for one in held] == [
            ("law", 7, 0.8), ("code", 5, 0.8),
        ]  # fmt: skip
        (part,) = web.get("/catalog", params={"slice": "language=en"}).json()["data"]
        assert (part["domain"], part["documents"]) == ({"code": 5}, 5)
        assert web.get("/catalog", params={"slice": "domain=art"}).json()["data"] == []
        check(web.get("/catalog", params={"slice": "moss"}), "slice", "invalid_value")
        check(web.get("/catalog/moss"), None, "release_not_found", 404)


def test_an_unavailable_catalog_is_reported(catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise MachineError("postgresql://me:***@db/x does not answer: check that it runs")

    with serving(ServeRecipe(model="none"), [], catalog) as address:
        for path, method in (("catalog", "entries"), ("catalog/moss", "holdings")):
            monkeypatch.setattr(catalog, method, fail)
            check(httpx.get(f"{address}/v1/{path}"), None, "catalog_unavailable", 503)


def test_a_server_without_a_catalog_has_no_releases(runs: httpx.Client) -> None:
    assert runs.get("/v1/catalog").json() == {"object": "list", "catalog": None, "data": []}
    check(runs.get("/v1/catalog/moss"), None, "release_not_found", 404)
