"""The look of plots and pages: themes, leaf colours, fonts, and the drawing steps that plots share."""

import io
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

from baicai.evaluation.formatting import printable, shortened
from baicai.evaluation.results import CurvePoint

if TYPE_CHECKING:  # matplotlib is loaded when a plot is drawn: a chat that only needs the colours must not wait for it
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DPI = 160
MISSING_GLYPH = "□"
_PALETTE = (
    *("#8484ff", "#e46c00", "#00a860", "#f018b4", "#90546c", "#9000ff", "#cc0000", "#0084a8"),
    *("#007830", "#a818c0", "#c060d8", "#608460", "#0060d8", "#ff0cff", "#c03c90", "#b48490"),
)
"""Each colour has a contrast of at least 3:1 to black and to white, and stays distinct under colour blindness."""
_CJK_FONTS = (
    *("Noto Sans CJK SC", "Noto Sans SC", "Noto Sans CJK JP", "Source Han Sans SC", "WenQuanYi Micro Hei"),
    *("WenQuanYi Zen Hei", "Droid Sans Fallback", "PingFang SC", "Hiragino Sans GB", "Microsoft YaHei", "SimHei"),
)


class Theme(NamedTuple):
    """The colours of a page and its plots."""

    paper: str
    ink: str
    faint: str
    rule: str
    empty: str
    accent: str
    worse: str


LIGHT = Theme("#ffffff", "#1b1f24", faint="#5f6872", rule="#d8dde2", empty="#eef1f4", accent="#0b5394", worse="#c25700")
DARK = Theme("#14181d", "#e6e9ec", faint="#9aa4ae", rule="#333b44", empty="#20272e", accent="#7cc4ff", worse="#ff9a4d")


def leaf_colours(names: Iterable[str]) -> dict[str, str]:
    """Assign each leaf an `#rrggbb` colour, independent of the order of the names. Colours repeat after 16."""
    return {name: _PALETTE[i % len(_PALETTE)] for i, name in enumerate(sorted(set(names)))}


def figure_labels(names: Iterable[str]) -> dict[str, str]:
    """Map each name to the label that plots show: short, unique, and drawable with the installed fonts."""
    glyphs, labels = _fonts()[1], dict[str, str]()
    for number, name in enumerate(dict.fromkeys(names), 1):
        drawn = "".join(c if ord(c) in glyphs else MISSING_GLYPH for c in printable(name))
        label = shortened(re.sub(f"{MISSING_GLYPH}+", MISSING_GLYPH, drawn), 24)
        labels[name] = f"{label} #{number}" if MISSING_GLYPH in label or label in labels.values() else label
    return labels


@lru_cache(maxsize=1)
def _fonts() -> tuple[list[str], frozenset[int]]:
    """Find the font families to draw with, in order of preference, and the code points they cover."""
    from matplotlib import font_manager

    installed = {font.name for font in font_manager.fontManager.ttflist}
    families = ["DejaVu Sans", *[name for name in _CJK_FONTS if name in installed][:1]]
    fonts = [font_manager.get_font(font_manager.findfont(name, fallback_to_default=False)) for name in families]
    return families, frozenset(code for font in fonts for code in font.get_charmap())


def text_style(colour: str, size: float = 9, **more: Any) -> dict[str, Any]:
    """Build matplotlib's keyword arguments for text."""
    return {"fontfamily": _fonts()[0], "fontsize": size, "color": colour, "parse_math": False, **more}


def new_figure(theme: Theme) -> "Figure":
    """Create a figure without axes."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    # Axes are positioned in inches on a figure of one square inch; saving crops it to what is drawn.
    figure = Figure(figsize=(1, 1), dpi=DPI, facecolor=theme.paper)
    FigureCanvasAgg(figure)
    return figure


def add_axes(
    figure: "Figure", theme: Theme, left: float, bottom: float, width: float, height: float, title: str = ""
) -> "Axes":
    """Add axes to a figure. Position and size are in inches; positions may be negative."""
    axes = figure.add_axes((left, bottom, width, height), facecolor=theme.paper)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0, colors=theme.faint, labelsize=9)
    axes.set_title(title, loc="left", **text_style(theme.faint))
    return axes


def png(figure: "Figure") -> bytes:
    """Render a figure as PNG, cropped to what is drawn."""
    file = io.BytesIO()
    figure.savefig(file, format="png", bbox_inches="tight", pad_inches=0.12, metadata={"Software": None})
    return file.getvalue()


def message_png(text: str, theme: Theme) -> bytes:
    """Render a short text as PNG, in place of a plot without data."""
    figure = new_figure(theme)
    figure.text(0, 0, text, **text_style(theme.faint))
    return png(figure)


def draw_heatmap(
    axes: "Axes", rows: Sequence[Sequence[float]], maximum: float, theme: Theme, edges: Sequence[float] | None = None
) -> None:
    """Draw rows of cells coloured from 0 to `maximum`. `edges` are the x coordinates of the column edges."""
    from matplotlib.colors import LinearSegmentedColormap

    colormap = LinearSegmentedColormap.from_list("weight", [theme.empty, theme.accent])
    grid = (rows,) if edges is None else (edges, range(len(rows) + 1), rows)
    axes.pcolormesh(*grid, cmap=colormap, vmin=0, vmax=maximum, edgecolors=theme.paper, linewidth=0.8)
    axes.invert_yaxis()
    axes.set(xticks=[], yticks=[])


def add_legend(axes: "Axes", markers: Mapping[str, tuple[str, str]], theme: Theme, pad: float = 0) -> None:
    """Add a legend `pad` inches above axes. `markers` maps each label to a marker and its face colour."""
    for label, (marker, face) in markers.items():
        axes.plot([], [], marker, label=label, color=theme.ink, markerfacecolor=face, markersize=7, markeredgewidth=1.5)
    anchor = (0, 1 + pad / axes.get_position().height)
    layout: dict[str, Any] = {"loc": "lower left", "bbox_to_anchor": anchor, "ncols": len(markers)}
    axes.legend(fontsize=9, frameon=False, labelcolor=theme.ink, handletextpad=0.2, borderaxespad=0.2, **layout)


def plot_losses(
    axes: "Axes",
    curves: Mapping[str, Sequence[CurvePoint]],
    labels: Mapping[str, str],
    colours: Mapping[str, str],
    theme: Theme,
) -> None:
    """Plot loss against training tokens, one labelled line per curve."""
    from matplotlib.ticker import EngFormatter

    ends = []
    for index, (name, points) in enumerate(curves.items()):
        x, y = downsampled([point.tokens for point in points]), downsampled([point.loss for point in points])
        dash, colour = ("-", "--", "-.", ":")[index // 8 % 4], colours.get(name, theme.ink)
        axes.plot(x, y, color=colour, linewidth=1.6, linestyle=dash, marker="o" if len(x) == 1 else None)
        ends.append((y[-1], x[-1], labels[name], colour))
    axes.grid(color=theme.rule, linewidth=0.6)
    axes.xaxis.set_major_formatter(EngFormatter())
    axes.set_xlabel("training tokens", **text_style(theme.faint))
    axes.set_ylabel("loss, nats per token", **text_style(theme.faint))
    _label_line_ends(axes, sorted(ends))


def _label_line_ends(axes: "Axes", ends: Sequence[tuple[float, float, str, str]]) -> None:
    """Write each line's label next to its end, lowest first, spaced so that labels do not overlap.

    Args:
        ends: y, x, label and colour of each line's end, sorted.
    """
    low, high = axes.get_ylim()
    axes.set_ylim(low, high)
    gap, heights = 0.17 / axes.get_position().height, [float("-inf")]
    for y, *_ in ends:
        heights.append(max(heights[-1] + gap, (y - low) / (high - low)))
    for index, (y, x, label, colour) in enumerate(ends, 1):
        height = min(heights[index], 1 - gap * (len(ends) - index))
        layout: dict[str, Any] = {"textcoords": "axes fraction", "va": "center", "annotation_clip": False}
        arrow = {"arrowstyle": "-", "color": colour, "linewidth": 0.7, "shrinkA": 1, "shrinkB": 0, "relpos": (0, 0.5)}
        axes.annotate(label, (x, y), (1.03, height), arrowprops=arrow, **layout, **text_style(colour))


def downsampled(values: Sequence[float], max_values: int = 120) -> list[float]:
    """Average groups of neighbours so that at most `max_values` remain: single-step noise would hide the trend."""
    size = -(-len(values) // max_values)
    return [sum(group) / len(group) for group in (values[i : i + size] for i in range(0, len(values), size))]
