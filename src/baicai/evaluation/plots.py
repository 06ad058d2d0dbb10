"""Plots of evaluation results as PNG. A leaf has the same colour in every plot."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from baicai.evaluation import figure_style
from baicai.evaluation.figure_style import DARK, LIGHT, Theme, leaf_colours, text_style
from baicai.evaluation.formatting import percent
from baicai.evaluation.results import EvaluationResults
from baicai.evaluation.tables import DomainScores, domain_scores

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def plot_labels(results: EvaluationResults) -> dict[str, str]:
    """Map each domain and leaf of the results to the label that plots show."""
    names = (results.leaves, results.bits_per_byte, results.routing.share, results.curves)
    return figure_style.figure_labels(name for group in names for name in group)


def routing_heatmap(results: EvaluationResults, dark: bool = False) -> bytes:
    """Plot each leaf's routing weight on each domain: the mean over layers, then layer by layer."""
    theme, routing = DARK if dark else LIGHT, results.routing
    leaves, share = routing.leaves, routing.share
    domains = sorted(share, key=lambda domain: leaves.index(domain) if domain in leaves else len(leaves))
    if not (leaves and domains and routing.layers):
        return figure_style.message_png("no routing: the model has no leaves", theme)
    by_layer = [[share[domain][layer] for domain in domains] for layer in range(len(routing.layers))]
    mean = {domain: [sum(column) / len(column) for column in zip(*share[domain], strict=True)] for domain in domains}
    maximum = max(0.01, *(weight for rows in by_layer for row in rows for weight in row))
    figure = figure_style.new_figure(theme)
    width, height = len(leaves) * min(1.6, max(0.55, 4.8 / len(leaves))), 0.36 * len(domains)
    main = figure_style.add_axes(figure, theme, 0, 0, width, height, "mean over layers")
    figure_style.draw_heatmap(main, list(mean.values()), maximum, theme)
    _annotate_heatmap(main, mean, results, theme)
    small_width, small_height = max(0.9, 0.16 * len(leaves)), max(0.4, 0.13 * len(domains))
    per_row = int((max(width, 4.8) + 0.2) // (small_width + 0.2))
    for index, layer in enumerate(routing.layers):
        left, bottom = (small_width + 0.2) * (index % per_row), -(small_height + 0.4) * (index // per_row + 1)
        axes = figure_style.add_axes(figure, theme, left, bottom, small_width, small_height, f"layer {layer}")
        figure_style.draw_heatmap(axes, by_layer[index], maximum, theme)
    return figure_style.png(figure)


def quality_dots(results: EvaluationResults, dark: bool = False) -> bytes:
    """Plot bits per byte of each domain as dots: the trunk, the joined model and the oracle."""
    theme, labels, colours = DARK if dark else LIGHT, plot_labels(results), leaf_colours(results.leaves)
    rows = [scores for scores in domain_scores(results) if not scores.is_mean]
    figure = figure_style.new_figure(theme)
    axes = figure_style.add_axes(figure, theme, 0, 0, 3.8, 0.36 * len(rows))
    for y, scores in enumerate(rows):
        _draw_dots(axes, y, scores, colours.get(scores.label, theme.faint), theme)
    axes.set_yticks(range(len(rows)), [labels[scores.label] for scores in rows], **text_style(theme.ink))
    axes.set_xlabel("bits per byte, lower is better", **text_style(theme.faint))
    axes.grid(color=theme.rule, linewidth=0.6)
    axes.set(ylim=(len(rows) - 0.5, -0.5), xmargin=0.06)
    axes.text(1.02, 1, "change", va="bottom", transform=axes.transAxes, **text_style(theme.faint))
    markers = {"trunk": ("o", theme.paper), "joined": ("o", theme.ink), "oracle": ("|", theme.ink)}
    figure_style.add_legend(axes, markers, theme)
    return figure_style.png(figure)


def loss_curves(results: EvaluationResults, dark: bool = False) -> bytes:
    """Plot loss against training tokens, one line per stage; the trunk has a panel of its own."""
    theme = DARK if dark else LIGHT
    curves = {name: points for name, points in results.curves.items() if points}
    groups = ([name for name in curves if (name == "trunk") == is_trunk] for is_trunk in (True, False))
    if not curves:
        return figure_style.message_png("no loss curves were recorded", theme)
    figure = figure_style.new_figure(theme)
    for index, names in enumerate(filter(None, groups)):
        height = max(2.3, 0.18 * len(names))
        title = "trunk" if names == ["trunk"] else "leaves" if set(names) <= set(results.leaves) else "later stages"
        axes = figure_style.add_axes(figure, theme, 0, -height - 0.8 if index else 0, 3.8, height, title)
        shown, colours = {name: curves[name] for name in names}, leaf_colours(results.leaves)
        figure_style.plot_losses(axes, shown, plot_labels(results), colours, theme)
    return figure_style.png(figure)


def _annotate_heatmap(
    axes: "Axes", weights: Mapping[str, Sequence[float]], results: EvaluationResults, theme: Theme
) -> None:
    """Write the weights into the cells, label rows and columns, and frame the cell of a domain and its own leaf."""
    leaves, labels, colours = results.routing.leaves, plot_labels(results), leaf_colours(results.leaves)
    names, maximum = [labels[leaf] for leaf in leaves], axes.collections[0].get_clim()[1] or 1.0
    fits = max(len(name) for name in names) * 0.085 < axes.get_position().width / len(leaves)
    rotation: dict[str, Any] = {"ha": "center"} if fits else {"rotation": 35, "ha": "left", "rotation_mode": "anchor"}
    axes.xaxis.tick_top()
    axes.set_xticks([x + 0.5 for x in range(len(leaves))], names, **text_style(theme.ink, **rotation))
    for leaf, tick in zip(leaves, axes.get_xticklabels(), strict=True):
        tick.set(color=colours[leaf], fontweight="bold")
    axes.set_yticks([y + 0.5 for y in range(len(weights))], [labels[d] for d in weights], **text_style(theme.ink))
    for y, (domain, row) in enumerate(weights.items()):
        for x, weight in enumerate(row):
            colour = theme.paper if weight > 0.55 * maximum else theme.ink
            axes.text(x + 0.5, y + 0.5, f"{weight:.2f}", ha="center", va="center", **text_style(colour, 8.5))
        if domain in leaves:
            x, colour = leaves.index(domain), colours[domain]
            axes.plot([x, x + 1, x + 1, x, x], [y, y, y + 1, y + 1, y], color=colour, linewidth=2.2, clip_on=False)


def _draw_dots(axes: "Axes", y: int, scores: DomainScores, colour: str, theme: Theme) -> None:
    trunk, joined, oracle = (scores.values.get(column) for column in ("trunk", "joined", "oracle"))
    assert trunk is not None
    if joined is not None:
        axes.plot([trunk, joined], [y, y], color=colour, linewidth=3, alpha=0.6, solid_capstyle="round")
        axes.plot(joined, y, "o", color=colour, markersize=7, zorder=4)
    axes.plot(trunk, y, "o", color=colour, markerfacecolor=theme.paper, markersize=7, markeredgewidth=1.5, zorder=3)
    if oracle is not None:
        axes.plot(oracle, y, "|", color=theme.ink, markersize=11, markeredgewidth=1.6, zorder=5)
    transform = axes.get_yaxis_transform()
    axes.text(1.02, y, percent(scores.change), va="center", transform=transform, **text_style(theme.ink))
