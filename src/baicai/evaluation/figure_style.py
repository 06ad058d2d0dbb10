"""What our pictures are drawn on: paper and colours, fonts, axes placed in inches, PNG bytes."""

import io
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

from baicai.evaluation.tables import printable, shortened

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
    worse: str


LIGHT = Look("#ffffff", "#1b1f24", faint="#5f6872", rule="#d8dde2", empty="#eef1f4", accent="#0b5394", worse="#c25700")
DARK = Look("#14181d", "#e6e9ec", faint="#9aa4ae", rule="#333b44", empty="#20272e", accent="#7cc4ff", worse="#ff9a4d")


def leaf_colours(names: Iterable[str]) -> dict[str, str]:
    """Return one `#rrggbb` for each leaf, the same in whatever order they are given; after 16 they repeat."""
    return {name: _PALETTE[i % len(_PALETTE)] for i, name in enumerate(sorted(set(names)))}


def drawable(names: Iterable[str]) -> dict[str, str]:
    """Return what the pictures write for each name: short, drawable with the fonts there are, each different."""
    glyphs, labels = _fonts()[1], dict[str, str]()
    for number, name in enumerate(dict.fromkeys(names), 1):
        drawn = "".join(c if ord(c) in glyphs else NO_GLYPH for c in printable(name))
        label = shortened(re.sub(f"{NO_GLYPH}+", NO_GLYPH, drawn), 24)
        labels[name] = f"{label} #{number}" if NO_GLYPH in label or label in labels.values() else label
    return labels


@lru_cache(maxsize=1)
def _fonts() -> tuple[list[str], frozenset[int]]:
    """Return the font families to draw with, the first that has a character draws it, and what they can draw."""
    from matplotlib import font_manager

    there = {font.name for font in font_manager.fontManager.ttflist}
    families = ["DejaVu Sans", *[name for name in _CJK if name in there][:1]]
    fonts = [font_manager.get_font(font_manager.findfont(name, fallback_to_default=False)) for name in families]
    return families, frozenset(code for font in fonts for code in font.get_charmap())


def text(colour: str, size: float = 9, **more: Any) -> dict[str, Any]:
    """Return how to write on a picture, for matplotlib."""
    return {"fontfamily": _fonts()[0], "fontsize": size, "color": colour, "parse_math": False, **more}


def blank(look: Look) -> "Figure":
    """Return a figure without axes."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(1, 1), dpi=DPI, facecolor=look.paper)  # axes are placed in inches, saving fits the page
    FigureCanvasAgg(figure)
    return figure


def axes(figure: "Figure", look: Look, x: float, y: float, width: float, height: float, title: str = "") -> "Axes":
    """Return new axes on a figure, placed in inches, which may be below zero."""
    added = figure.add_axes((x, y, width, height), facecolor=look.paper)
    added.spines[:].set_visible(False)
    added.tick_params(length=0, colors=look.faint, labelsize=9)
    added.set_title(title, loc="left", **text(look.faint))
    return added


def png(figure: "Figure") -> bytes:
    """Return a figure as PNG, cut to what is drawn."""
    file = io.BytesIO()
    figure.savefig(file, format="png", bbox_inches="tight", pad_inches=0.12, metadata={"Software": None})
    return file.getvalue()


def message(words: str, look: Look) -> bytes:
    """Return a picture of a few words."""
    figure = blank(look)
    figure.text(0, 0, words, **text(look.faint))
    return png(figure)


def cells(
    on: "Axes", values: Sequence[Sequence[float]], top: float, look: Look, edges: Sequence[float] | None = None
) -> None:
    """Draw rows of cells, the nearer to `top` the stronger; `edges` are the columns' on the x-axis."""
    from matplotlib.colors import LinearSegmentedColormap

    colours = LinearSegmentedColormap.from_list("weight", [look.empty, look.accent])
    grid = (values,) if edges is None else (edges, range(len(values) + 1), values)
    on.pcolormesh(*grid, cmap=colours, vmin=0, vmax=top, edgecolors=look.paper, linewidth=0.8)
    on.invert_yaxis()
    on.set(xticks=[], yticks=[])


def legend(on: "Axes", marks: Mapping[str, tuple[str, str]], look: Look, above: float = 0) -> None:
    """Write so many inches above axes what each mark, a marker and its face, stands for."""
    for name, (marker, face) in marks.items():
        on.plot([], [], marker, label=name, color=look.ink, markerfacecolor=face, markersize=7, markeredgewidth=1.5)
    corner = (0, 1 + above / on.get_position().height)
    place: dict[str, Any] = {"loc": "lower left", "bbox_to_anchor": corner, "ncols": len(marks), "borderaxespad": 0.2}
    on.legend(fontsize=9, frameon=False, labelcolor=look.ink, handletextpad=0.2, **place)


def loss_lines(
    on: "Axes", stages: Mapping[str, Sequence[Any]], labels: Mapping[str, str], colours: Mapping[str, str], look: Look
) -> None:
    """Draw loss against tokens, a line for each stage, its label at its end."""
    from matplotlib.ticker import EngFormatter

    ends = []
    for index, (name, points) in enumerate(stages.items()):
        x, y = thinned([point["tokens"] for point in points]), thinned([point["loss"] for point in points])
        dash, colour = ("-", "--", "-.", ":")[index // 8 % 4], colours.get(name, look.ink)
        on.plot(x, y, color=colour, linewidth=1.6, linestyle=dash, marker="o" if len(x) == 1 else None)
        ends.append((y[-1], x[-1], labels[name], colour))
    on.grid(color=look.rule, linewidth=0.6)
    on.xaxis.set_major_formatter(EngFormatter())
    on.set_xlabel("tokens", **text(look.faint))
    on.set_ylabel("loss, nats a token", **text(look.faint))
    _name_ends(on, sorted(ends))


def _name_ends(on: "Axes", ends: Sequence[tuple[float, float, str, str]]) -> None:
    """Write each line's name beside its end, lowest first, spread so that none covers another."""
    low, high = on.get_ylim()
    on.set_ylim(low, high)
    gap, places = 0.17 / on.get_position().height, [float("-inf")]
    for y, *_ in ends:
        places.append(max(places[-1] + gap, (y - low) / (high - low)))
    for index, (y, x, name, colour) in enumerate(ends, 1):
        place = min(places[index], 1 - gap * (len(ends) - index))
        where: dict[str, Any] = {"textcoords": "axes fraction", "va": "center", "annotation_clip": False}
        arrow = {"arrowstyle": "-", "color": colour, "linewidth": 0.7, "shrinkA": 1, "shrinkB": 0, "relpos": (0, 0.5)}
        on.annotate(name, (x, y), (1.03, place), arrowprops=arrow, **where, **text(colour))


def thinned(values: Sequence[float], keep: int = 120) -> list[float]:
    """Return means of equally many neighbours, at most `keep` of them: the noise of single steps hides the line."""
    size = -(-len(values) // keep)
    return [sum(block) / len(block) for block in (values[i : i + size] for i in range(0, len(values), size))]
