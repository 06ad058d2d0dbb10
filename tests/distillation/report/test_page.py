"""The report shows what was kept and what was lost, shows hostile text as text, and leaves out what is missing."""

import base64
import json
import re
from collections.abc import Sequence
from html import unescape
from pathlib import Path
from typing import Any

import pytest

from baicai.distillation.report.page import distillation_headline, plots, write_report
from baicai.distillation.report.results import DistillationResults
from baicai.evaluation import figure_style
from tests.evaluation.test_report import EVIL, Page, assert_inert

PLOTS = [plot.__name__ for plot in plots.PLOTS]


def example(wanted: Sequence[str] = ("law-de", "recipes"), dropped: Sequence[str] = ("poetry-en",)) -> dict[str, Any]:
    """Results with round numbers: the student keeps 80 % on wanted domains and 50 % on the others."""
    domains = (*wanted, *dropped)
    return {
        "format": 1,
        "teacher": {"name": "out/big", "hash": "ab" * 32},
        "student": {"hash": "cd" * 32, "start": "dense", "signal": "cache"},
        "quality": {
            domain: {"teacher": 1.2, "baseline": 1.8, "start": 3.0, "student": 1.5, "untaught": 1.6, "q8": 1.51}
            if domain in wanted
            else {"teacher": 1.25, "baseline": 1.7, "start": 3.0, "student": 2.5, "untaught": 2.4, "q8": 2.52}
            for domain in domains
        },
        "calibration": {d: {"teacher": 0.021, "start": 0.114, "student": 0.032, "untaught": 0.051} for d in domains},
        "bytes": dict.fromkeys(domains, 123_456),
        "wanted": dict.fromkeys(wanted, 2.0),
        "dropped": list(dropped),
        "kept": 0.8,
        "weak": {
            wanted[0]: {
                **{"documents": 40, "worse": 7, "wrong": 3, "answers": 20},
                "examples": [{"text": "The tenant\nleaves.", "teacher": 4.25, "other": 2.5, "who": "leaf law"}],
            }
        },
        "reinforced": {wanted[0]: "ef" * 32},
        "size": {
            "teacher": {"parameters": 4_800_000, "bytes": 9_600_000},
            "student": {"parameters": 1_200_000, "bytes": 2_400_000, "q8_bytes": 1_250_000},
        },
        "speed": {"teacher": 20.5, "student": 812.0},
        "flops": {"teacher": 10**15, "student": 3 * 10**15, "untaught": 4 * 10**15},
        "cache": {"bytes": 56_000_000, "bytes_per_token": 28.0, "samples": 12},
        "curves": {
            who: [{"tokens": 1000 * i, "loss": last + 4 / i} for i in range(1, 40)]
            for who, last in (("student", 2.0), ("untaught", 2.3))
        },
        "mix": [
            {
                "tokens": 4000 * i,
                "shares": dict.fromkeys(wanted, 1 / len(wanted)),
                "gaps": {domain: 1 / (i + 1) - 0.1 * j for j, domain in enumerate(wanted)},
            }
            for i in range(10)
        ],
        "samples": [{"domain": wanted[0], "prompt": "Whose?", "teacher": "The tenant's.", "student": "A tenant."}],
    }


def minimal() -> dict[str, Any]:
    """Results of one domain without anything optional."""
    results = example(("law-de",), ())
    results["quality"]["law-de"] |= {"baseline": None, "untaught": None, "q8": None}
    results["calibration"]["law-de"]["untaught"] = None
    results["speed"]["teacher"] = results["size"]["student"]["q8_bytes"] = results["flops"]["untaught"] = None
    results["curves"] = {"student": [], "untaught": []}
    return results | {"cache": None, "weak": {}, "reinforced": {}, "mix": [], "samples": []}


@pytest.fixture(autouse=True)
def quick_plots(monkeypatch: pytest.MonkeyPatch) -> None:
    """Plots have tests of their own; drawing them for each page would take most of the time."""
    png = figure_style.message_png("a plot", figure_style.LIGHT)
    monkeypatch.setattr(figure_style, "png", lambda figure: png)
    monkeypatch.setattr(figure_style, "message_png", lambda text, theme: png)


def written(results: dict[str, Any], folder: Path) -> str:
    write_report(DistillationResults.parse(results), folder)
    names = ["report.html", "results.json", *(f"{name}.png" for name in PLOTS)]
    assert sorted(path.name for path in folder.iterdir()) == sorted(names)
    assert json.loads((folder / "results.json").read_text("utf-8")) == results
    return (folder / "report.html").read_text("utf-8")


def visible_text(text: str) -> str:
    return Page(text).text.replace("\xa0", " ")


def sections(text: str) -> list[str]:
    return re.findall("<h2>(.*?)</h2>", text)


def test_page_is_well_formed_and_complete(tmp_path: Path) -> None:
    results = example()
    text = written(results, tmp_path)
    assert Page(text).open == []
    shown = visible_text(text)
    assert distillation_headline(DistillationResults.parse(results)) in shown
    for part in ("80.0 %", "-6.2 %", "25 %", "2.4 MB", "1.25 MB in 8 bits", "812", "4 PFLOP", "20.5", "3,961 %"):
        assert part in shown
    for part in ("4,800,000", "56 MB", "28.0 bytes", "7 of 40", "3 of 20", "leaf law 2.50", "123,456", "The tenant's."):
        assert part in shown
    assert "The student was initialized from the teacher's trunk, with the experts of the wanted leaves" in shown
    assert "On the dropped domains, which it was not taught, it keeps 50.0 %." in shown
    for digest in (results["teacher"]["hash"], results["student"]["hash"], *results["reinforced"].values()):
        assert digest in shown
    assert [tag for tag, _ in Page(text).tags].count("picture") == len(PLOTS)
    results["weak"]["law-de"] |= {"documents": 0, "worse": 0}
    assert " 0 of 0 " not in visible_text(written(results, tmp_path)), "no document was compared"


def test_plots_on_the_page_match_the_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    results = example(("law-de",))
    tags = Page(written(results, tmp_path)).tags
    images = [attrs["src"] for tag, attrs in tags if tag == "img"]
    sources = [attrs["srcset"] for tag, attrs in tags if tag == "source"]
    parsed = DistillationResults.parse(results)
    for plot, image, source in zip(plots.PLOTS, images, sources, strict=True):
        light, dark = (base64.b64decode(str(url).partition(",")[2]) for url in (image, source))
        assert light == (tmp_path / f"{plot.__name__}.png").read_bytes() == plot(parsed)
        assert dark == plot(parsed, dark=True) != light


def test_page_loads_and_runs_nothing(tmp_path: Path) -> None:
    assert_inert(written(example(), tmp_path))


def test_hostile_text_is_shown_as_text(tmp_path: Path) -> None:
    results = example((EVIL, "law-de"), (EVIL + "2",))
    results["teacher"] = {"name": EVIL, "hash": EVIL}
    results["student"]["hash"] = EVIL
    results["reinforced"] = {EVIL: EVIL}
    results["weak"][EVIL]["examples"] = [{"text": EVIL, "teacher": 2.0, "other": 1.0, "who": EVIL}]
    results["samples"] = [{"domain": EVIL, "prompt": EVIL, "teacher": EVIL, "student": EVIL + "\x00\x1b \u202e end"}]
    page, plain = Page(written(results, tmp_path)), Page(written(example(("a" * 40,)), tmp_path))
    assert page.open == []
    assert {tag for tag, _ in page.tags} == {tag for tag, _ in plain.tags}
    names = {name for _, attrs in page.tags for name in attrs}
    assert names == {name for _, attrs in plain.tags for name in attrs}
    assert page.text.count(EVIL) >= 8
    assert not {"\x00", "\x1b"} & set(page.text)


@pytest.mark.parametrize(
    ("untaught", "end"),
    [
        (1.6, ", and is 6.2 % better than a twin trained at the same cost without a teacher"),
        (1.4, ", but is 7.1 % worse than a twin trained at the same cost without a teacher"),
        (1.5, ", and is as good as a twin trained at the same cost without a teacher"),
        (None, ""),
    ],
)
def test_headline_compares_with_the_twin(untaught: float | None, end: str) -> None:
    results = example()
    for domain in results["wanted"]:
        results["quality"][domain]["untaught"] = untaught
    headline = distillation_headline(DistillationResults.parse(results))
    assert headline == f"The student keeps 80.0 % of the teacher's quality at 25 % of its size{end}"


def test_domains_where_the_twin_is_better_are_named(tmp_path: Path) -> None:
    results = example([f"d{i}" for i in range(8)])
    assert "twin is better" not in visible_text(written(results, tmp_path))
    results["quality"]["d3"]["untaught"] = 1.4
    assert "On 1 of 8 wanted domains its untaught twin is better: d3." in visible_text(written(results, tmp_path))
    for i in range(1, 8):
        results["quality"][f"d{i}"]["untaught"] = 1.4
    assert "On 7 of 8 wanted domains its untaught twin is better: d1, d2, d3, d4, d5 and 2 more." in visible_text(
        written(results, tmp_path)
    )


def test_tables_have_means_and_mark_the_best_excluding_the_teacher(tmp_path: Path) -> None:
    results = example()
    results["quality"]["recipes"] |= {"teacher": 1.0, "untaught": 1.2}
    quality, calibration = re.findall("<thead>.*?</tbody>", written(results, tmp_path))[:2]
    headers = ["domain", "teacher", "baseline", "at the start", "untaught twin", "student", "student, 8-bit", "kept"]
    assert re.findall("<th(?: class=name)?>(.*?)</th>", quality)[:8] == headers
    rows = {row[0]: row[1:] for row in (re.findall("<t[hd]>(.*?)</t[hd]>", row) for row in quality.split("<tr")[2:])}
    assert rows["law-de"] == ["1.200", "1.800", "3.000", "1.600", "<b>1.500</b>", "1.510", "80.0 %"]
    assert rows["recipes"] == ["1.000", "1.800", "3.000", "<b>1.200</b>", "1.500", "1.510", "66.7 %"]
    assert rows["mean, wanted"] == ["1.100", "1.800", "3.000", "<b>1.400</b>", "1.500", "1.510", "73.3 %"]
    assert rows["mean, dropped"] == rows["poetry-en"]
    assert list(rows) == ["law-de", "recipes", "mean, wanted", "poetry-en", "mean, dropped"]
    assert "<td>2.1 %</td><td>11.4 %</td><td>5.1 %</td><td><b>3.2 %</b></td>" in calibration


def test_missing_parts_are_left_out(tmp_path: Path) -> None:
    text = written(minimal(), tmp_path)
    titles = ["How well the student predicts text", "Calibration", "Cost"]
    assert sections(text) == [*titles, "Components", "Held-out text"]
    assert text.count("<dd>") == 5
    shown = visible_text(text)
    assert "No untaught twin was trained, so the teacher's contribution is unknown." in shown
    assert shown.count("twin") == 1
    for word in ("None", "null", "nan", "domains, which", "8 bits", "cache"):
        assert word not in shown


def test_thirty_domains_with_unusual_names(tmp_path: Path) -> None:
    names = [
        f"法律与很长很长很长很长很长的名字-{i}" if i % 2 else f"a-name-that-is-long-and-has-number-{i}"
        for i in range(30)
    ]
    text = written(example(names[:20], names[20:]), tmp_path)
    assert Page(text).open == []
    assert all(f'title="{name}"' in text for name in names)


def test_names_without_glyphs_are_spelled_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figure_style, "_fonts", lambda: (["DejaVu Sans"], frozenset(range(32, 127))))
    assert "□-zh #1 is 法律-zh" in unescape(written(example(("法律-zh",)), tmp_path))
