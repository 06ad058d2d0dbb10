"""Results as pictures: PNG bytes, with one colour for each leaf wherever it is shown."""

import io
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

from baicai.evaluation.tables import Line, check_results, lines, percent, printable, shortened

if TYPE_CHECKING:  # matplotlib is loaded when a picture is made: a chat that only wants the colours does not wait
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DPI = 160
NO_GLYPH = "□"
_PALETTE = (
    *("#8484ff", "#e46c00", "#00a860", "#f018b4", "#90546c", "#9000ff", "#cc0000", "#0084a8"),
    *("#007830", "#a818c0", "#c060d8", "#608460", "#0060d8", "#ff0cff", "#c03c90", "#b48490"),
)
"""At least 3:1 in contrast to black and to white; each far from those before it, also for colour-blind eyes."""
_CJK = (
    *("Noto Sans CJK SC", "Noto Sans SC", "Noto Sans CJK JP", "Source Han Sans SC", "WenQuanYi Micro Hei"),
    *("WenQuanYi Zen Hei", "Droid Sans Fallback", "PingFang SC", "Hiragino Sans GB", "Microsoft YaHei", "SimHei"),
)


class Look(NamedTuple):
    """The colours of a page and of its pictures."""

    paper: str
    ink: str
    faint: str
    rule: str
    empty: str
    accent: str


LIGHT = Look(paper="#ffffff", ink="#1b1f24", faint="#5f6872", rule="#d8dde2", empty="#eef1f4", accent="#0b5394")
DARK = Look(paper="#14181d", ink="#e6e9ec", faint="#9aa4ae", rule="#333b44", empty="#20272e", accent="#7cc4ff")


def leaf_colours(names: Iterable[str]) -> dict[str, str]:
    """Return one `#rrggbb` for each leaf, the same in whatever order they are given; after 16 they repeat."""
    return {name: _PALETTE[i % len(_PALETTE)] for i, name in enumerate(sorted(set(names)))}


def plot_labels(results: Mapping[str, Any]) -> dict[str, str]:
    """Return what the pictures write for each name: short, drawable with the fonts there are, each different."""
    glyphs, labels = _fonts()[1], dict[str, str]()
    kinds = (results["leaves"], results["bits_per_byte"], results["routing"]["share"], results["curves"])
    for number, name in enumerate(dict.fromkeys(name for kind in kinds for name in kind), 1):
        drawn = "".join(c if ord(c) in glyphs else NO_GLYPH for c in printable(name))
        label = shortened(re.sub(f"{NO_GLYPH}+", NO_GLYPH, drawn), 24)
        labels[name] = f"{label} #{number}" if NO_GLYPH in label or label in labels.values() else label
    return labels


def routing_heatmap(results: Mapping[str, Any], dark: bool = False) -> bytes:
    """Return who gets the tokens: the weight of each leaf on each domain, the mean and layer by layer.

    Raises: ArtefactError if the results are malformed.
    """
    check_results(results)
    look, routing = DARK if dark else LIGHT, results["routing"]
    leaves, share = routing["leaves"], routing["share"]
    domains = sorted(share, key=lambda domain: leaves.index(domain) if domain in leaves else len(leaves))
    if not (leaves and domains and routing["layers"]):
        return _message("no leaves, so no routing", look)
    by_layer = [[share[domain][layer] for domain in domains] for layer in range(len(routing["layers"]))]
    mean = {domain: [sum(column) / len(column) for column in zip(*share[domain], strict=True)] for domain in domains}
    top = max(0.01, *(weight for values in by_layer for row in values for weight in row))
    figure = _figure(look)
    width, height = len(leaves) * min(1.6, max(0.55, 4.8 / len(leaves))), 0.36 * len(domains)
    main = _axes(figure, look, 0, 0, width, height, "mean over layers")
    _cells(main, list(mean.values()), top, look)
    _write_cells(main, mean, results, look)
    small, low = max(0.9, 0.16 * len(leaves)), max(0.4, 0.13 * len(domains))
    fit = int((max(width, 4.8) + 0.2) // (small + 0.2))
    for index, layer in enumerate(routing["layers"]):
        x, y = (small + 0.2) * (index % fit), -(low + 0.4) * (index // fit + 1)
        _cells(_axes(figure, look, x, y, small, low, f"layer {layer}"), by_layer[index], top, look)
    return _png(figure)


def quality_bars(results: Mapping[str, Any], dark: bool = False) -> bytes:
    """Return bits per byte of each domain as dots: the trunk, the joined model and the oracle.

    Raises: ArtefactError if the results are malformed.
    """
    check_results(results)
    look, labels, colours = DARK if dark else LIGHT, plot_labels(results), leaf_colours(results["leaves"])
    rows = [line for line in lines(results) if not line.mean]
    figure = _figure(look)
    axes = _axes(figure, look, 0, 0, 3.8, 0.36 * len(rows))
    for y, line in enumerate(rows):
        _dots(axes, y, line, colours.get(line.label, look.faint), look)
    axes.set_yticks(range(len(rows)), [labels[line.label] for line in rows], **_text(look.ink))
    axes.set_xlabel("bits per byte, lower is better", **_text(look.faint))
    axes.grid(color=look.rule, linewidth=0.6)
    axes.set(ylim=(len(rows) - 0.5, -0.5), xmargin=0.06)
    axes.text(1.02, 1, "change", va="bottom", transform=axes.transAxes, **_text(look.faint))
    for name, marker, face in (("trunk", "o", look.paper), ("joined", "o", look.ink), ("oracle", "|", look.ink)):
        axes.plot([], [], marker, label=name, color=look.ink, markerfacecolor=face, markersize=7, markeredgewidth=1.5)
    place: dict[str, Any] = {"loc": "lower left", "bbox_to_anchor": (0, 1), "ncols": 3, "borderaxespad": 0.2}
    axes.legend(fontsize=9, frameon=False, labelcolor=look.ink, handletextpad=0.2, **place)
    return _png(figure)


def curves(results: Mapping[str, Any], dark: bool = False) -> bytes:
    """Return loss against tokens, one line for each stage; the trunk has a panel of its own.

    Raises: ArtefactError if the results are malformed.
    """
    check_results(results)
    look = DARK if dark else LIGHT
    stages = {name: points for name, points in results["curves"].items() if points}
    groups = ([name for name in stages if (name == "trunk") == trunk] for trunk in (True, False))
    if not stages:
        return _message("no curves were kept", look)
    figure = _figure(look)
    for index, names in enumerate(filter(None, groups)):
        height = max(2.3, 0.18 * len(names))
        title = "trunk" if names == ["trunk"] else "leaves" if set(names) <= set(results["leaves"]) else "later stages"
        axes = _axes(figure, look, 0, -height - 0.8 if index else 0, 3.8, height, title)
        _lines(axes, {name: stages[name] for name in names}, results, look)
    return _png(figure)


@lru_cache(maxsize=1)
def _fonts() -> tuple[list[str], frozenset[int]]:
    """Return the font families to draw with, the first that has a character draws it, and what they can draw."""
    from matplotlib import font_manager

    there = {font.name for font in font_manager.fontManager.ttflist}
    families = ["DejaVu Sans", *[name for name in _CJK if name in there][:1]]
    fonts = [font_manager.get_font(font_manager.findfont(name, fallback_to_default=False)) for name in families]
    return families, frozenset(code for font in fonts for code in font.get_charmap())


def _text(colour: str, size: float = 9, **more: Any) -> dict[str, Any]:
    return {"fontfamily": _fonts()[0], "fontsize": size, "color": colour, "parse_math": False, **more}


def _figure(look: Look) -> "Figure":
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(1, 1), dpi=DPI, facecolor=look.paper)  # axes are placed in inches, saving fits the page
    FigureCanvasAgg(figure)
    return figure


def _axes(figure: "Figure", look: Look, x: float, y: float, width: float, height: float, title: str = "") -> "Axes":
    axes = figure.add_axes((x, y, width, height), facecolor=look.paper)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0, colors=look.faint, labelsize=9)
    axes.set_title(title, loc="left", **_text(look.faint))
    return axes


def _png(figure: "Figure") -> bytes:
    file = io.BytesIO()
    figure.savefig(file, format="png", bbox_inches="tight", pad_inches=0.12, metadata={"Software": None})
    return file.getvalue()


def _message(message: str, look: Look) -> bytes:
    figure = _figure(look)
    figure.text(0, 0, message, **_text(look.faint))
    return _png(figure)


def _cells(axes: "Axes", values: Sequence[Sequence[float]], top: float, look: Look) -> None:
    from matplotlib.colors import LinearSegmentedColormap

    colours = LinearSegmentedColormap.from_list("weight", [look.empty, look.accent])
    axes.pcolormesh(values, cmap=colours, vmin=0, vmax=top, edgecolors=look.paper, linewidth=0.8)
    axes.invert_yaxis()
    axes.set(xticks=[], yticks=[])


def _write_cells(axes: "Axes", values: Mapping[str, Sequence[float]], results: Mapping[str, Any], look: Look) -> None:
    """Write the weights into the cells, the names beside them, and frame where a domain meets its own leaf."""
    leaves, labels, colours = results["routing"]["leaves"], plot_labels(results), leaf_colours(results["leaves"])
    names, top = [labels[leaf] for leaf in leaves], axes.collections[0].get_clim()[1] or 1.0
    flat = max(len(name) for name in names) * 0.085 < axes.get_position().width / len(leaves)
    turn: dict[str, Any] = {"ha": "center"} if flat else {"rotation": 35, "ha": "left", "rotation_mode": "anchor"}
    axes.xaxis.tick_top()
    axes.set_xticks([x + 0.5 for x in range(len(leaves))], names, **_text(look.ink, **turn))
    for leaf, tick in zip(leaves, axes.get_xticklabels(), strict=True):
        tick.set(color=colours[leaf], fontweight="bold")
    axes.set_yticks([y + 0.5 for y in range(len(values))], [labels[domain] for domain in values], **_text(look.ink))
    for y, (domain, row) in enumerate(values.items()):
        for x, weight in enumerate(row):
            colour = look.paper if weight > 0.55 * top else look.ink
            axes.text(x + 0.5, y + 0.5, f"{weight:.2f}", ha="center", va="center", **_text(colour, 8.5))
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
    axes.text(1.02, y, percent(line.change), va="center", transform=axes.get_yaxis_transform(), **_text(look.ink))


def _lines(axes: "Axes", stages: Mapping[str, Sequence[Any]], results: Mapping[str, Any], look: Look) -> None:
    from matplotlib.ticker import EngFormatter

    labels, colours = plot_labels(results), leaf_colours(results["leaves"])
    ends = []
    for index, (name, points) in enumerate(stages.items()):
        x, y = _thinned([point["tokens"] for point in points]), _thinned([point["loss"] for point in points])
        dash, colour = ("-", "--", "-.", ":")[index // 8 % 4], colours.get(name, look.ink)
        axes.plot(x, y, color=colour, linewidth=1.6, linestyle=dash, marker="o" if len(x) == 1 else None)
        ends.append((y[-1], x[-1], labels[name], colour))
    axes.grid(color=look.rule, linewidth=0.6)
    axes.xaxis.set_major_formatter(EngFormatter())
    axes.set_xlabel("tokens", **_text(look.faint))
    axes.set_ylabel("loss, nats a token", **_text(look.faint))
    _name_ends(axes, sorted(ends))


def _name_ends(axes: "Axes", ends: Sequence[tuple[float, float, str, str]]) -> None:
    """Write each line's name beside its end, lowest first, spread so that none covers another."""
    low, high = axes.get_ylim()
    axes.set_ylim(low, high)
    gap, places = 0.17 / axes.get_position().height, [float("-inf")]
    for y, *_ in ends:
        places.append(max(places[-1] + gap, (y - low) / (high - low)))
    for index, (y, x, name, colour) in enumerate(ends, 1):
        place = min(places[index], 1 - gap * (len(ends) - index))
        where: dict[str, Any] = {"textcoords": "axes fraction", "va": "center", "annotation_clip": False}
        arrow = {"arrowstyle": "-", "color": colour, "linewidth": 0.7, "shrinkA": 1, "shrinkB": 0, "relpos": (0, 0.5)}
        axes.annotate(name, (x, y), (1.03, place), arrowprops=arrow, **where, **_text(colour))


def _thinned(values: Sequence[float], keep: int = 120) -> list[float]:
    """Return means of equally many neighbours, at most `keep` of them: the noise of single steps hides the line."""
    size = -(-len(values) // keep)
    return [sum(block) / len(block) for block in (values[i : i + size] for i in range(0, len(values), size))]
