"""Results are checked when they are read: an error names the first key that is wrong, in one line."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from baicai.artefact import write_json
from baicai.errors import ArtefactError
from baicai.evaluation.results import EvaluationResults
from tests.evaluation.test_tables import example

MALFORMED: list[tuple[str, Any, str]] = [
    ("format", 2, "key 'format' must be 1"),
    ("model", None, "key 'model' must be a valid string"),
    ("columns", ["joined"], "key 'columns' must include 'trunk'"),
    ("columns", ["trunk", "trunk"], "key 'columns' must include 'trunk', without duplicates"),
    ("columns", ["trunk", "change"], "or any of domain, which, change"),
    ("leaves.joined", "00", "key 'leaves.joined' has the name of another column"),
    ("bits_per_byte", {}, "key 'bits_per_byte' is empty"),
    ("bits_per_byte.law-de.trunk", None, "key 'bits_per_byte.law-de.trunk' must be greater than 0"),
    ("bits_per_byte.law-de.joined", float("nan"), "key 'bits_per_byte.law-de.joined' must be a finite number"),
    ("bits_per_byte.law-de.joined", True, "key 'bits_per_byte.law-de.joined' must be a finite number"),
    ("bits_per_byte.law-de.dense", 1.0, "key 'bits_per_byte.law-de.dense' is not among the columns"),
    ("bytes.law-de", 1.5, "key 'bytes.law-de' must be a valid integer"),
    ("routing.leaves", ["law-de", "tax"], "key 'routing.leaves[1]' is 'tax', which is not among the leaves"),
    ("routing.layers", [3], "key 'routing.share.law-de' has 2 layers, expected 1"),
    ("routing.share.law-de", [[1.0], [1.0]], "key 'routing.share.law-de[0]' has 1 leaves, expected 2"),
    ("curves.trunk", [{"tokens": 1}], "key 'curves.trunk[0].loss' is missing"),
    ("curves", [], "key 'curves' must be a valid dictionary"),
    ("summary", {}, "key 'summary.retention_mean' is missing"),
    ("samples", {}, "key 'samples' must be a valid list"),
    ("samples", [{"prompt": "", "pieces": [{"text": "", "leaf": "x", "weight": 1}]}], "'samples[0].pieces[0].leaf'"),
]


def changed(values: dict[str, Any], key: str, value: object) -> dict[str, Any]:
    """Copy values with another value at a key, whose parts are separated by dots."""
    values = copy.deepcopy(values)
    *parents, last = key.split(".")
    table = values
    for parent in parents:
        table = table[parent]
    table[last] = value
    return values


@pytest.mark.parametrize(
    ("key", "value", "message"), MALFORMED, ids=[f"{key}-{i}" for i, (key, *_) in enumerate(MALFORMED)]
)
def test_malformed_results_name_the_key(key: str, value: object, message: str) -> None:
    EvaluationResults.parse(example())
    with pytest.raises(ArtefactError) as caught:
        EvaluationResults.parse(changed(example(), key, value))
    assert message in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("key", list(example()))
def test_all_keys_are_required(key: str) -> None:
    values = example()
    del values[key]
    with pytest.raises(ArtefactError, match=f"results: key '{key}' is missing: measure the model again"):
        EvaluationResults.parse(values)
    with pytest.raises(ArtefactError, match="results: must be a valid dictionary"):
        EvaluationResults.parse([])


def test_names_in_errors_stay_on_one_line() -> None:
    with pytest.raises(ArtefactError, match=r"key 'bytes\.a\?b' must be a valid integer"):
        EvaluationResults.parse(changed(example(), "bytes.a\nb", True))


def test_results_are_written_as_they_were_read(tmp_path: Path) -> None:
    values = example()
    write_json(tmp_path / "results.json", values)
    results = EvaluationResults.read(tmp_path / "results.json")
    assert (results.columns[0], results.cost.active_share, results.curves["trunk"][0].tokens) == ("trunk", 0.182, 1000)
    results.write(tmp_path / "again.json")
    again = json.loads((tmp_path / "again.json").read_text())
    assert again == values
    assert isinstance(again["cost"]["flops_per_token"], int), "an integer stays one"


def test_missing_or_damaged_results_are_one_line(tmp_path: Path) -> None:
    for content in (None, "{"):
        if content is not None:
            (tmp_path / "results.json").write_text(content)
        with pytest.raises(ArtefactError, match=r"results\.json") as caught:
            EvaluationResults.read(tmp_path / "results.json")
        assert len(str(caught.value).splitlines()) == 1
