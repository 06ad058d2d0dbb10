"""The report is complete, loads nothing, runs nothing, and shows hostile text as text."""

import base64
import re
import tomllib
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from jinja2 import UndefinedError

import baicai
from baicai.evaluation import figure_style, plots
from baicai.evaluation.html_page import render_page
from baicai.evaluation.report import evaluation_headline, write_report
from baicai.evaluation.results import EvaluationResults
from tests.evaluation.test_tables import example

SOURCE = Path(baicai.__file__).parent
VOID = {"meta", "img", "source", "br"}


class Page(HTMLParser):
    """Tags with their attributes, the visible text, and the tags that are open at the end."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.text += data


@pytest.fixture(autouse=True)
def quick_plots(monkeypatch: pytest.MonkeyPatch) -> None:
    """Plots have tests of their own; drawing them for each page would take most of the time."""
    png = figure_style.message_png("a plot", figure_style.LIGHT)
    for name in ("routing_heatmap", "quality_dots", "loss_curves"):
        monkeypatch.setattr(plots, name, lambda results, dark=False: png)


def written(values: dict[str, Any], folder: Path) -> str:
    write_report(EvaluationResults.parse(values), folder / "report.html")
    assert [path.name for path in folder.iterdir()] == ["report.html"]
    return (folder / "report.html").read_text("utf-8")


def test_page_is_well_formed_and_complete(tmp_path: Path) -> None:
    results = example()
    page = Page(written(results, tmp_path))
    assert page.open == []
    text = page.text.replace("\xa0", " ")
    assert evaluation_headline(EvaluationResults.parse(results)) in text
    for part in ("80 %", "75 %", "+0.5 %", "18 %", "-20.0 %", "1.600", "12,345,678", "100,000", results["model"]):
        assert part in text
    for digest in (results["trunk"], *results["leaves"].values()):
        assert digest in text
    assert sum(tag == "picture" for tag, _ in page.tags) == 3


def test_plots_are_embedded_for_light_and_dark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    values = example(("law-de",))
    page, results = Page(written(values, tmp_path)), EvaluationResults.parse(values)
    images = [attrs for tag, attrs in page.tags if tag == "img"]
    sources = [attrs for tag, attrs in page.tags if tag == "source"]
    for draw, image, source in zip(
        (plots.quality_dots, plots.routing_heatmap, plots.loss_curves), images, sources, strict=True
    ):
        light, dark = (base64.b64decode(str(url).partition(",")[2]) for url in (image["src"], source["srcset"]))
        assert light == draw(results)
        assert dark == draw(results, dark=True)
        assert source["media"] == "(prefers-color-scheme: dark)"
        assert image["alt"]
        ratio = int(str(image["width"])) / int(str(image["height"]))
        assert ratio == pytest.approx(int.from_bytes(light[16:20]) / int.from_bytes(light[20:24]), rel=0.01)


def test_page_loads_and_runs_nothing(tmp_path: Path) -> None:
    assert_inert(written(example(), tmp_path))


def assert_inert(text: str) -> None:
    page = Page(text)
    policy = next(attrs["content"] for tag, attrs in page.tags if attrs.get("http-equiv") == "Content-Security-Policy")
    rules = dict(rule.split(" ", 1) for rule in str(policy).split("; "))
    assert rules.pop("default-src") == "'none'"
    assert rules.pop("style-src") == "'unsafe-inline'"
    assert rules.pop("img-src") == "data:"
    assert set(rules.values()) == {"'none'"}
    assert not {"script", "link", "iframe", "a", "form", "base"} & {tag for tag, _ in page.tags}
    for _, attrs in page.tags:
        assert not [name for name in attrs if name.startswith("on")]
        assert all(str(attrs[name]).startswith("data:image/png;base64,") for name in ("src", "srcset") if name in attrs)
    assert "http" not in re.sub('http-equiv|base64,[^"]*', "", text)
    assert "url(" not in text
    assert "@media(prefers-color-scheme:dark)" in text
    assert 'name="viewport"' in text


EVIL = "<script>alert('x')</script>\"><img src=x onerror=alert(1)>&amp;"


def test_hostile_text_is_shown_as_text(tmp_path: Path) -> None:
    results = example((EVIL, "law-de"), (EVIL + "2", "fiction-en"))
    results |= {"model": EVIL, "trunk": EVIL}
    results["leaves"]["law-de"] = EVIL
    results["samples"] = [
        {"prompt": EVIL, "pieces": [{"text": EVIL, "leaf": leaf, "weight": 1} for leaf in (EVIL, None)]}
    ]
    results["samples"][0]["pieces"].append({"text": "\x00\x1b\ud800 \u202e end", "leaf": None, "weight": 0})
    page = Page(written(results, tmp_path))
    plain = Page(written(example(), tmp_path))
    assert page.open == []
    assert {tag for tag, _ in page.tags} == {tag for tag, _ in plain.tags}
    assert {name for _, attrs in page.tags for name in attrs} == {name for _, attrs in plain.tags for name in attrs}
    assert page.text.count(EVIL) >= 6
    assert "\x00" not in page.text
    assert "\x1b" not in page.text


def test_a_word_is_tinted_by_its_leaf(tmp_path: Path) -> None:
    results = example()
    leaf = "medicine-en"
    results["samples"] = [
        {
            "prompt": "Is it?",
            "pieces": [
                {"text": "It ", "leaf": None, "weight": None},
                {"text": "heals", "leaf": leaf, "weight": 0.25},
                {"text": "\n well", "leaf": leaf, "weight": 7},
            ],
        }
    ]
    text = written(results, tmp_path)
    colour = figure_style.leaf_colours(results["leaves"])[leaf]
    spans = re.findall(rf'<span style="background:{colour}(..);[^"]*" title="([^"]*)">([^<]*)</span>', text)
    assert [(title, word) for _, title, word in spans] == [(f"{leaf} 0.25", "heals"), (f"{leaf} 7.00", "\n well")]
    assert int(spans[0][0], 16) < int(spans[1][0], 16) == 128
    assert "<p>It <span" in text
    legend = text.partition('<ul class="legend">')[2].partition("</ul>")[0]
    assert re.sub("<[^>]*>", " ", legend).split() == [leaf]
    assert f"background:{colour}" in legend


def test_best_value_is_bold(tmp_path: Path) -> None:
    text = written(example(), tmp_path)
    law = re.findall(r"<tr><th>law-de</th>(.*?)</tr>", text)[0]
    assert re.findall(r"<td>(.*?)</td>", law) == ["2.000", "<b>1.500</b>", "2.250", "1.600", "-20.0 %", "1.500"]
    assert "<tr class=mean><th>mean, covered</th>" in text
    assert "<details>" not in text


def test_many_leaves_are_folded_with_a_full_table_below(tmp_path: Path) -> None:
    names = [f"a-long-name-of-a-leaf-that-was-grown-{i}" for i in range(14)]
    text = written(example(names), tmp_path)
    folded, _, full = text.partition("<details>")
    assert "<th>best leaf</th><th class=name>which</th>" in folded
    assert f'<span title="{names[13]}">' in folded
    assert full.partition("</details>")[0].count("<th>") == 1 + 14 + 3 + 14 + 4


def test_sections_without_data_are_left_out(tmp_path: Path) -> None:
    results = example(())
    results["columns"] = ["trunk", "oracle"]
    results["bits_per_byte"] = {"fiction-en": {"trunk": 2.0, "oracle": None}}
    results |= {"routing": {"leaves": [], "layers": [], "share": {}}, "curves": {"trunk": []}, "samples": []}
    results["summary"] = dict.fromkeys(results["summary"])
    text = written(results, tmp_path)
    assert re.findall("<h2>(.*?)</h2>", text)[0] == "How well the model predicts text"
    assert not any(title in text for title in ("Which leaf", "Training", "Sample answers"))
    assert text.count("<dd>") == 1


@pytest.mark.parametrize(
    ("leaves", "joined", "sentence"),
    [
        (5, 1.6, "5 leaves make the trunk 20 % better on their own domains; each token uses 18 % of the parameters"),
        (1, 1.94, "1 leaf makes the trunk 3.0 % better on its own domain; each token uses 18 % of the parameters"),
        (2, 2.2, "2 leaves make the trunk 10 % worse on their own domains; each token uses 18 % of the parameters"),
        (1, 2.0, "1 leaf leaves the trunk unchanged on its own domain; each token uses 18 % of the parameters"),
        (2, None, "2 leaves on a trunk, none measured on a domain of its own; each token uses 18 % of the parameters"),
        (0, 2.0, "A trunk without leaves: each token uses 18 % of the parameters"),
    ],
)
def test_headline(leaves: int, joined: float | None, sentence: str) -> None:
    results = example([f"leaf-{i}" for i in range(leaves)])
    for row in results["bits_per_byte"].values():
        row["joined"] = joined
    assert evaluation_headline(EvaluationResults.parse(results)) == sentence


def test_names_without_glyphs_are_spelled_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figure_style, "_fonts", lambda: (["DejaVu Sans"], frozenset(range(32, 127))))
    assert "□-zh #1 is 法律-zh" in unescape(written(example(("法律-zh",)), tmp_path))


def test_a_name_that_the_template_lacks_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text("{{ title }} {{ missing }}")
    with pytest.raises(UndefinedError, match="'missing' is undefined"):
        render_page(tmp_path / "page.html", title="a")


def test_templates_escape_by_default(tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text("<b title='{{ text }}'>{{ text }}</b>")
    page = render_page(tmp_path / "page.html", text=EVIL).decode()
    assert Page(page).tags == [("b", {"title": EVIL})]
    assert Page(page).text == EVIL


def test_all_templates_are_packaged() -> None:
    templates = [path.relative_to(SOURCE) for path in SOURCE.rglob("templates/*")]
    assert {path.suffix for path in templates} == {".html", ".css"}
    patterns = tomllib.loads((SOURCE.parents[1] / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]
    assert all(any(path.match(pattern) for pattern in patterns["baicai"]) for path in templates)
