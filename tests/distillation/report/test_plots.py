"""Plots show the numbers they were given, in light and dark, and highlight what became worse."""

from collections.abc import Sequence
from typing import Any

import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from baicai.distillation.report.page import plots
from baicai.distillation.report.results import DistillationResults, MixPoint
from baicai.evaluation import figure_style
from tests.distillation.report import test_page
from tests.evaluation.test_plots import pixels, rgb, share_of


def example(wanted: Sequence[str] = ("law-de", "recipes")) -> DistillationResults:
    return DistillationResults.parse(test_page.example(wanted))


def minimal() -> DistillationResults:
    return DistillationResults.parse(test_page.minimal())


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make plot functions return the figure, laid out but not rendered."""

    def laid_out(figure: Figure) -> Figure:
        figure.draw_without_rendering()
        return figure

    monkeypatch.setattr(figure_style, "png", laid_out)


def axes_of(figure: Any) -> list[Axes]:
    assert isinstance(figure, Figure)
    return figure.axes


def dots(axes: Axes) -> set[tuple[float, int, str]]:
    """Collect position and colour of each marker."""
    single = (line for line in axes.lines if len(line.get_xdata()) == 1)
    return {(round(float(line.get_xdata()[0]), 4), int(line.get_ydata()[0]), line.get_color()) for line in single}


def names(ticks: Any) -> list[str]:
    return [tick.get_text() for tick in ticks]


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("plot", plots.PLOTS)
def test_plot_is_complete_on_its_background(plot: Any, dark: bool) -> None:
    image = pixels(plot(example(("法律-zh", "a $x^2$ very-long-name-for-an-ability")), dark=dark))
    paper = figure_style.DARK.paper if dark else figure_style.LIGHT.paper
    for edge in (image[:4], image[-4:], image[:, :4], image[:, -4:]):
        assert (edge == rgb(paper)).all()
    assert 0.2 < share_of(image, paper) < 0.99


@pytest.mark.usefixtures("figures")
def test_dots_are_at_the_values_and_lost_rows_are_orange() -> None:
    theme = figure_style.LIGHT
    wanted, dropped = axes_of(plots.quality(example()))
    assert dots(wanted) == {
        mark for y in (0, 1) for mark in ((1.6, y, theme.accent), (1.5, y, theme.accent), (1.2, y, theme.ink))
    }
    assert dots(dropped) == {(2.4, 0, theme.worse), (2.5, 0, theme.worse), (1.25, 0, theme.ink)}
    assert names(wanted.get_yticklabels()) == ["law-de", "recipes"]
    assert [axes.get_title(loc="left") for axes in (wanted, dropped)] == ["wanted", "dropped"]
    assert names(wanted.texts) == ["80 %", "80 %", "kept"]
    legend = wanted.get_legend()
    assert legend is not None
    assert names(legend.get_texts()) == ["untaught twin", "student", "teacher"]
    assert wanted.get_xlim() == dropped.get_xlim()


@pytest.mark.usefixtures("figures")
def test_without_a_twin_the_reference_is_the_start() -> None:
    (axes,) = axes_of(plots.quality(minimal()))
    assert {x for x, *_ in dots(axes)} == {3.0, 1.5, 1.2}
    legend = axes.get_legend()
    assert legend is not None
    assert names(legend.get_texts())[0] == "start"


@pytest.mark.usefixtures("figures")
def test_calibration_is_in_percent_and_worse_rows_are_orange() -> None:
    results = example()
    results.calibration["recipes"].student = 0.2
    wanted, _ = axes_of(plots.calibration(results))
    assert {(x, y) for x, y, _ in dots(wanted)} == {(11.4, 0), (3.2, 0), (2.1, 0), (11.4, 1), (20.0, 1), (2.1, 1)}
    assert {y for _, y, colour in dots(wanted) if colour == figure_style.LIGHT.worse} == {1}
    assert names(wanted.texts) == ["3.2 %", "20.0 %", "student"]


@pytest.mark.usefixtures("figures")
def test_curves_are_labelled_student_and_twin() -> None:
    results = example()
    (axes,) = axes_of(plots.curves(results))
    assert names(axes.texts) == ["student", "untaught twin"]
    assert axes.lines[0].get_xdata().tolist() == [point.tokens for point in results.curves.student]
    results.curves.untaught = []
    assert names(axes_of(plots.curves(results))[0].texts) == ["student"]


@pytest.mark.usefixtures("figures")
def test_mix_shows_shares_and_gaps_over_tokens() -> None:
    results = example()
    last = results.mix[-1]
    last.shares, last.gaps = {"law-de": 0.75, "recipes": 0.25}, {"law-de": 0.5, "recipes": -0.125}
    shares, gaps = axes_of(plots.mix(results))
    assert names(shares.get_yticklabels()) == ["law-de", "recipes"]
    assert names(shares.texts) == ["75 %", "25 %"]
    assert names(gaps.texts) == ["0.50", "-0.12"]
    cells = shares.collections[0].get_array()
    assert cells is not None
    assert cells[:, -1].tolist() == [0.75, 0.25]
    assert cells.shape == (2, 10)
    assert shares.get_xlim() == (0, 36_000 + 3_600)


@pytest.mark.usefixtures("figures")
def test_mix_of_a_long_training_is_downsampled() -> None:
    results = example()
    first = results.mix[0]
    results.mix = [MixPoint(tokens=100 * i, shares=first.shares, gaps=first.gaps) for i in range(1001)]
    cells = axes_of(plots.mix(results))[0].collections[0].get_array()
    assert cells is not None
    assert cells.shape == (2, 48)


def test_missing_data_gives_a_message() -> None:
    for plot in (plots.curves, plots.mix):
        assert share_of(pixels(plot(minimal())), figure_style.LIGHT.paper) < 1
