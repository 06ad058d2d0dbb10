"""The chat page in a real browser, against a scripted API."""

import hashlib
import json
import re
from pathlib import Path

import pytest

from baicai.serving.routes.web_page import FOLDER
from tests.serving.browsing import QUESTION, WEB, Open, accessibility_violations, ask, send_message
from tests.serving.fake import Script

HOSTILE = """<img src=x onerror="window.hit=1"><script>window.hit=1</script>

[a link](javascript:window.hit=1) and ![a picture](https://elsewhere.example/tracker.png) and <b onclick=hit>bold</b>

<div onmouseover="window.hit=1">block</div>

"""


def test_built_files_match_their_source() -> None:
    names = sorted(path.relative_to(WEB).as_posix() for path in WEB.rglob("*") if path.is_file())
    names = [name for name in names if not re.search(r"^node_modules/|(^|/)\.", name)]
    digest = hashlib.sha256()
    for name in names:
        digest.update(f"{name}\0".encode() + hashlib.sha256((WEB / name).read_bytes()).digest())
    assert (FOLDER / "SOURCE").read_text().strip() == digest.hexdigest(), "run `npm install && npm run build` in web/"


def test_words_are_tinted_by_leaf_and_show_a_card(open_page: Open, script: Script) -> None:
    page = open_page()
    ask(page)
    assert page.locator(".answer .text [role=group]").inner_text() == "The court heard the claim."
    assert page.locator(".tinted").all_inner_texts() == ["court", "claim"]
    page.locator(".tinted").first.hover()
    card = page.get_by_role("tooltip")
    assert re.sub(r"\s+", " ", card.inner_text()) == (
        "␣court law 62 % medicine 4.0 % poetry 4.0 % trunk 30 % Alternatives ␣court 71 % ␣verdict 18 % ␣judge 6.0 %"
    )
    page.keyboard.press("Escape")
    card.wait_for(state="hidden")
    assert "each using 15 % of the parameters" in page.locator(".ending").inner_text().replace("\xa0", " ")
    sent = script.asked[0]
    assert sent["messages"] == [{"role": "user", "content": QUESTION}]
    assert (sent["stream"], sent["routing"], sent["top_logprobs"]) == (True, True, 5)
    assert (sent["temperature"], sent["top_p"]) == (0.8, 0.95), "the defaults of `baicai chat`"
    assert not {"leaves", "seed"} & sent.keys()


def test_words_can_be_inspected_by_keyboard(open_page: Open) -> None:
    page = open_page()
    ask(page)
    page.locator(".answer [role=group]").first.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    assert "court" in page.get_by_role("tooltip").inner_text()
    assert page.locator(":focus").get_attribute("aria-describedby") == "word-card"


def test_markdown_keeps_its_tint(open_page: Open, script: Script) -> None:
    script.answer = lambda body: "# Claims\n\n- one **claim**\n- `court`\n\n> a\n> river\n\n```\nperiod = 3\n```\n"
    page = open_page()
    ask(page)
    for selector in ("h3", "li strong", "li code", "blockquote", "pre code"):
        assert page.locator(f".answer {selector}").count() == 1, selector
    assert page.locator(".tinted").all_inner_texts() == ["claim", "court", "river", "period"]
    page.get_by_role("switch", name="Tint words by leaf").click()
    assert page.locator(".word").count() == 0
    assert page.locator(".answer li strong").inner_text() == "claim"


def test_a_stopped_answer_is_kept_and_can_be_continued(open_page: Open, script: Script) -> None:
    script.answer, script.token_seconds = lambda body: "word " * 400, 0.02
    page = open_page()
    send_message(page, QUESTION)
    page.locator(".answer", has_text="word word word").wait_for()
    page.keyboard.press("Escape")
    page.get_by_text("Stopped.").wait_for()
    text = page.locator(".answer .text [role=group]").inner_text()
    assert 10 < len(text) < 1500
    script.answer, script.token_seconds = lambda body: " and the court", 0
    page.get_by_role("button", name="Continue").click()
    page.get_by_text("and the court").first.wait_for()
    assert script.asked[1]["messages"][1]["role"] == "assistant"
    assert script.asked[1]["messages"][1]["content"].strip() == text.strip()


def test_a_lost_connection_keeps_the_text_received(open_page: Open, script: Script) -> None:
    script.break_after, script.token_seconds = 3, 0.01
    page = open_page()
    send_message(page, QUESTION)
    page.get_by_role("alert").get_by_text("The connection was lost.").wait_for()
    assert page.locator(".answer .text [role=group]").inner_text() == "The court heard"
    page.reload()
    script.break_after, script.answer = None, lambda body: " the claim."
    page.get_by_role("button", name="Continue").click()
    page.locator(".answer", has_text="The court heard the claim.").wait_for()


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (400, "rejected the request: too warm"),
        (404, "Choose another"),
        (429, "busy. Wait a moment"),
        (500, "The server failed"),
        (503, "not ready"),
    ],
)
def test_errors_say_what_to_do(open_page: Open, script: Script, status: int, message: str) -> None:
    script.refuse = [(status, "too warm")]
    page = open_page()
    send_message(page, QUESTION)
    page.get_by_role("alert").get_by_text(message).wait_for()
    page.get_by_role("button", name="Try again").click()
    page.locator(".answer", has_text="The court heard the claim.").wait_for()


def test_the_key_is_requested_once_and_stored(open_page: Open, script: Script) -> None:
    script.key = "sesame"
    page = open_page()
    page.get_by_label("API key", exact=True).fill("sesame")
    page.get_by_role("button", name="Save").click()
    ask(page)
    page.reload()
    page.locator(".answer", has_text="The court heard").wait_for()
    assert page.get_by_role("dialog").count() == 0


def test_switches_and_settings_reach_the_request(open_page: Open, script: Script) -> None:
    page = open_page()
    page.get_by_role("switch", name="law").click()
    page.get_by_role("button", name="Settings").click()
    page.get_by_label("System prompt").fill("Be brief.")
    page.get_by_label("Temperature").fill("0.5")
    page.get_by_label("Maximum tokens").fill("64")
    page.get_by_label("Seed").fill("7")
    page.get_by_label("Top p").fill("3")  # Out of range, so the default stays.
    page.get_by_role("button", name="Close").last.click()
    assert page.locator(":focus").get_attribute("aria-label") == "Settings"
    ask(page)
    sent = script.asked[0]
    assert sent["leaves"] == {"off": ["law"]}
    assert sent["messages"][0] == {"role": "system", "content": "Be brief."}
    assert (sent["temperature"], sent["max_completion_tokens"], sent["seed"]) == (0.5, 64, 7)
    assert sent["top_p"] == 0.95
    assert page.locator(".tinted").count() == 0
    page.reload()
    assert page.get_by_role("switch", name="law").get_attribute("aria-checked") == "false"


def test_compare_answers_with_two_sets(open_page: Open, script: Script) -> None:
    page = open_page()
    ask(page)
    script.token_seconds = 0.02
    page.get_by_role("button", name="Compare").click()
    second = page.get_by_label("Second set").first
    second.get_by_role("switch", name="poetry").click()
    page.get_by_role("button", name="Run both").click()
    for label in ("First set", "Second set"):
        page.get_by_label(label).first.get_by_text("tokens").wait_for()
    assert [body.get("leaves") for body in script.asked[1:]] == [None, {"off": ["law", "medicine"]}]
    assert second.locator(".tinted").count() == 0
    second.get_by_role("button", name="Keep this answer").click()
    page.get_by_text("2/2").wait_for()


def test_an_edited_message_starts_a_branch(open_page: Open, script: Script) -> None:
    script.answer = lambda body: f"About {body['messages'][-1]['content']}"
    page = open_page()
    ask(page, "pears")
    ask(page, "figs")
    page.get_by_role("button", name="Edit").first.click()
    page.get_by_label("Edit your message").fill("plums")
    page.get_by_label("Edit your message").press("Enter")
    page.locator(".answer", has_text="About plums").wait_for()
    assert script.asked[-1]["messages"] == [{"role": "user", "content": "plums"}]
    assert page.locator(".said").all_text_contents() == ["plums"]
    page.get_by_role("button", name="Previous version").click()
    assert page.locator(".said").all_text_contents() == ["pears", "figs"]
    page.get_by_text("1/2").wait_for()
    page.get_by_role("button", name="Regenerate").last.click()
    page.locator(".answer").last.get_by_text("2/2").wait_for()
    assert [turn["content"] for turn in script.asked[-1]["messages"]] == ["pears", "About pears", "figs"]


def test_conversations_survive_a_reload_until_deleted(open_page: Open) -> None:
    page = open_page()
    ask(page)
    page.reload()
    page.locator(".tinted").first.wait_for()
    page.get_by_role("link", name="New chat").first.click()
    ask(page, "Another")
    entries = page.locator(".history li")
    assert entries.all_inner_texts() == ["Another", QUESTION]
    page.get_by_role("button", name="Settings").click()
    with page.expect_download() as download:
        page.get_by_role("button", name="Export all as JSON").click()
    exported = json.loads(Path(download.value.path()).read_text())
    assert [conversation["title"] for conversation in exported["conversations"]] == ["Another", QUESTION]
    assert exported["conversations"][1]["messages"][0]["text"] == QUESTION
    page.get_by_role("button", name="Close").last.click()
    entries.first.hover()
    page.get_by_role("button", name="Delete “Another”").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    page.get_by_role("heading", name="What would you like to know?").wait_for()
    page.reload()
    page.get_by_role("link", name=QUESTION).wait_for()
    assert entries.all_inner_texts() == [QUESTION]


def test_an_answer_continues_in_the_background(open_page: Open, script: Script) -> None:
    script.token_seconds = 0.1
    page = open_page()
    send_message(page, QUESTION)
    page.locator(".tinted").first.wait_for()
    page.get_by_role("link", name="New chat").first.click()
    page.get_by_role("heading", name="What would you like to know?").wait_for()
    page.get_by_role("link", name=QUESTION).click()
    page.locator(".answer", has_text="The court heard the claim.").wait_for()


def test_closing_the_page_keeps_the_text_received(open_page: Open, script: Script) -> None:
    script.answer, script.token_seconds = lambda body: "word " * 400, 0.02
    page = open_page()
    send_message(page, QUESTION)
    page.wait_for_timeout(1300)  # It is saved once a second.
    page.reload()
    page.get_by_text("The text received so far is kept.").wait_for()
    assert "word word" in page.locator(".answer .text").inner_text()


def test_an_unreachable_server_is_reported(open_page: Open) -> None:
    page = open_page()
    page.locator(".leaf").first.wait_for()
    page.route("**/v1/*", lambda route: route.abort())
    page.reload()
    page.get_by_role("alert").get_by_text("Cannot reach the server.").wait_for()
    page.unroute("**/v1/*")
    page.get_by_role("button", name="Try again").click()
    page.locator(".leaf").first.wait_for()


def test_having_no_model_is_reported(open_page: Open, script: Script) -> None:
    script.unloaded = True
    page = open_page()
    notice = page.get_by_text("No model is loaded. An administrator of this server can load one: curl http://")
    notice.wait_for()
    page.get_by_role("link", name="Models").click()
    page.get_by_role("heading", name="Models", exact=True).wait_for()
    notice.wait_for()
    assert accessibility_violations(page) == []
    script.unloaded = False
    page.get_by_role("button", name="Try again").click()
    page.locator(".lineage").first.wait_for()
    assert notice.count() == 0


def test_enter_sends_and_shift_enter_breaks_the_line(open_page: Open, script: Script) -> None:
    page = open_page()
    page.locator(".leaf").first.wait_for()
    page.keyboard.type("one")
    page.keyboard.press("Shift+Enter")
    page.keyboard.type("two")
    page.get_by_label("Message", exact=True).dispatch_event("keydown", {"key": "Enter", "keyCode": 229})
    assert script.asked == []
    page.keyboard.press("Enter")
    page.locator(".answer .actions").wait_for()
    assert script.asked[0]["messages"][0]["content"] == "one\ntwo"


def test_hostile_text_is_inert(open_page: Open, script: Script) -> None:
    script.answer = lambda body: HOSTILE + "x" * 30_000
    page = open_page()
    for tint in (True, False):
        ask(page, f"tint {tint}")
        text = page.locator(".answer .text").last
        assert "<img src=x onerror=" in text.inner_text()
        assert page.locator(".answer :is(img, script, b, div[onmouseover], [onclick])").count() == 0
        assert page.locator(".answer a[href^=javascript]").count() == 0
        assert page.evaluate("window.hit") is None
        assert page.evaluate("document.scrollingElement.scrollWidth <= innerWidth")
        script.answer = lambda body: HOSTILE + ">" * 700 + " deep"
        if tint:
            page.get_by_role("switch", name="Tint words by leaf").click()
    assert page.locator(".answer").last.locator("a").all_inner_texts() == ["a picture"]
    assert 0 < page.locator(".answer blockquote").count() < 30


def test_the_page_is_translated_into_chinese(open_page: Open, script: Script) -> None:
    script.answer = lambda body: "法院认为。"
    page = open_page(locale="zh-CN")
    page.get_by_role("heading", name="想了解什么？").wait_for()
    assert page.locator("html").get_attribute("lang") == "zh-Hans"
    send_message(page, "合同的时效？", label="消息")
    page.get_by_text("每个词元使用").wait_for()
    page.get_by_role("button", name="English").click()
    page.get_by_label("Message", exact=True).wait_for()
    page.reload()
    page.get_by_label("Message", exact=True).wait_for()


def test_the_page_never_scrolls_sideways_on_a_phone(open_page: Open, script: Script) -> None:
    script.answer = lambda body: "court " * 30 + "x" * 300 + "\n\n```\n" + "period " * 60 + "\n```\n"
    page = open_page(width=390, height=844, has_touch=True)
    fits = "document.scrollingElement.scrollWidth <= innerWidth"
    assert page.evaluate(fits)
    ask(page)
    assert page.evaluate(fits)
    page.locator(".tinted").first.tap()
    box = page.get_by_role("tooltip").bounding_box()
    assert 0 <= box["x"] <= 390 - box["width"]
    page.get_by_role("button", name="Compare").click()
    page.get_by_role("button", name="Run both").click()
    page.get_by_text("Keep this answer").nth(1).wait_for()
    assert page.evaluate(fits)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_violations(open_page: Open, script: Script, scheme: str) -> None:
    script.answer = lambda body: (
        "# Court\n\n> the moon\n\n| a | b |\n|---|---|\n| claim | 2 |\n\n[court](https://a.example)\n\n```\ncourt\n```\n"
    )
    page = open_page(color_scheme=scheme, reduced_motion="reduce")
    page.locator(".leaf").first.wait_for()
    broken = {"empty": accessibility_violations(page)}
    ask(page)
    page.locator(".tinted").first.hover()
    page.get_by_role("tooltip").wait_for()
    broken["answer"] = accessibility_violations(page)
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Compare").click()
    page.get_by_role("button", name="Run both").click()
    page.get_by_text("Keep this answer").nth(1).wait_for()
    broken["compare"] = accessibility_violations(page)
    page.get_by_role("button", name="Settings").click()
    page.get_by_role("dialog").wait_for()
    broken["settings"] = accessibility_violations(page)
    assert {state: rules for state, rules in broken.items() if rules} == {}
