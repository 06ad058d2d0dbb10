"""Evaluation results as tables, for the terminal, Markdown and HTML."""

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

from rich import box
from rich.cells import chop_cells
from rich.table import Table
from rich.text import Text

from baicai.evaluation.formatting import NO_VALUE, percent, printable, shortened
from baicai.evaluation.results import EvaluationResults

MAX_LEAF_COLUMNS = 5
"""Leaf columns a table shows at most; with more leaves it shows the best leaf of each row and its name instead."""
TEXT_COLUMNS = ("domain", "which")
"""Columns that hold names and are left-aligned."""
_FIXED_WIDTH_COLUMNS = ("domain", "trunk", "joined", "change", "oracle")
"""Columns that keep their width in a narrow terminal; the leaves' columns shrink."""


class DomainScores(NamedTuple):
    """Scores of one domain, or the mean over the domains that a leaf covers or over all others."""

    label: str
    values: dict[str, float | None]
    """Bits per byte by column; None for a mean over a domain without a value."""
    change: float | None
    """Change from the trunk to the joined model in percent; negative is better."""
    is_covered: bool
    is_mean: bool = False


class TableCell(NamedTuple):
    """The text of a table cell, and whether it is the best of its row."""

    text: str
    is_best: bool = False


class TableRow(NamedTuple):
    """A table row; the first cell is its label."""

    cells: list[TableCell]
    is_mean: bool = False


class TableData(NamedTuple):
    """A table without formatting: one header per cell of a row."""

    headers: list[str]
    rows: list[TableRow]


def table_row(*texts: str, is_mean: bool = False) -> TableRow:
    """Build a row without a best cell."""
    return TableRow([TableCell(text) for text in texts], is_mean)


def domain_scores(results: EvaluationResults) -> list[DomainScores]:
    """List the domains that a leaf covers and their mean, then the other domains and their mean."""
    all_scores = [_domain_scores(domain, values, results) for domain, values in results.bits_per_byte.items()]
    ordered = []
    for is_covered, label in ((True, "mean, covered"), (False, "mean, others")):
        group = [scores for scores in all_scores if scores.is_covered == is_covered]
        if group:
            means = {column: mean([scores.values[column] for scores in group]) for column in results.columns}
            change = mean([scores.change for scores in group])
            ordered += [*group, DomainScores(label, means, change, is_covered, is_mean=True)]
    return ordered


def scores_table(results: EvaluationResults, max_leaf_columns: int = MAX_LEAF_COLUMNS) -> TableData:
    """Tabulate bits per byte by domain and column. The best of each row is marked; the oracle does not compete."""
    leaves = [column for column in results.columns if column in results.leaves]
    folded = leaves if len(leaves) > max_leaf_columns else []
    headers = ["domain"]
    for column in results.columns:
        if column not in folded:
            headers += [column, "change"] if column == "joined" else [column]
        elif column == folded[0]:
            headers += ["best leaf", "which"]
    rows = [TableRow(_cells(scores, headers, folded), scores.is_mean) for scores in domain_scores(results)]
    return TableData(headers, rows)


def terminal_table(results: EvaluationResults) -> Table:
    """Tabulate bits per byte by domain for the terminal, at most 100 columns wide with five leaves."""
    headers, rows = scores_table(results)
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, collapse_padding=True, pad_edge=False, header_style="")
    table.caption_justify = "left"
    table.caption = "bits per byte, lower is better; bold: best of the row, oracle excluded"
    for header in headers:
        justify: Literal["left", "right"] = "left" if header in TEXT_COLUMNS else "right"
        title, fixed = Text(_wrapped(printable(header))), header in _FIXED_WIDTH_COLUMNS
        table.add_column(title, justify=justify, vertical="bottom", overflow="ellipsis", no_wrap=fixed)
    for row in rows:
        texts = [Text(shortened(cell.text, 24), "bold" if cell.is_best else "") for cell in row.cells]
        if "change" in headers:
            change = texts[headers.index("change")]
            change.style = {"-": "green", "+": "red"}.get(change.plain[0], "")
        table.add_row(*texts, style="italic" if row.is_mean else None, end_section=row.is_mean)
    return table


def markdown_table(results: EvaluationResults) -> str:
    """Tabulate bits per byte by domain as Markdown, for cards and the README."""
    headers, rows = scores_table(results)
    rules = [":---" if header in TEXT_COLUMNS else "---:" for header in headers]
    table = [[_escaped(printable(header)) for header in headers], rules]
    for row in rows:
        label, *values = [f"**{cell.text}**" if cell.is_best else _escaped(cell.text) for cell in row.cells]
        table.append([f"*{label}*" if row.is_mean else label, *values])
    return "".join(f"| {' | '.join(cells)} |\n" for cells in table)


def mean(values: Sequence[float | None]) -> float | None:
    """Compute the mean of values, or None if one of them is missing."""
    present = [value for value in values if value is not None]
    return sum(present) / len(present) if len(present) == len(values) else None


def _domain_scores(domain: str, scores: Mapping[str, float | None], results: EvaluationResults) -> DomainScores:
    values = {column: scores.get(column) for column in results.columns}
    joined, trunk = values.get("joined"), values["trunk"]
    assert trunk is not None
    is_covered = values["oracle"] is not None if "oracle" in values else domain in results.leaves
    return DomainScores(domain, values, None if joined is None else 100 * (joined / trunk - 1), is_covered)


def _cells(scores: DomainScores, headers: Sequence[str], folded: Sequence[str]) -> list[TableCell]:
    _, leaf = min(((value, name) for name in folded if (value := scores.values[name]) is not None), default=(0, None))
    values = {**scores.values, "best leaf": scores.values[leaf] if leaf else None}
    texts = {column: NO_VALUE if value is None else f"{value:.3f}" for column, value in values.items()}
    rivals = [column for column in headers if values.get(column) is not None and column != "oracle"]
    best = min((texts[column] for column in rivals), key=float, default=NO_VALUE)
    texts |= {"domain": printable(scores.label), "change": percent(scores.change), "which": printable(leaf or NO_VALUE)}
    return [TableCell(texts[column], column in rivals and texts[column] == best) for column in headers]


def _wrapped(header: str, width: int = 9) -> str:
    return "\n".join(line for part in header.split("-") for line in chop_cells(part, width))


def _escaped(text: str) -> str:
    return "".join(f"\\{c}" if c in "\\`*_{}[]<>#|~&!$" else c for c in text)
