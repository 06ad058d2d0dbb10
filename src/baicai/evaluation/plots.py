"""Results as pictures: PNG bytes, with one colour for each leaf wherever it is shown."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from baicai.evaluation import figure_style
from baicai.evaluation.figure_style import DARK, LIGHT, Look, leaf_colours
from baicai.evaluation.tables import Line, check_results, lines, percent

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def plot_labels(results: Mapping[str, Any]) -> dict[str, str]:
    """Return what the pictures write for each name of a result."""
    kinds = (results["leaves"], results["bits_per_byte"], results["routing"]["share"], results["curves"])
    return figure_style.drawable(name for kind in kinds for name in kind)


def routing_heatmap(results: Mapping[str, Any], dark: bool = False) -> bytes:
    """Return who gets the tokens: the weight of each leaf on each domain, the mean and layer by layer.

    Raises: ArtefactError if the results are malformed.
    """
    check_results(results)
    look, routing = DARK if dark else LIGHT, results["routing"]
    leaves, share = routing["leaves"], routing["share"]
    domains = sorted(share, key=lambda domain: leaves.index(domain) if domain in leaves else len(leaves))
    if not (leaves and domains and routing["layers"]):
        return figure_style.message("no leaves, so no routing", look)
    by_layer = [[share[domain][layer] for domain in domains] for layer in range(len(routing["layers"]))]
    mean = {domain: [sum(column) / len(column) for column in zip(*share[domain], strict=True)] for domain in domains}
    top = max(0.01, *(weight for values in by_layer for row in values for weight in row))
    figure = figure_style.blank(look)
    width, height = len(leaves) * min(1.6, max(0.55, 4.8 / len(leaves))), 0.36 * len(domains)
    main = figure_style.axes(figure, look, 0, 0, width, height, "mean over layers")
    figure_style.cells(main, list(mean.values()), top, look)
    _write_cells(main, mean, results, look)
    small, low = max(0.9, 0.16 * len(leaves)), max(0.4, 0.13 * len(domains))
    fit = int((max(width, 4.8) + 0.2) // (small + 0.2))
    for index, layer in enumerate(routing["layers"]):
        x, y = (small + 0.2) * (index % fit), -(low + 0.4) * (index // fit + 1)
        figure_style.cells(
            figure_style.axes(figure, look, x, y, small, low, f"layer {layer}"), by_layer[index], top, look
        )
    return figure_style.png(figure)


def quality_bars(results: Mapping[str, Any], dark: bool = False) -> bytes:
    """Return bits per byte of each domain as dots: the trunk, the joined model and the oracle.

    Raises: ArtefactError if the results are malformed.
    """
    check_results(results)
    look, labels, colours = DARK if dark else LIGHT, plot_labels(results), leaf_colours(results["leaves"])
    rows = [line for line in lines(results) if not line.mean]
    figure = figure_style.blank(look)
    axes = figure_style.axes(figure, look, 0, 0, 3.8, 0.36 * len(rows))
    for y, line in enumerate(rows):
        _dots(axes, y, line, colours.get(line.label, look.faint), look)
    axes.set_yticks(range(len(rows)), [labels[line.label] for line in rows], **figure_style.text(look.ink))
    axes.set_xlabel("bits per byte, lower is better", **figure_style.text(look.faint))
    axes.grid(color=look.rule, linewidth=0.6)
    axes.set(ylim=(len(rows) - 0.5, -0.5), xmargin=0.06)
    axes.text(1.02, 1, "change", va="bottom", transform=axes.transAxes, **figure_style.text(look.faint))
    figure_style.legend(axes, {"trunk": ("o", look.paper), "joined": ("o", look.ink), "oracle": ("|", look.ink)}, look)
    return figure_style.png(figure)


def curves(results: Mapping[str, Any], dark: bool = False) -> bytes:
    """Return loss against tokens, one line for each stage; the trunk has a panel of its own.

    Raises: ArtefactError if the results are malformed.
    """
    check_results(results)
    look = DARK if dark else LIGHT
    stages = {name: points for name, points in results["curves"].items() if points}
    groups = ([name for name in stages if (name == "trunk") == trunk] for trunk in (True, False))
    if not stages:
        return figure_style.message("no curves were kept", look)
    figure = figure_style.blank(look)
    for index, names in enumerate(filter(None, groups)):
        height = max(2.3, 0.18 * len(names))
        title = "trunk" if names == ["trunk"] else "leaves" if set(names) <= set(results["leaves"]) else "later stages"
        axes = figure_style.axes(figure, look, 0, -height - 0.8 if index else 0, 3.8, height, title)
        shown, colours = {name: stages[name] for name in names}, leaf_colours(results["leaves"])
        figure_style.loss_lines(axes, shown, plot_labels(results), colours, look)
    return figure_style.png(figure)


def _write_cells(axes: "Axes", values: Mapping[str, Sequence[float]], results: Mapping[str, Any], look: Look) -> None:
    """Write the weights into the cells, the names beside them, and frame where a domain meets its own leaf."""
    leaves, labels, colours = results["routing"]["leaves"], plot_labels(results), leaf_colours(results["leaves"])
    names, top = [labels[leaf] for leaf in leaves], axes.collections[0].get_clim()[1] or 1.0
    flat = max(len(name) for name in names) * 0.085 < axes.get_position().width / len(leaves)
    turn: dict[str, Any] = {"ha": "center"} if flat else {"rotation": 35, "ha": "left", "rotation_mode": "anchor"}
    axes.xaxis.tick_top()
    axes.set_xticks([x + 0.5 for x in range(len(leaves))], names, **figure_style.text(look.ink, **turn))
    for leaf, tick in zip(leaves, axes.get_xticklabels(), strict=True):
        tick.set(color=colours[leaf], fontweight="bold")
    axes.set_yticks(
        [y + 0.5 for y in range(len(values))], [labels[domain] for domain in values], **figure_style.text(look.ink)
    )
    for y, (domain, row) in enumerate(values.items()):
        for x, weight in enumerate(row):
            colour = look.paper if weight > 0.55 * top else look.ink
            axes.text(x + 0.5, y + 0.5, f"{weight:.2f}", ha="center", va="center", **figure_style.text(colour, 8.5))
        if domain in leaves:
            x, colour = leaves.index(domain), colours[domain]
            axes.plot([x, x + 1, x + 1, x, x], [y, y, y + 1, y + 1, y], color=colour, linewidth=2.2, clip_on=False)


def _dots(axes: "Axes", y: int, line: Line, colour: str, look: Look) -> None:
    trunk, joined, oracle = (line.values.get(column) for column in ("trunk", "joined", "oracle"))
    assert trunk is not None
    if joined is not None:
        axes.plot([trunk, joined], [y, y], color=colour, linewidth=3, alpha=0.6, solid_capstyle="round")
        axes.plot(joined, y, "o", color=colour, markersize=7, zorder=4)
    axes.plot(trunk, y, "o", color=colour, markerfacecolor=look.paper, markersize=7, markeredgewidth=1.5, zorder=3)
    if oracle is not None:
        axes.plot(oracle, y, "|", color=look.ink, markersize=11, markeredgewidth=1.6, zorder=5)
    axes.text(
        1.02, y, percent(line.change), va="center", transform=axes.get_yaxis_transform(), **figure_style.text(look.ink)
    )
