"""Distillation results are checked when they are read: an error names the first key that is wrong."""

import json
from pathlib import Path
from typing import Any

import pytest

from baicai.distillation.report.results import DistillationResults
from baicai.errors import ArtefactError
from tests.distillation.report.test_page import example, minimal
from tests.evaluation.test_results import changed

MALFORMED: list[tuple[str, Any, str]] = [
    ("format", 2, "key 'format' must be 1"),
    ("student.start", "warm", "key 'student.start' must be 'slices', 'dense', 'pruned' or 'fresh'"),
    ("student.signal", "telepathy", "key 'student.signal' must be 'cache', 'online', 'sequences' or 'none'"),
    ("quality.recipes.student", 0, "key 'quality.recipes.student' must be greater than 0"),
    ("quality.recipes.untaught", -1.0, "key 'quality.recipes.untaught' must be greater than 0"),
    ("quality.recipes.q8", float("inf"), "key 'quality.recipes.q8' must be a finite number"),
    ("quality.tax", {}, "key 'quality.tax.teacher' is missing"),
    ("wanted", {}, "key 'wanted' is empty"),
    ("wanted.tax", 1.0, "key 'quality.tax' is missing"),
    ("dropped", [], "key 'quality.poetry-en' names a domain that is not among the results"),
    ("dropped", ["poetry-en", "law-de"], "key 'dropped' names a wanted domain, or a domain twice"),
    ("calibration", {}, "key 'calibration.law-de' is missing"),
    ("bytes.tax", 1, "key 'bytes.tax' names a domain that is not among the results"),
    ("size.teacher.bytes", 0, "key 'size.teacher.bytes' must be greater than 0"),
    ("weak.law-de.wrong", 1.5, "key 'weak.law-de.wrong' must be a valid integer"),
    ("curves", {"student": []}, "key 'curves.untaught' is missing"),
    ("mix", [{"tokens": 0, "shares": {}, "gaps": {}}], "key 'mix[0].shares.law-de' is missing"),
    ("cache", {"bytes": 1}, "key 'cache.bytes_per_token' is missing"),
]


@pytest.mark.parametrize(
    ("key", "value", "message"), MALFORMED, ids=[f"{key}-{i}" for i, (key, *_) in enumerate(MALFORMED)]
)
def test_malformed_results_name_the_key(key: str, value: object, message: str) -> None:
    with pytest.raises(ArtefactError) as caught:
        DistillationResults.parse(changed(example(), key, value))
    assert message in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("key", list(example()))
def test_all_keys_are_required(key: str) -> None:
    values = example()
    del values[key]
    with pytest.raises(ArtefactError, match=f"results: key '{key}' is missing: measure the model again"):
        DistillationResults.parse(values)


@pytest.mark.parametrize("values", [example(), minimal()], ids=["complete", "minimal"])
def test_results_are_written_as_they_were_read(values: dict[str, Any], tmp_path: Path) -> None:
    DistillationResults.parse(values).write(tmp_path / "results.json")
    assert json.loads((tmp_path / "results.json").read_text()) == values
    assert DistillationResults.read(tmp_path / "results.json").model_dump() == values
