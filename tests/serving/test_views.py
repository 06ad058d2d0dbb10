"""The views of models, runs and data in a real browser, against a scripted API."""

import re
from typing import Any

import pytest

from tests.serving import shown
from tests.serving.browsing import Open, accessibility_violations
from tests.serving.fake import Script

HASHES = {
    "models": "#/models",
    "runs": "#/runs",
    "training": "#/runs/trunk",
    "evaluation": "#/runs/report",
    "data": "#/data",
    "release": f"#/data/{shown.RELEASE}",
}
READY = {
    "models": ".lineage",
    "runs": ".list",
    "training": ".chart canvas",
    "evaluation": ".heat",
    "data": ".counts",
    "release": ".slices",
}


def show(page: Any, name: str) -> None:
    page.evaluate(f"location.hash = '{HASHES[name]}'")
    page.locator(READY[name]).first.wait_for()


def rows(page: Any, table: str) -> list[list[str]]:
    """Return the text of each cell of a table, by row."""
    page.locator(table).wait_for()
    body_rows = page.locator(f"{table} tbody tr").all()
    return [
        [re.sub(r"\s+", " ", cell).strip() for cell in row.locator("th, td").all_inner_texts()] for row in body_rows
    ]


def test_runs_are_listed_with_links(open_page: Open) -> None:
    page = open_page()
    page.get_by_role("link", name="Runs").click()
    page.locator(".list").wait_for()
    assert [row[:4] for row in rows(page, ".list")] == [
        ["trunk trunk", "running", "500 / 1,000", "2.079"],
        ["law leaf · leaves", "stopped", "500 / 1,000", "2.079"],
        ["report evaluation", "done", "", ""],
    ]
    page.get_by_role("link", name="law").click()
    page.get_by_role("heading", name="law", exact=True).wait_for()
    assert rows(page, ".quality") == [
        ["public", "2.100", "2.110", "+0.5 %", ""],
        ["law", "2.700", "1.900", "−29.6 %", ""],
    ]
    page.get_by_text("Recipe").click()
    assert page.get_by_role("link", name="Runs").first.get_attribute("aria-current") == "page"


def test_a_run_is_refreshed_with_new_steps_only(open_page: Open, script: Script) -> None:
    page = open_page("#/runs/trunk")
    page.locator(".chart canvas").first.wait_for()
    assert page.locator(".chart figcaption").all_inner_texts() == [
        "Loss nats per token",
        "Learning rate",
        "Tokens per second",
    ]
    plot = page.get_by_role("img", name="Loss: 4.105 at step 10, 2.079 at step 500.")
    assert plot.count() == 1
    shown.append_log(script.runs["trunk"], 510, 1.5)
    page.get_by_role("img", name="Loss: 4.105 at step 10, 1.5 at step 510.").wait_for()
    assert script.looked[-1] == "/v1/runs/trunk?after=500"
    script.runs["trunk"]["state"] = "done"
    page.locator(".state", has_text="done").wait_for()
    page.get_by_role("link", name="New chat").click()
    page.locator(".leaf").first.wait_for()
    num_requests = len(script.looked)
    page.wait_for_timeout(4000)
    assert len(script.looked) <= num_requests + 1, "a run that is not on display is not refreshed"


def test_a_chart_is_read_by_keyboard(open_page: Open) -> None:
    page = open_page("#/runs/trunk")
    page.locator(".plot").first.focus()
    readout = page.locator(".readout").first
    page.keyboard.press("Home")
    readout.get_by_text("4.105").wait_for()
    page.keyboard.press("ArrowRight")
    assert re.sub(r"\s+", " ", readout.inner_text()) == "Step 20 Loss 3.379 Next token 3.279"
    page.keyboard.press("End")
    readout.get_by_text("2.079").wait_for()


def test_an_evaluation_shows_quality_and_routing(open_page: Open) -> None:
    page = open_page("#/runs/report")
    page.locator(".heat").wait_for()
    assert rows(page, ".quality") == [
        ["law", "2.700", "1.900", "2.750", "1.950", "1.900", "−27.8 %", ""],
        ["news", "2.200", "2.250", "2.210", "2.200", "–", "0 %", ""],
    ]
    assert page.locator(".quality b").all_inner_texts() == ["1.900", "2.200"]
    assert rows(page, ".heat") == [["law", "0.70", "0.10"], ["poetry", "0.15", "0.70"], ["news", "0.03", "0.05"]]
    page.get_by_label("Layer").select_option("3")
    assert rows(page, ".heat") == [["law", "0.60", "0.10"], ["poetry", "0.20", "0.90"], ["news", "0.04", "0.10"]]
    assert page.locator(".heat .own").all_inner_texts() == ["0.60", "0.90"]


def test_releases_can_be_filtered_and_opened(open_page: Open, script: Script) -> None:
    page = open_page()
    page.get_by_role("link", name="Data").click()
    page.locator(".counts").first.wait_for()
    assert page.locator(".about h2 a").all_inner_texts() == ["corpus", "old"]
    assert "expired 1 Jan 2020" in page.locator(".about").last.inner_text().replace("\u202f", " ")
    box = page.get_by_label("Slice")
    box.fill("domain=art")
    box.press("Enter")
    page.get_by_role("link", name="corpus").wait_for(state="detached")
    box.fill("domain=?")
    box.press("Enter")
    page.get_by_role("alert").get_by_text("slice: '?' is not a condition").wait_for()
    box.fill("")
    box.press("Enter")
    page.get_by_role("link", name="corpus").click()
    page.locator(".slices").wait_for()
    assert [row[:5] for row in rows(page, ".slices")] == [
        ["law", "de", "CC0-1.0 open", "0.25–0.95", "9,000"],
        ["poetry", "zh", "unknown", "0.25–0.95", "1,234"],
    ]
    command = page.locator("pre").inner_text()
    key = "ab" * 32
    assert command == f"baicai data pull '/srv/the corpus' key={key} --slice 'domain=law language=de' --out DIR"
    script.releases = None
    page.get_by_role("link", name="Data").first.click()
    page.get_by_text("This server has no catalogue.").wait_for()


def test_a_model_shows_the_origin_of_its_leaves(open_page: Open) -> None:
    page = open_page("#/models")
    card = page.locator("details", has_text="law: training data and gain")
    card.locator("summary").click()
    assert "hash verified on loading signed" in re.sub(r"\s+", " ", card.inner_text())
    assert rows(page, "details[open] .quality") == [["law", "2.700", "1.900", "−29.6 %", ""]]
    card.get_by_role("link", name=shown.RELEASE[:8]).click()
    page.locator(".slices").wait_for()


def test_missing_runs_are_reported(open_page: Open, script: Script) -> None:
    script.runs.clear()
    page = open_page("#/runs")
    page.get_by_text("No runs found.").wait_for()
    page.evaluate("location.hash = '#/runs/moss%ff'")
    page.get_by_role("alert").get_by_text("Run 'moss%ff' was not found.").wait_for()


def test_a_key_without_access_can_be_replaced(open_page: Open, script: Script) -> None:
    script.key, script.scope = "sesame", "infer"
    page = open_page("#/runs")
    page.get_by_label("API key", exact=True).fill("sesame")
    page.get_by_role("button", name="Save").click()
    page.get_by_role("alert").get_by_text("This key has no access to this page").wait_for()
    page.get_by_role("button", name="Enter another key").click()
    script.key, script.scope = "open", "admin"
    page.get_by_label("API key", exact=True).fill("open")
    page.get_by_role("button", name="Save").click()
    page.locator(".list").wait_for()


def test_hostile_names_are_inert(open_page: Open, script: Script) -> None:
    hostile = "<img src=x onerror='window.hit=1'>"
    run = script.runs.pop("report")
    run["bits_per_byte"] = {hostile: {"trunk": 2.0, hostile: 1.0, "constructor": 1.5}}
    script.runs[hostile] = run | {"id": hostile, "stage": "constructor"}
    page = open_page("#/runs")
    page.get_by_role("link", name=hostile).click()
    page.locator(".quality").wait_for()
    assert page.get_by_role("heading", name=hostile).count() == 1
    assert page.locator(".view img").count() == 0
    assert page.evaluate("window.hit") is None


def test_views_are_translated_into_chinese(open_page: Open) -> None:
    page = open_page("#/runs", locale="zh-CN")
    page.get_by_role("heading", name="运行记录", exact=True).wait_for()
    page.locator(".state", has_text="已停止").wait_for()
    show(page, "data")
    page.get_by_text("第 3 版").first.wait_for()


def test_views_never_scroll_sideways_on_a_phone(open_page: Open) -> None:
    page = open_page(width=390, height=844, has_touch=True)
    for name in HASHES:
        show(page, name)
        assert page.evaluate("document.scrollingElement.scrollWidth <= innerWidth"), name
        assert page.evaluate("document.querySelector('.view').scrollWidth <= innerWidth"), name


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_violations_in_the_views(open_page: Open, scheme: str) -> None:
    page = open_page(color_scheme=scheme, reduced_motion="reduce")
    broken = {}
    for name in HASHES:
        show(page, name)
        for summary in page.locator("summary").all():
            summary.click()
        broken[name] = accessibility_violations(page)
    assert {name: rules for name, rules in broken.items() if rules} == {}
