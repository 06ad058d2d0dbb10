"""A distillation as pictures: PNG bytes, for a light or a dark page."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from baicai.distillation.report.results import check_results, groups, kept
from baicai.evaluation import figure_style
from baicai.evaluation.figure_style import DARK, LIGHT, Look

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_WIDTH, _ROW = 3.8, 0.36
"""Inches."""
_MAX_COLUMNS = 48


def quality(results: Mapping[str, Any], dark: bool = False) -> bytes:
    """Return bits per byte of each domain as dots: the untaught twin, the student and the teacher.

    Raises: ArtefactError if the results are malformed.
    """
    check_results(results)
    rows = results["quality"]
    shares = {domain: f"{kept(row):.0f} %" for domain, row in rows.items()}
    return _dots(results, rows, ring(results), "bits per byte, lower is better", ("kept", shares), dark)


def calibration(results: Mapping[str, Any], dark: bool = False) -> bytes:
    """Return the expected calibration error of each domain as dots: the student before and after, and the teacher.

    Raises: ArtefactError if the results are malformed.
    """
    check_results(results)
    rows = {
        domain: {party: None if error is None else 100 * error for party, error in row.items()}
        for domain, row in results["calibration"].items()
    }
    errors = {domain: f"{row['student']:.1f} %" for domain, row in rows.items()}
    return _dots(results, rows, "start", "calibration error in percent, lower is better", ("student", errors), dark)


def curves(results: Mapping[str, Any], dark: bool = False) -> bytes:
    """Return loss against tokens: the student and its untaught twin.

    Raises: ArtefactError if the results are malformed.
    """
    check_results(results)
    look = DARK if dark else LIGHT
    stages = {name: points for name, points in results["curves"].items() if points}
    if not stages:
        return figure_style.message("no curves were kept", look)
    figure = figure_style.blank(look)
    axes = figure_style.axes(figure, look, 0, 0, _WIDTH, 2.3)
    colours = {"student": look.accent, "untaught": look.faint}
    figure_style.loss_lines(axes, stages, {"student": "student", "untaught": "untaught twin"}, colours, look)
    return figure_style.png(figure)


def mix(results: Mapping[str, Any], dark: bool = False) -> bytes:
    """Return what the sampler chose on the way: each domain's share of the text, and how far it was behind.

    Raises: ArtefactError if the results are malformed.
    """
    check_results(results)
    look, points = DARK if dark else LIGHT, results["mix"]
    if not points:
        return figure_style.message("no mix was kept", look)
    labels, figure, domains = (
        figure_style.drawable(results["quality"]),
        figure_style.blank(look),
        list(results["wanted"]),
    )
    panels = {
        "share of the text": ("shares", lambda share: f"{100 * share:.0f} %"),
        "behind the teacher, bits per byte": ("gaps", "{:.2f}".format),
    }
    for index, (title, (key, shown)) in enumerate(panels.items()):
        axes = figure_style.axes(
            figure, look, index * (_WIDTH - 0.4), 0, _WIDTH - 1, 0.25 * max(2, len(domains)), title
        )
        values = {domain: [point[key][domain] for point in points] for domain in domains}
        _over_tokens(axes, values, [point["tokens"] for point in points], shown, look)
        names = [labels[domain] for domain in domains] if index == 0 else [""] * len(domains)
        axes.set_yticks([y + 0.5 for y in range(len(domains))], names, **figure_style.text(look.ink))
    return figure_style.png(figure)


PICTURES = (quality, calibration, curves, mix)


def ring(results: Mapping[str, Any]) -> str:
    """Return whom the picture of quality compares the student with: its twin, or itself at the start."""
    return "start" if any(row["untaught"] is None for row in results["quality"].values()) else "untaught"


def _dots(
    results: Mapping[str, Any],
    rows: Mapping[str, Mapping[str, Any]],
    other: str,
    unit: str,
    column: tuple[str, Mapping[str, str]],
    dark: bool,
) -> bytes:
    """Draw a row for each domain from the `other` party to the student, and write a column of text beside it."""
    look, labels = DARK if dark else LIGHT, figure_style.drawable(results["quality"])
    figure, bottom = figure_style.blank(look), 0.0
    for title, domains in groups(results).items():
        bottom -= _ROW * len(domains) + 0.3
        axes = figure_style.axes(figure, look, 0, bottom, _WIDTH, _ROW * len(domains), title)
        axes.sharex(figure.axes[0])
        for y, domain in enumerate(domains):
            student, start = rows[domain]["student"], rows[domain][other]
            colour = look.worse if student > start else look.accent
            axes.plot([start, student], [y, y], color=colour, linewidth=3, alpha=0.6, solid_capstyle="round")
            axes.plot(student, y, "o", color=colour, markersize=7, zorder=4)
            axes.plot(start, y, "o", color=colour, markerfacecolor=look.paper, markersize=7, markeredgewidth=1.5)
            axes.plot(rows[domain]["teacher"], y, "|", color=look.ink, markersize=11, markeredgewidth=1.6, zorder=5)
            where: dict[str, Any] = {"va": "center", "transform": axes.get_yaxis_transform()}
            axes.text(1.02, y, column[1][domain], **where, **figure_style.text(look.ink))
        axes.set_yticks(range(len(domains)), [labels[domain] for domain in domains], **figure_style.text(look.ink))
        axes.grid(color=look.rule, linewidth=0.6)
        axes.set(ylim=(len(domains) - 0.5, -0.5), xmargin=0.06)
        axes.tick_params(labelbottom=title == list(groups(results))[-1])
    first, last = figure.axes[0], figure.axes[-1]
    last.set_xlabel(unit, **figure_style.text(look.faint))
    first.text(1.02, 1, column[0], va="bottom", transform=first.transAxes, **figure_style.text(look.faint))
    name = {"untaught": "untaught twin", "start": "start"}[other]
    marks = {name: ("o", look.paper), "student": ("o", look.ink), "teacher": ("|", look.ink)}
    figure_style.legend(first, marks, look, above=0.22)
    return figure_style.png(figure)


def _over_tokens(
    axes: "Axes", values: Mapping[str, list[float]], tokens: list[float], shown: Callable[[float], str], look: Look
) -> None:
    """Draw a row of cells for each domain along the tokens, and write its last value beside it."""
    from matplotlib.ticker import EngFormatter, MaxNLocator

    rows = [figure_style.thinned(row, _MAX_COLUMNS) for row in values.values()]
    starts = tokens[:: -(-len(tokens) // _MAX_COLUMNS)]
    edges = [*starts, tokens[-1] + max(1.0, (tokens[-1] - tokens[0]) / len(tokens))]
    figure_style.cells(axes, rows, max(0.01, *(value for row in rows for value in row)), look, edges)
    axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.xaxis.set_major_formatter(EngFormatter())
    axes.set_xlabel("tokens", **figure_style.text(look.faint))
    for y, row in enumerate(values.values()):
        where: dict[str, Any] = {"va": "center", "transform": axes.get_yaxis_transform()}
        axes.text(1.02, y + 0.5, shown(row[-1]), **where, **figure_style.text(look.ink))
