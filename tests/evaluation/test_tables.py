"""The table says what was measured, marks the best, fits a terminal, and names the key that is wrong."""

import copy
import io
from collections.abc import Sequence
from typing import Any

import pytest
from rich.console import Console

from baicai.errors import ArtefactError
from baicai.evaluation.tables import (
    bits_per_byte_table,
    check_results,
    grid,
    lines,
    markdown_table,
    percent,
    printable,
    shortened,
)

OTHERS = ("fiction-en", "textbooks-en")


def example(leaves: Sequence[str] = ("law-de", "medicine-en"), others: Sequence[str] = OTHERS) -> dict[str, Any]:
    """Results with round numbers: a leaf's own domain goes from 2 bits to 1.5, joined to 1.6, all else gets worse."""
    scores: dict[str, dict[str, float | None]] = {}
    for domain in (*leaves, *others):
        own = domain in leaves
        scores[domain] = {"trunk": 2.0, **{leaf: 1.5 if leaf == domain else 2.25 for leaf in leaves}}
        scores[domain] |= {"joined": 1.6 if own else 2.01, "oracle": 1.5 if own else None}
    words = [{"text": "It ", "leaf": None, "weight": None}]
    words += [{"text": f"word{i} ", "leaf": leaf, "weight": 0.5} for i, leaf in enumerate(leaves)]
    return {
        "format": 1,
        "model": "ab" * 32,
        "trunk": "cd" * 32,
        "leaves": {leaf: f"{i:02x}" * 32 for i, leaf in enumerate(leaves)},
        "columns": ["trunk", *leaves, "joined", "oracle"],
        "bits_per_byte": scores,
        "bytes": dict.fromkeys(scores, 100_000),
        "routing": {
            "leaves": list(leaves),
            "layers": [3, 4],
            "share": {d: [[1.25 if leaf == d else 0.05 for leaf in leaves]] * 2 for d in scores},
        },
        "curves": {n: [{"tokens": 1000 * i, "loss": 6 - i / 10} for i in range(1, 9)] for n in ("trunk", *leaves)},
        "cost": {
            "total_parameters": 12_345_678,
            "active_parameters": 3_456_789,
            "active_share": 0.182,
            "flops_per_token": 6_900_000,
            "bytes_per_token": 13_800_000,
            "embedding_parameters": 1_048_576,
        },
        "summary": {"retention_mean": 0.8, "retention_worst": 0.75, "off_domain_ratio": 1.005},
        "samples": [{"prompt": "What?", "pieces": words}],
    }


def drawn(results: dict[str, Any], colour: bool = False) -> str:
    file = io.StringIO()
    Console(file=file, width=100, force_terminal=colour, color_system="standard").print(bits_per_byte_table(results))
    return file.getvalue()


def row(markdown: str, name: str) -> list[str]:
    found = [line for line in markdown.splitlines() if line.strip("| *").startswith(name)]
    assert len(found) == 1, found
    return [cell.strip() for cell in found[0].strip("|").split(" | ")]


def test_rows_and_means() -> None:
    found = {line.label: line for line in lines(example())}
    assert list(found) == ["law-de", "medicine-en", "mean, covered", *OTHERS, "mean, others"]
    assert found["law-de"].change == pytest.approx(-20)
    assert found["mean, covered"].values["law-de"] == pytest.approx((1.5 + 2.25) / 2)
    assert found["mean, others"].change == pytest.approx(0.5)
    assert found["mean, others"].values["oracle"] is None
    assert [line.mean for line in found.values()] == [False, False, True, False, False, True]


def test_mean_is_missing_where_a_value_is() -> None:
    results = example()
    results["bits_per_byte"]["law-de"]["joined"] = None
    covered = next(line for line in lines(results) if line.mean and line.covered)
    assert covered.values["joined"] is None
    assert covered.change is None


def test_markdown_marks_the_best_but_the_oracle() -> None:
    results = example()
    results["bits_per_byte"]["medicine-en"]["joined"] = 1.4
    results["bits_per_byte"]["law-de"]["oracle"] = 1.0
    table = markdown_table(results)
    heads = ["domain", "trunk", "law-de", "medicine-en", "joined", "change", "oracle"]
    assert row(table, "domain") == heads
    assert row(table, ":---") == [":---", *["---:"] * 6]
    assert row(table, "law-de") == ["law-de", "2.000", "**1.500**", "2.250", "1.600", "-20.0 %", "1.000"]
    assert row(table, "medicine-en") == ["medicine-en", "2.000", "2.250", "1.500", "**1.400**", "-30.0 %", "1.500"]
    assert row(table, "fiction-en") == ["fiction-en", "**2.000**", "2.250", "2.250", "2.010", "+0.5 %", "–"]
    assert row(table, "mean, covered")[0] == "*mean, covered*"


def test_equal_as_shown_is_equally_good() -> None:
    results = example()
    results["bits_per_byte"]["law-de"]["joined"] = 1.5004
    assert row(markdown_table(results), "law-de").count("**1.500**") == 2


def test_many_leaves_fold_into_the_best() -> None:
    names = [f"leaf-{i}" for i in range(6)]
    heads, rows = grid(example(names))
    assert heads == ["domain", "trunk", "best leaf", "which", "joined", "change", "oracle"]
    third = [cell.text for cell in rows[3][1]]
    assert third == ["leaf-3", "2.000", "1.500", "leaf-3", "1.600", "-20.0 %", "1.500"]
    assert [cell.best for cell in rows[3][1]] == [False, False, True, False, False, False, False]
    assert grid(example(names), 6).heads[2:8] == names
    assert grid(example(names[:5])).heads[2:7] == names[:5]


def test_trunk_without_leaves() -> None:
    results = example(())
    results["columns"] = ["trunk", "oracle"]
    results["bits_per_byte"] = {"fiction-en": {"trunk": 2.0, "oracle": None}}
    assert row(markdown_table(results), "fiction-en") == ["fiction-en", "**2.000**", "–"]
    assert "fiction-en" in drawn(results)


@pytest.mark.parametrize(
    "leaves",
    [
        ("law-de",),
        ("law-de", "medicine-en", "household", "poetry-zh", "python-code"),
        ("german-taxation-law", "medicines-and-health", "法律法律法律法律-zh", "household-gardening", "programming"),
        tuple(f"法律-and-a-very-long-name-indeed-{i}" for i in range(14)),
    ],
)
def test_terminal_table_fits_and_keeps_the_numbers(leaves: tuple[str, ...]) -> None:
    results = example(leaves)
    table = bits_per_byte_table(results)
    assert Console(width=100).measure(table).minimum <= 100
    text = drawn(results)
    assert text.count("1.600") == len(leaves) + 1
    assert text.count("-20.0 %") == len(leaves) + 1


def test_terminal_table_is_bold_on_the_best_and_coloured_by_change() -> None:
    text = drawn(example(), colour=True)
    law, fiction = (next(line for line in text.splitlines() if name in line) for name in ("law-de ", "fiction-en"))
    assert [part[:5] for part in law.replace(" ", "").split("\x1b[1m")[1:]] == ["1.500"]
    assert [part[:5] for part in fiction.replace(" ", "").split("\x1b[1m")[1:]] == ["2.000"]
    assert "\x1b[32m-20.0 %" in law
    assert "\x1b[31m +0.5 %" in fiction or "\x1b[31m+0.5 %" in fiction


def test_names_cannot_break_a_table() -> None:
    name = "a|b\n\x1b[31m*c*<i>[bold]\u202e"
    results = example((name,))
    table = markdown_table(results)
    assert len(table.splitlines()) == 7
    assert row(table, r"a\|b")[0] == r"a\|b??\[31m\*c\*\<i\>\[bold\]?"
    assert "a|b??[31m*c*<i>[bold]?" in drawn(results)


def test_words() -> None:
    assert [percent(x) for x in (None, -10.66, 0.04, -0.04, 3)] == ["–", "-10.7 %", "0.0 %", "0.0 %", "+3.0 %"]
    assert shortened("very-long-leaf-1998", 10) == "very-…1998"
    assert shortened("法律法律法律", 7) == "法律…律"
    assert shortened("law", 3) == "law"
    assert printable("a\x07b\ud800") == "a?b?"


WRONG: list[tuple[str, Any, str]] = [
    ("format", 2, "key 'format' is 2, this version reads 1"),
    ("model", None, "key 'model' must be text"),
    ("columns", ["joined"], "key 'columns' must name the trunk"),
    ("columns", ["trunk", "trunk"], "key 'columns' must name the trunk, each column once"),
    ("columns", ["trunk", "change"], "none of domain, which, change"),
    ("leaves.joined", "00", "key 'leaves.joined' takes a name"),
    ("bits_per_byte", {}, "key 'bits_per_byte' is empty"),
    ("bits_per_byte.law-de.trunk", None, "key 'bits_per_byte.law-de.trunk' must be a number above 0"),
    ("bits_per_byte.law-de.joined", float("nan"), "key 'bits_per_byte.law-de.joined' is nan, not a finite number"),
    ("bits_per_byte.law-de.joined", True, "key 'bits_per_byte.law-de.joined' must be a finite number"),
    ("bits_per_byte.law-de.dense", 1.0, "key 'bits_per_byte.law-de.dense' is not among the columns"),
    ("bytes.law-de", 1.5, "key 'bytes.law-de' must be a whole number"),
    ("routing.leaves", ["law-de", "tax"], "key 'routing.leaves[1]' is 'tax', which is not among the leaves"),
    ("routing.layers", [3], "key 'routing.share.law-de' has 2 layers, routing.layers 1"),
    ("routing.share.law-de", [[1.0], [1.0]], "key 'routing.share.law-de[0]' has 1 leaves, not 2"),
    ("curves.trunk", [{"tokens": 1}], "key 'curves.trunk[0].loss' is missing"),
    ("curves", [], "key 'curves' must be an object"),
    ("summary", {}, "key 'summary.retention_mean' is missing"),
    ("samples", {}, "key 'samples' must be a list"),
    ("samples", [{"prompt": "", "pieces": [{"text": "", "leaf": "x", "weight": 1}]}], "'samples[0].pieces[0].leaf'"),
]


@pytest.mark.parametrize(("key", "value", "message"), WRONG, ids=[f"{key}-{i}" for i, (key, *_) in enumerate(WRONG)])
def test_malformed_results_name_the_key(key: str, value: object, message: str) -> None:
    results = copy.deepcopy(example())
    check_results(results)
    *parents, last = key.split(".")
    place = results
    for parent in parents:
        place = place[parent]
    place[last] = value
    with pytest.raises(ArtefactError) as caught:
        markdown_table(results)
    assert message in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("key", list(example()))
def test_every_key_is_needed(key: str) -> None:
    results = example()
    del results[key]
    with pytest.raises(ArtefactError, match=f"key '{key}' is missing"):
        check_results(results)
    with pytest.raises(ArtefactError, match="results must be an object"):
        check_results([])  # type: ignore[arg-type]
