"""Plots show the numbers they were given, clip nothing, and can be read by colour-blind readers."""

import io
import itertools
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread
from matplotlib.text import Text

from baicai.evaluation import figure_style, plots
from baicai.evaluation.results import CurvePoint, EvaluationResults, Routing
from tests.evaluation import test_tables

DRAW: list[Callable[..., Any]] = [plots.routing_heatmap, plots.quality_dots, plots.loss_curves]
STRANGE = (
    "法律-zh",
    "医学-zh",
    "cost $x^2$ $\\oops$",
    "a-name-that-is-far-too-long-1998",
    "a-name-that-is-far-too-long-2008",
)


def example(leaves: Sequence[str] = ("law-de", "medicine-en")) -> EvaluationResults:
    return EvaluationResults.parse(test_tables.example(leaves))


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make plot functions return the figure, laid out but not rendered."""

    def laid_out(figure: Figure) -> Figure:
        figure.draw_without_rendering()
        return figure

    monkeypatch.setattr(figure_style, "png", laid_out)


@pytest.fixture
def no_cjk(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Simulate a machine without Chinese fonts."""
    monkeypatch.setattr(figure_style, "_CJK_FONTS", ())
    figure_style._fonts.cache_clear()
    yield
    figure_style._fonts.cache_clear()


def pixels(png: bytes) -> np.ndarray:
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    return (imread(io.BytesIO(png))[..., :3] * 255).round().astype(int)


def rgb(colour: str) -> np.ndarray:
    return np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)])


def share_of(image: np.ndarray, colour: str) -> float:
    return float((image == rgb(colour)).all(-1).mean())


@pytest.mark.parametrize(("draw", "dark"), [(DRAW[0], False), (DRAW[0], True), (DRAW[1], False), (DRAW[2], True)])
def test_plot_is_complete_on_its_background(draw: Callable[..., bytes], dark: bool) -> None:
    image = pixels(draw(example(STRANGE), dark=dark))
    height, width, _ = image.shape
    assert 300 < height < 3000
    assert 500 < width < 2000
    paper = figure_style.DARK.paper if dark else figure_style.LIGHT.paper
    edge = np.concatenate([image[:4].reshape(-1, 3), image[-4:].reshape(-1, 3), image[:, :4].reshape(-1, 3)])
    assert (edge == rgb(paper)).all()
    assert (image[:, -4:] == rgb(paper)).all()
    assert 0.2 < share_of(image, paper) < 0.97


def test_plots_show_leaves_in_their_colours() -> None:
    results = example()
    colours = figure_style.leaf_colours(results.leaves)
    for draw in (plots.routing_heatmap, plots.loss_curves):
        image = pixels(draw(results))
        assert all(share_of(image, colour) > 1e-4 for colour in colours.values())
        assert share_of(image, figure_style.leaf_colours("abc")["c"]) == 0


def test_same_results_give_the_same_bytes() -> None:
    assert plots.quality_dots(example()) == plots.quality_dots(example())


@pytest.mark.usefixtures("figures")
def test_heatmap_has_the_mean_and_every_layer() -> None:
    results = example()
    results.routing.share |= {"law-de": [[1.0, 0.2], [0.5, 0.4]], "medicine-en": [[0.05, 1.5], [0.05, 1.0]]}
    main, *layers = plots.routing_heatmap(results).axes
    assert [text.get_text() for text in main.texts][:4] == ["0.75", "0.30", "0.05", "1.25"]
    assert [tick.get_text() for tick in main.get_xticklabels()] == ["law-de", "medicine-en"]
    assert [tick.get_text() for tick in main.get_yticklabels()] == list(results.bits_per_byte)
    assert [axes.get_title(loc="left") for axes in layers] == ["layer 3", "layer 4"]
    assert layers[1].collections[0].get_array()[0].tolist() == [0.5, 0.4]
    assert {axes.collections[0].get_clim() for axes in (main, *layers)} == {(0, 1.5)}
    frames = [(line.get_xdata()[0], line.get_ydata()[0], line.get_color()) for line in main.lines]
    colours = figure_style.leaf_colours(results.leaves)
    assert frames == [(0, 0, colours["law-de"]), (1, 1, colours["medicine-en"])]


@pytest.mark.usefixtures("figures")
def test_heatmap_orders_domains_like_leaves() -> None:
    results = example()
    results.routing.share = dict(reversed(results.routing.share.items()))
    main = plots.routing_heatmap(results).axes[0]
    assert [tick.get_text() for tick in main.get_yticklabels()][:2] == ["law-de", "medicine-en"]


@pytest.mark.usefixtures("figures")
def test_dots_are_at_the_values() -> None:
    results = example()
    results.bits_per_byte["fiction-en"]["joined"] = None
    (axes,) = plots.quality_dots(results).axes
    points = {
        (float(line.get_xdata()[0]), int(line.get_ydata()[0])) for line in axes.lines if len(line.get_xdata()) == 1
    }
    own = {(x, y) for y in (0, 1) for x in (2.0, 1.6, 1.5)}
    assert points == own | {(2.0, 2), (2.0, 3), (2.01, 3)}
    assert {"-20.0 %", "+0.5 %", "–"} <= {text.get_text() for text in axes.texts}
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["trunk", "joined", "oracle"]


@pytest.mark.usefixtures("figures")
def test_curves_have_a_panel_for_the_trunk_and_one_for_leaves() -> None:
    results = example()
    results.curves["trunk"] = [CurvePoint(tokens=i, loss=3 + i % 2) for i in range(1, 1001)]
    results.curves["medicine-en"] = []
    trunk, leaves = plots.loss_curves(results).axes
    assert [trunk.get_title(loc="left"), leaves.get_title(loc="left")] == ["trunk", "leaves"]
    assert len(trunk.lines[0].get_xdata()) <= 120
    assert float(np.mean(trunk.lines[0].get_ydata())) == pytest.approx(3.5, abs=0.03)
    assert leaves.lines[0].get_xdata().tolist() == [1000 * i for i in range(1, 9)]
    assert leaves.lines[0].get_ydata().tolist() == pytest.approx([6 - i / 10 for i in range(1, 9)])
    assert [text.get_text() for text in leaves.texts] == ["law-de"]


@pytest.mark.usefixtures("figures")
def test_curve_labels_do_not_overlap() -> None:
    results = example([f"leaf-{i}" for i in range(14)])
    for points in results.curves.values():  # all end at the same loss, the highest
        points.reverse()
    figure = plots.loss_curves(results)
    boxes = sorted((Text.get_window_extent(text) for text in figure.axes[1].texts), key=lambda box: box.y0)
    assert len(boxes) == 14
    assert boxes[-1].y0 < figure.axes[1].get_window_extent().y1
    assert all(low.y1 <= high.y0 for low, high in itertools.pairwise(boxes))


@pytest.mark.usefixtures("no_cjk")
def test_names_without_glyphs_get_distinct_labels() -> None:
    labels = plots.plot_labels(example(STRANGE))
    assert labels["法律-zh"] == "□-zh #1"
    assert labels["医学-zh"] == "□-zh #2"
    assert labels[STRANGE[2]] == STRANGE[2]
    assert labels[STRANGE[3]].endswith("1998")
    assert len(set(labels.values())) == len(labels)
    plots.loss_curves(example(STRANGE))


def test_labels_equal_after_shortening_get_a_number() -> None:
    names = [f"a-long-common-beginning-{i}-a-long-common-end" for i in range(3)]
    labels = plots.plot_labels(example(names))
    assert len({labels[name] for name in names}) == 3


def test_missing_data_gives_a_message() -> None:
    results = example()
    results.routing = Routing(leaves=[], layers=[], share={})
    results.curves = {"trunk": []}
    for draw in (plots.routing_heatmap, plots.loss_curves):
        image = pixels(draw(results))
        assert share_of(image, figure_style.LIGHT.paper) < 1


def luminance(colour: str) -> float:
    return float(linear(colour) @ [0.2126, 0.7152, 0.0722])


def linear(colour: str) -> np.ndarray:
    value = rgb(colour) / 255
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)


# Full red-blindness and green-blindness on linear RGB. Source: Machado, Oliveira and Fernandes 2009, table 1.
PROTAN = np.array([[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]])
DEUTAN = np.array([[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]])


def oklab(light: np.ndarray) -> np.ndarray:
    cones = np.array([[0.41222, 0.53633, 0.05145], [0.21190, 0.68070, 0.10740], [0.08830, 0.28172, 0.62998]])
    axes = np.array([[0.21045, 0.79362, -0.00407], [1.97800, -2.42859, 0.45059], [0.02590, 0.78277, -0.80868]])
    return np.cbrt(cones @ light.clip(0, 1)) @ axes.T


def test_colours_contrast_with_black_and_white() -> None:
    colours = figure_style.leaf_colours(map(str, range(16))).values()
    assert len(set(colours)) == 16
    for colour in colours:
        assert 1.05 / (luminance(colour) + 0.05) >= 3
        assert (luminance(colour) + 0.05) / 0.05 >= 3


@pytest.mark.parametrize("eyes", [np.eye(3), PROTAN, DEUTAN], ids=["normal", "protan", "deutan"])
def test_first_colours_are_distinguishable(eyes: np.ndarray) -> None:
    seen = [oklab(eyes @ linear(colour)) for colour in figure_style.leaf_colours("abcdefgh").values()]
    assert min(float(np.linalg.norm(a - b)) for a, b in itertools.combinations(seen, 2)) > 0.085


def test_a_leaf_keeps_its_colour_in_any_order() -> None:
    assert figure_style.leaf_colours(["b", "a", "c", "a"]) == figure_style.leaf_colours(["a", "b", "c"])
    assert len(figure_style.leaf_colours(map(str, range(40)))) == 40


def test_leaf_colours_do_not_load_matplotlib() -> None:
    code = "import sys; from baicai.evaluation.figure_style import leaf_colours; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
