"""Results as tables, for the terminal, cards and the report.

`results` is, in this file, plots and report, the plain dict of results.json: what an evaluation measured.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple, NoReturn, cast

from rich import box
from rich.cells import cell_len, chop_cells
from rich.table import Table
from rich.text import Text

from baicai.errors import ArtefactError

MAX_LEAF_COLUMNS = 5
"""A table with more leaves shows the best leaf of each row and its name instead of every leaf."""
MISSING = "–"
NAME_HEADS = ("domain", "which")
FIRM_HEADS = ("domain", "trunk", "joined", "change", "oracle")
"""Columns that keep their width where the terminal is narrow; those of the leaves give way."""
_HEADS = (*NAME_HEADS, "change", "best leaf")
_SPEC = {
    "format": int,
    **{"model": str, "trunk": str},
    "leaves": {str: str},
    "columns": [str],
    "bits_per_byte": {str: {str: (float,)}},
    "bytes": {str: int},
    "routing": {"leaves": [str], "layers": [int], "share": {str: [[float]]}},
    "curves": {str: [{"tokens": float, "loss": float}]},
    "cost": {
        **{"total_parameters": float, "active_parameters": float, "embedding_parameters": float},
        **{"active_share": float, "flops_per_token": float, "bytes_per_token": float},
    },
    "summary": dict.fromkeys(("retention_mean", "retention_worst", "off_domain_ratio"), (float,)),
    "samples": [{"prompt": str, "pieces": [{"text": str, "leaf": (str,), "weight": (float,)}]}],
}
_KINDS: dict[Any, str] = {str: "text", int: "a whole number", float: "a finite number"}


class Line(NamedTuple):
    """One domain, or the mean of the domains that a leaf covers or of those that none covers."""

    label: str
    values: dict[str, float | None]
    """Bits per byte of each column; a mean is missing where a domain's value is."""
    change: float | None
    """Joined against the trunk in percent; below zero is better."""
    covered: bool
    mean: bool


class Cell(NamedTuple):
    """What one place of a table shows."""

    text: str
    best: bool = False


class Grid(NamedTuple):
    """A table without a look: one head per cell of a row, the first of them the domain."""

    heads: list[str]
    rows: list[tuple[Line, list[Cell]]]


def check_results(results: Mapping[str, Any]) -> None:
    """Check that a results dict has the shape that tables, plots and the report read.

    Raises: ArtefactError that names the first key that is wrong.
    """
    check_shape(results, _SPEC)
    if results["format"] != 1:
        wrong("format", f"is {results['format']}, this version reads 1")
    columns = results["columns"]
    if "trunk" not in columns or len(set(columns)) < len(columns) or set(_HEADS) & set(columns):
        wrong("columns", f"must name the trunk, each column once and none of {', '.join(_HEADS)}")
    for name in {"trunk", "joined", "oracle"} & set(results["leaves"]):
        wrong(f"leaves.{name}", "takes a name that a column has already")
    if not results["bits_per_byte"]:
        wrong("bits_per_byte", "is empty")
    for domain, row in results["bits_per_byte"].items():
        if (row.get("trunk") or 0) <= 0:
            wrong(f"bits_per_byte.{domain}.trunk", "must be a number above 0")
        for column in row:
            if column not in columns:
                wrong(f"bits_per_byte.{domain}.{column}", "is not among the columns")
    _check_leaves(results)


def check_shape(value: object, spec: Any, where: str = "") -> None:
    """Check results against a spec: a tuple may be null, a list holds any number, {str: x} maps any name to x.

    Raises: ArtefactError that names the first key that is wrong.
    """
    if isinstance(spec, tuple):
        if value is not None:
            check_shape(value, spec[0], where)
    elif isinstance(spec, list):
        if not isinstance(value, list):
            wrong(where, "must be a list")
        for index, one in enumerate(value):
            check_shape(one, spec[0], f"{where}[{index}]")
    elif isinstance(spec, dict):
        if not isinstance(value, Mapping):
            wrong(where, "must be an object")
        for key in value if str in spec else spec:
            inside = f"{where}.{key}" if where else str(key)
            if key not in value:
                wrong(inside, "is missing")
            check_shape(value[key], spec[str if str in spec else key], inside)
    elif isinstance(value, bool) or not isinstance(value, (int, float) if spec is float else spec):
        wrong(where, f"must be {_KINDS[spec]}")
    elif spec is float and not abs(cast(float, value)) < 1e30:
        wrong(where, f"is {value}, not {_KINDS[spec]}")


def wrong(key: str, problem: str) -> NoReturn:
    """Refuse results for what stands at a key.

    Raises: ArtefactError
    """
    where = f"results: key '{key}'" if key else "results"
    raise ArtefactError(printable(f"{where} {problem}: measure the model again"))


def lines(results: Mapping[str, Any]) -> list[Line]:
    """Return the domains that a leaf covers and their mean, then the other domains and theirs."""
    every = [_line(domain, row, results) for domain, row in results["bits_per_byte"].items()]
    found = []
    for covered, label in ((True, "mean, covered"), (False, "mean, others")):
        group = [line for line in every if line.covered == covered]
        if group:
            means = {column: mean([line.values[column] for line in group]) for column in results["columns"]}
            found += [*group, Line(label, means, mean([line.change for line in group]), covered, True)]
    return found


def grid(results: Mapping[str, Any], max_leaf_columns: int = MAX_LEAF_COLUMNS) -> Grid:
    """Return heads and cells; the best of each row is marked, the oracle left out.

    Raises: ArtefactError if the results are malformed.
    """
    check_results(results)
    leaves = [column for column in results["columns"] if column in results["leaves"]]
    folded = leaves if len(leaves) > max_leaf_columns else []
    heads = ["domain"]
    for column in results["columns"]:
        if column not in folded:
            heads += [column, "change"] if column == "joined" else [column]
        elif column == folded[0]:
            heads += ["best leaf", "which"]
    return Grid(heads, [(line, _cells(line, heads, folded)) for line in lines(results)])


def bits_per_byte_table(results: Mapping[str, Any]) -> Table:
    """Return bits per byte by domain for the terminal, at most 100 columns wide with five leaves.

    Raises: ArtefactError if the results are malformed.
    """
    heads, rows = grid(results)
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, collapse_padding=True, pad_edge=False, header_style="")
    table.caption_justify = "left"
    table.caption = "bits per byte, lower is better; bold: best of the row, the oracle left out"
    for head in heads:
        side: Literal["left", "right"] = "left" if head in NAME_HEADS else "right"
        title = Text(_folded(printable(head)))
        table.add_column(title, justify=side, vertical="bottom", overflow="ellipsis", no_wrap=head in FIRM_HEADS)
    for line, cells in rows:
        texts = [Text(shortened(cell.text, 24), "bold" if cell.best else "") for cell in cells]
        if "change" in heads:
            texts[heads.index("change")].style = {"-": "green", "+": "red"}.get(percent(line.change)[0], "")
        table.add_row(*texts, style="italic" if line.mean else None, end_section=line.mean)
    return table


def markdown_table(results: Mapping[str, Any]) -> str:
    """Return the same table as Markdown, for cards and the README.

    Raises: ArtefactError if the results are malformed.
    """
    heads, rows = grid(results)
    rules = [":---" if head in NAME_HEADS else "---:" for head in heads]
    table = [[_escaped(printable(head)) for head in heads], rules]
    for line, cells in rows:
        label, *values = [f"**{cell.text}**" if cell.best else _escaped(cell.text) for cell in cells]
        table.append([f"*{label}*" if line.mean else label, *values])
    return "".join(f"| {' | '.join(row)} |\n" for row in table)


def printable(text: str) -> str:
    """Return a name fit for one line: what would move the cursor or turn the text round becomes `?`."""
    return "".join(c if c.isprintable() else "?" for c in text)


def shortened(text: str, width: int) -> str:
    """Return a name in at most `width` columns of a terminal, its middle left out where it is longer."""
    shown, kept = text, min(len(text), width)
    while cell_len(shown) > width:
        kept -= 1
        shown = f"{text[: (kept + 1) // 2]}…{text[len(text) - kept // 2 :]}"
    return shown


def percent(change: float | None) -> str:
    """Return a change as `-10.7 %`."""
    return MISSING if change is None else f"{round(change, 1):+.1f} %" if abs(change) >= 0.05 else "0.0 %"


def _line(domain: str, row: Mapping[str, float | None], results: Mapping[str, Any]) -> Line:
    values = {column: row.get(column) for column in results["columns"]}
    joined, trunk = values.get("joined"), values["trunk"]
    assert trunk is not None
    covered = values["oracle"] is not None if "oracle" in values else domain in results["leaves"]
    return Line(domain, values, None if joined is None else 100 * (joined / trunk - 1), covered, False)


def mean(values: Sequence[float | None]) -> float | None:
    """Return the mean of values, or nothing where one of them is missing."""
    there = [value for value in values if value is not None]
    return sum(there) / len(there) if len(there) == len(values) else None


def _cells(line: Line, heads: Sequence[str], folded: Sequence[str]) -> list[Cell]:
    _, leaf = min(((value, name) for name in folded if (value := line.values[name]) is not None), default=(0, None))
    values = {**line.values, "best leaf": line.values[leaf] if leaf else None}
    shown = {head: MISSING if value is None else f"{value:.3f}" for head, value in values.items()}
    parties = [head for head in heads if values.get(head) is not None and head != "oracle"]
    best = min((shown[head] for head in parties), key=float, default=MISSING)
    other = {"domain": printable(line.label), "change": percent(line.change), "which": printable(leaf or MISSING)}
    return [
        Cell(other[head]) if head in other else Cell(shown[head], head in parties and shown[head] == best)
        for head in heads
    ]


def _folded(head: str, width: int = 9) -> str:
    return "\n".join(line for part in head.split("-") for line in chop_cells(part, width))


def _escaped(text: str) -> str:
    return "".join(f"\\{c}" if c in "\\`*_{}[]<>#|~&!$" else c for c in text)


def _check_leaves(results: Mapping[str, Any]) -> None:
    routing, leaves = results["routing"], results["leaves"]
    for index, name in enumerate(routing["leaves"]):
        if name not in leaves:
            wrong(f"routing.leaves[{index}]", f"is '{name}', which is not among the leaves")
    for domain, share in routing["share"].items():
        if len(share) != len(routing["layers"]):
            wrong(f"routing.share.{domain}", f"has {len(share)} layers, routing.layers {len(routing['layers'])}")
        for index, row in enumerate(share):
            if len(row) != len(routing["leaves"]):
                wrong(f"routing.share.{domain}[{index}]", f"has {len(row)} leaves, not {len(routing['leaves'])}")
    for number, sample in enumerate(results["samples"]):
        for index, piece in enumerate(sample["pieces"]):
            if piece["leaf"] is not None and piece["leaf"] not in leaves:
                wrong(f"samples[{number}].pieces[{index}].leaf", f"is '{piece['leaf']}', which is not a leaf")
