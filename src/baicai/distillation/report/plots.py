"""Plots of distillation results as PNG, for a light or a dark page."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from baicai.distillation.report.results import DistillationResults
from baicai.evaluation import figure_style
from baicai.evaluation.figure_style import DARK, LIGHT, Theme, figure_labels, text_style

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_WIDTH, _ROW_HEIGHT = 3.8, 0.36
"""Size of a panel and of its rows, in inches."""
_MAX_COLUMNS = 48


def quality(results: DistillationResults, dark: bool = False) -> bytes:
    """Plot bits per byte of each domain as dots: the reference, the student and the teacher."""
    column = reference_column(results)
    dots = {name: (getattr(row, column), row.student, row.teacher) for name, row in results.quality.items()}
    shares = {domain: f"{row.kept:.0f} %" for domain, row in results.quality.items()}
    return _dot_plot(results, dots, column, "bits per byte, lower is better", ("kept", shares), dark)


def calibration(results: DistillationResults, dark: bool = False) -> bytes:
    """Plot the calibration error of each domain as dots: the student before and after, and the teacher."""
    rows = results.calibration
    dots = {domain: (100 * row.start, 100 * row.student, 100 * row.teacher) for domain, row in rows.items()}
    errors = {domain: f"{100 * row.student:.1f} %" for domain, row in rows.items()}
    label = "calibration error in percent, lower is better"
    return _dot_plot(results, dots, "start", label, ("student", errors), dark)


def curves(results: DistillationResults, dark: bool = False) -> bytes:
    """Plot loss against training tokens for the student and its untaught twin."""
    theme = DARK if dark else LIGHT
    points = {"student": results.curves.student, "untaught": results.curves.untaught}
    points = {name: curve for name, curve in points.items() if curve}
    if not points:
        return figure_style.message_png("no loss curves were recorded", theme)
    figure = figure_style.new_figure(theme)
    axes = figure_style.add_axes(figure, theme, 0, 0, _WIDTH, 2.3)
    labels = {"student": "student", "untaught": "untaught twin"}
    figure_style.plot_losses(axes, points, labels, {"student": theme.accent, "untaught": theme.faint}, theme)
    return figure_style.png(figure)


def mix(results: DistillationResults, dark: bool = False) -> bytes:
    """Plot the data mix over training: each domain's share of the text, and its gap to the teacher."""
    theme = DARK if dark else LIGHT
    if not results.mix:
        return figure_style.message_png("no data mix was recorded", theme)
    labels, figure, domains = figure_labels(results.quality), figure_style.new_figure(theme), list(results.wanted)
    panels: tuple[tuple[str, list[dict[str, float]], Callable[[float], str]], ...] = (
        ("share of the text", [point.shares for point in results.mix], lambda share: f"{100 * share:.0f} %"),
        ("behind the teacher, bits per byte", [point.gaps for point in results.mix], "{:.2f}".format),
    )
    tokens = [point.tokens for point in results.mix]
    for index, (title, points, formatted) in enumerate(panels):
        left, height = index * (_WIDTH - 0.4), 0.25 * max(2, len(domains))
        axes = figure_style.add_axes(figure, theme, left, 0, _WIDTH - 1, height, title)
        _draw_over_tokens(axes, [[point[domain] for point in points] for domain in domains], tokens, formatted, theme)
        names = [labels[domain] for domain in domains] if index == 0 else [""] * len(domains)
        axes.set_yticks([y + 0.5 for y in range(len(domains))], names, **text_style(theme.ink))
    return figure_style.png(figure)


PLOTS = (quality, calibration, curves, mix)


def reference_column(results: DistillationResults) -> str:
    """Choose the column that the quality plot compares the student with: its twin, or itself at the start."""
    return "start" if any(row.untaught is None for row in results.quality.values()) else "untaught"


def _dot_plot(
    results: DistillationResults,
    dots: Mapping[str, tuple[float, float, float]],
    reference: str,
    xlabel: str,
    annotations: tuple[str, Mapping[str, str]],
    dark: bool,
) -> bytes:
    """Draw a row for each domain from the reference to the student.

    Args:
        dots: The values of the reference, the student and the teacher by domain.
        reference: Column of the reference.
        xlabel: Label of the x axis.
        annotations: Title and texts, by domain, of a column to the right of the rows.
    """
    theme, labels = DARK if dark else LIGHT, figure_labels(results.quality)
    figure, bottom = figure_style.new_figure(theme), 0.0
    for title, domains in results.domain_groups().items():
        bottom -= _ROW_HEIGHT * len(domains) + 0.3
        axes = figure_style.add_axes(figure, theme, 0, bottom, _WIDTH, _ROW_HEIGHT * len(domains), title)
        axes.sharex(figure.axes[0])
        for y, domain in enumerate(domains):
            start, student, teacher = dots[domain]
            colour = theme.worse if student > start else theme.accent
            axes.plot([start, student], [y, y], color=colour, linewidth=3, alpha=0.6, solid_capstyle="round")
            axes.plot(student, y, "o", color=colour, markersize=7, zorder=4)
            axes.plot(start, y, "o", color=colour, markerfacecolor=theme.paper, markersize=7, markeredgewidth=1.5)
            axes.plot(teacher, y, "|", color=theme.ink, markersize=11, markeredgewidth=1.6, zorder=5)
            _annotate(axes, y, annotations[1][domain], theme)
        axes.set_yticks(range(len(domains)), [labels[domain] for domain in domains], **text_style(theme.ink))
        axes.grid(color=theme.rule, linewidth=0.6)
        axes.set(ylim=(len(domains) - 0.5, -0.5), xmargin=0.06)
        axes.tick_params(labelbottom=title == list(results.domain_groups())[-1])
    first, last = figure.axes[0], figure.axes[-1]
    last.set_xlabel(xlabel, **text_style(theme.faint))
    first.text(1.02, 1, annotations[0], va="bottom", transform=first.transAxes, **text_style(theme.faint))
    name = {"untaught": "untaught twin", "start": "start"}[reference]
    markers = {name: ("o", theme.paper), "student": ("o", theme.ink), "teacher": ("|", theme.ink)}
    figure_style.add_legend(first, markers, theme, pad=0.22)
    return figure_style.png(figure)


def _annotate(axes: "Axes", y: float, text: str, theme: Theme) -> None:
    axes.text(1.02, y, text, va="center", transform=axes.get_yaxis_transform(), **text_style(theme.ink))


def _draw_over_tokens(
    axes: "Axes", rows: list[list[float]], tokens: list[float], formatted: Callable[[float], str], theme: Theme
) -> None:
    """Draw each row as cells along the training tokens, with its last value to the right."""
    from matplotlib.ticker import EngFormatter, MaxNLocator

    cells = [figure_style.downsampled(row, _MAX_COLUMNS) for row in rows]
    starts = tokens[:: -(-len(tokens) // _MAX_COLUMNS)]
    edges = [*starts, tokens[-1] + max(1.0, (tokens[-1] - tokens[0]) / len(tokens))]
    figure_style.draw_heatmap(axes, cells, max(0.01, *(value for row in cells for value in row)), theme, edges)
    axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.xaxis.set_major_formatter(EngFormatter())
    axes.set_xlabel("training tokens", **text_style(theme.faint))
    for y, row in enumerate(rows):
        _annotate(axes, y + 0.5, formatted(row[-1]), theme)
