"""Tables show what was measured, mark the best value, fit a terminal and cannot be broken by names."""

import io
from collections.abc import Sequence
from typing import Any

import pytest
from rich.console import Console

from baicai.evaluation.formatting import percent, printable, shortened
from baicai.evaluation.results import EvaluationResults
from baicai.evaluation.tables import domain_scores, markdown_table, scores_table, terminal_table

OTHER_DOMAINS = ("fiction-en", "textbooks-en")


def example(leaves: Sequence[str] = ("law-de", "medicine-en"), others: Sequence[str] = OTHER_DOMAINS) -> dict[str, Any]:
    """Results with round numbers: a leaf's own domain goes from 2 bits to 1.5, joined to 1.6, all else gets worse."""
    scores: dict[str, dict[str, float | None]] = {}
    for domain in (*leaves, *others):
        own = domain in leaves
        scores[domain] = {"trunk": 2.0, **{leaf: 1.5 if leaf == domain else 2.25 for leaf in leaves}}
        scores[domain] |= {"joined": 1.6 if own else 2.01, "oracle": 1.5 if own else None}
    pieces = [{"text": "It ", "leaf": None, "weight": None}]
    pieces += [{"text": f"word{i} ", "leaf": leaf, "weight": 0.5} for i, leaf in enumerate(leaves)]
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
        "samples": [{"prompt": "What?", "pieces": pieces}],
    }


def printed(values: dict[str, Any], colour: bool = False) -> str:
    file = io.StringIO()
    table = terminal_table(EvaluationResults.parse(values))
    Console(file=file, width=100, force_terminal=colour, color_system="standard").print(table)
    return file.getvalue()


def markdown(values: dict[str, Any]) -> str:
    return markdown_table(EvaluationResults.parse(values))


def row(table: str, name: str) -> list[str]:
    rows = [line for line in table.splitlines() if line.strip("| *").startswith(name)]
    assert len(rows) == 1, rows
    return [cell.strip() for cell in rows[0].strip("|").split(" | ")]


def test_rows_and_means() -> None:
    scores = {row.label: row for row in domain_scores(EvaluationResults.parse(example()))}
    assert list(scores) == ["law-de", "medicine-en", "mean, covered", *OTHER_DOMAINS, "mean, others"]
    assert scores["law-de"].change == pytest.approx(-20)
    assert scores["mean, covered"].values["law-de"] == pytest.approx((1.5 + 2.25) / 2)
    assert scores["mean, others"].change == pytest.approx(0.5)
    assert scores["mean, others"].values["oracle"] is None
    assert [row.is_mean for row in scores.values()] == [False, False, True, False, False, True]


def test_mean_is_missing_if_a_value_is() -> None:
    values = example()
    values["bits_per_byte"]["law-de"]["joined"] = None
    rows = domain_scores(EvaluationResults.parse(values))
    covered = next(row for row in rows if row.is_mean and row.is_covered)
    assert covered.values["joined"] is None
    assert covered.change is None


def test_markdown_marks_the_best_excluding_the_oracle() -> None:
    values = example()
    values["bits_per_byte"]["medicine-en"]["joined"] = 1.4
    values["bits_per_byte"]["law-de"]["oracle"] = 1.0
    table = markdown(values)
    headers = ["domain", "trunk", "law-de", "medicine-en", "joined", "change", "oracle"]
    assert row(table, "domain") == headers
    assert row(table, ":---") == [":---", *["---:"] * 6]
    assert row(table, "law-de") == ["law-de", "2.000", "**1.500**", "2.250", "1.600", "-20.0 %", "1.000"]
    assert row(table, "medicine-en") == ["medicine-en", "2.000", "2.250", "1.500", "**1.400**", "-30.0 %", "1.500"]
    assert row(table, "fiction-en") == ["fiction-en", "**2.000**", "2.250", "2.250", "2.010", "+0.5 %", "–"]
    assert row(table, "mean, covered")[0] == "*mean, covered*"


def test_values_that_look_equal_are_equally_good() -> None:
    values = example()
    values["bits_per_byte"]["law-de"]["joined"] = 1.5004
    assert row(markdown(values), "law-de").count("**1.500**") == 2


def test_many_leaves_fold_into_the_best() -> None:
    names = [f"leaf-{i}" for i in range(6)]
    results = EvaluationResults.parse(example(names))
    headers, rows = scores_table(results)
    assert headers == ["domain", "trunk", "best leaf", "which", "joined", "change", "oracle"]
    cells = rows[3].cells
    assert [cell.text for cell in cells] == ["leaf-3", "2.000", "1.500", "leaf-3", "1.600", "-20.0 %", "1.500"]
    assert [cell.is_best for cell in cells] == [False, False, True, False, False, False, False]
    assert scores_table(results, 6).headers[2:8] == names
    assert scores_table(EvaluationResults.parse(example(names[:5]))).headers[2:7] == names[:5]


def test_trunk_without_leaves() -> None:
    values = example(())
    values["columns"] = ["trunk", "oracle"]
    values["bits_per_byte"] = {"fiction-en": {"trunk": 2.0, "oracle": None}}
    assert row(markdown(values), "fiction-en") == ["fiction-en", "**2.000**", "–"]
    assert "fiction-en" in printed(values)


@pytest.mark.parametrize(
    "leaves",
    [
        ("law-de",),
        ("law-de", "medicine-en", "household", "poetry-zh", "python-code"),
        ("german-taxation-law", "medicines-and-health", "法律法律法律法律-zh", "household-gardening", "programming"),
        tuple(f"法律-and-a-very-long-name-indeed-{i}" for i in range(14)),
    ],
)
def test_terminal_table_fits_and_shows_all_numbers(leaves: tuple[str, ...]) -> None:
    values = example(leaves)
    table = terminal_table(EvaluationResults.parse(values))
    assert Console(width=100).measure(table).minimum <= 100
    text = printed(values)
    assert text.count("1.600") == len(leaves) + 1
    assert text.count("-20.0 %") == len(leaves) + 1


def test_terminal_table_is_bold_on_the_best_and_coloured_by_change() -> None:
    text = printed(example(), colour=True)
    law, fiction = (next(line for line in text.splitlines() if name in line) for name in ("law-de ", "fiction-en"))
    assert [part[:5] for part in law.replace(" ", "").split("\x1b[1m")[1:]] == ["1.500"]
    assert [part[:5] for part in fiction.replace(" ", "").split("\x1b[1m")[1:]] == ["2.000"]
    assert "\x1b[32m-20.0 %" in law
    assert "\x1b[31m +0.5 %" in fiction or "\x1b[31m+0.5 %" in fiction


def test_names_cannot_break_a_table() -> None:
    values = example(("a|b\n\x1b[31m*c*<i>[bold]\u202e",))
    table = markdown(values)
    assert len(table.splitlines()) == 7
    assert row(table, r"a\|b")[0] == r"a\|b??\[31m\*c\*\<i\>\[bold\]?"
    assert "a|b??[31m*c*<i>[bold]?" in printed(values)


def test_formatting_of_changes_and_names() -> None:
    assert [percent(x) for x in (None, -10.66, 0.04, -0.04, 3)] == ["–", "-10.7 %", "0.0 %", "0.0 %", "+3.0 %"]
    assert shortened("very-long-leaf-1998", 10) == "very-…1998"
    assert shortened("法律法律法律", 7) == "法律…律"
    assert shortened("law", 3) == "law"
    assert printable("a\x07b\ud800") == "a?b?"
