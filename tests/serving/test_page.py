"""The page in a real browser, against an API that follows a script."""

import hashlib
import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.loopback import serving
from tests.serving.fake import PAGE, Script

WEB = Path(__file__).parents[2] / "web"
AXE = WEB / "node_modules" / "axe-core" / "axe.min.js"
CHROMIUM = shutil.which("chromium")
QUESTION = "When does a claim lapse?"
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
    assert (PAGE / "SOURCE").read_text().strip() == digest.hexdigest(), "run `npm install && npm run build` in web/"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    api = pytest.importorskip("playwright.sync_api", reason="pip install playwright drives the browser")
    if not CHROMIUM:
        pytest.skip("no chromium on this machine")
    with api.sync_playwright() as playwright:
        yield playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])


Open = Callable[..., Any]


@pytest.fixture
def script() -> Script:
    return Script()


@pytest.fixture
def open_page(browser: Any, script: Script) -> Iterator[Open]:
    """Open the page in a browser that has never seen it; nothing it does may break a rule of its server."""
    wrong: list[str] = []
    contexts = []
    with serving(script.app()) as url:

        def open_(at: str = "", *, width: int = 1280, height: int = 800, **options: Any) -> Any:
            viewport = {"width": width, "height": height}
            contexts.append(browser.new_context(viewport=viewport, **({"locale": "en-GB"} | options)))
            page = contexts[-1].new_page()
            page.set_default_timeout(8000)
            page.on("pageerror", lambda error: wrong.append(str(error)))
            page.on("console", lambda told: wrong.append(told.text) if "Content Security" in told.text else None)
            page.goto(url + "/" + at)
            return page

        yield open_
        for context in contexts:
            context.close()
    assert wrong == []


def say(page: Any, text: str, label: str = "Message") -> None:
    box = page.get_by_label(label, exact=True)
    page.locator(".leaf").first.wait_for()
    box.fill(text)
    box.press("Enter")


def ask(page: Any, text: str = QUESTION) -> None:
    """Say something and wait until it is answered."""
    say(page, text)
    page.locator(".question:nth-last-child(2)", has_text=text).wait_for()
    page.locator(".answer:last-child .actions").wait_for()


def test_words_are_tinted_by_their_leaf_and_explained(open_page: Open, script: Script) -> None:
    page = open_page()
    ask(page)
    assert page.locator(".answer .text [role=group]").inner_text() == "The court heard the claim."
    assert page.locator(".tinted").all_inner_texts() == ["court", "claim"]
    page.locator(".tinted").first.hover()
    card = page.get_by_role("tooltip")
    assert re.sub(r"\s+", " ", card.inner_text()) == (
        "␣court law 62 % medicine 4.0 % poetry 4.0 % trunk 30 % Might have been ␣court 71 % ␣verdict 18 % ␣judge 6.0 %"
    )
    page.keyboard.press("Escape")
    card.wait_for(state="hidden")
    assert "each used 15 % of the parameters" in page.locator(".ending").inner_text().replace("\xa0", " ")
    sent = script.asked[0]
    assert sent["messages"] == [{"role": "user", "content": QUESTION}]
    assert (sent["stream"], sent["routing"], sent["top_logprobs"]) == (True, True, 5)
    assert not {"leaves", "temperature", "seed"} & sent.keys()


def test_words_are_reached_by_keyboard(open_page: Open) -> None:
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
    for place in ("h3", "li strong", "li code", "blockquote", "pre code"):
        assert page.locator(f".answer {place}").count() == 1, place
    assert page.locator(".tinted").all_inner_texts() == ["claim", "court", "river", "period"]
    page.get_by_role("switch", name="Tint words by leaf").click()
    assert page.locator(".word").count() == 0
    assert page.locator(".answer li strong").inner_text() == "claim"


def test_stop_keeps_what_there_is_and_goes_on(open_page: Open, script: Script) -> None:
    script.answer, script.token_seconds = lambda body: "word " * 400, 0.02
    page = open_page()
    say(page, QUESTION)
    page.locator(".answer", has_text="word word word").wait_for()
    page.keyboard.press("Escape")
    page.get_by_text("Stopped.").wait_for()
    kept = page.locator(".answer .text [role=group]").inner_text()
    assert 10 < len(kept) < 1500
    script.answer, script.token_seconds = lambda body: " and the court", 0
    page.get_by_role("button", name="Go on").click()
    page.get_by_text("and the court").first.wait_for()
    assert script.asked[1]["messages"][1]["role"] == "assistant"
    assert script.asked[1]["messages"][1]["content"].strip() == kept.strip()


def test_lost_connection_keeps_what_arrived(open_page: Open, script: Script) -> None:
    script.break_after, script.token_seconds = 3, 0.01
    page = open_page()
    say(page, QUESTION)
    page.get_by_role("alert").get_by_text("The connection was lost.").wait_for()
    assert page.locator(".answer .text [role=group]").inner_text() == "The court heard"
    page.reload()
    script.break_after, script.answer = None, lambda body: " the claim."
    page.get_by_role("button", name="Go on").click()
    page.locator(".answer", has_text="The court heard the claim.").wait_for()


@pytest.mark.parametrize(
    ("status", "told"),
    [
        (400, "did not accept this: too warm"),
        (404, "Choose another"),
        (429, "busy. Wait a moment"),
        (500, "went wrong"),
        (503, "not ready"),
    ],
)
def test_refusals_say_what_to_do(open_page: Open, script: Script, status: int, told: str) -> None:
    script.refuse = [(status, "too warm")]
    page = open_page()
    say(page, QUESTION)
    page.get_by_role("alert").get_by_text(told).wait_for()
    page.get_by_role("button", name="Try again").click()
    page.locator(".answer", has_text="The court heard the claim.").wait_for()


def test_key_is_asked_for_once_and_kept(open_page: Open, script: Script) -> None:
    script.key = "sesame"
    page = open_page()
    page.get_by_label("Key", exact=True).fill("sesame")
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
    page.get_by_label("Most tokens").fill("64")
    page.get_by_label("Seed").fill("7")
    page.get_by_label("Top p").fill("3")  # Out of range, so not sent.
    page.get_by_role("button", name="Close").last.click()
    assert page.locator(":focus").get_attribute("aria-label") == "Settings"
    ask(page)
    sent = script.asked[0]
    assert sent["leaves"] == {"off": ["law"]}
    assert sent["messages"][0] == {"role": "system", "content": "Be brief."}
    assert (sent["temperature"], sent["max_completion_tokens"], sent["seed"]) == (0.5, 64, 7)
    assert "top_p" not in sent
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
    page.get_by_role("button", name="Answer both").click()
    for side in ("First set", "Second set"):
        page.get_by_label(side).first.get_by_text("tokens").wait_for()
    assert [body.get("leaves") for body in script.asked[1:]] == [None, {"off": ["law", "medicine"]}]
    assert second.locator(".tinted").count() == 0
    second.get_by_role("button", name="Keep this answer").click()
    page.get_by_text("2/2").wait_for()


def test_edited_message_is_a_branch(open_page: Open, script: Script) -> None:
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
    page.get_by_role("button", name="Again").last.click()
    page.locator(".answer").last.get_by_text("2/2").wait_for()
    assert [turn["content"] for turn in script.asked[-1]["messages"]] == ["pears", "About pears", "figs"]


def test_history_survives_a_reload_until_it_is_deleted(open_page: Open) -> None:
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
    assert [talk["title"] for talk in exported["conversations"]] == ["Another", QUESTION]
    assert exported["conversations"][1]["messages"][0]["text"] == QUESTION
    page.get_by_role("button", name="Close").last.click()
    entries.first.hover()
    page.get_by_role("button", name="Delete “Another”").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    page.get_by_role("heading", name="What would you like to know?").wait_for()
    page.reload()
    page.get_by_role("link", name=QUESTION).wait_for()
    assert entries.all_inner_texts() == [QUESTION]


def test_answer_goes_on_out_of_sight(open_page: Open, script: Script) -> None:
    script.token_seconds = 0.1
    page = open_page()
    say(page, QUESTION)
    page.locator(".tinted").first.wait_for()
    page.get_by_role("link", name="New chat").first.click()
    page.get_by_role("heading", name="What would you like to know?").wait_for()
    page.get_by_role("link", name=QUESTION).click()
    page.locator(".answer", has_text="The court heard the claim.").wait_for()


def test_page_closed_while_answering_keeps_what_arrived(open_page: Open, script: Script) -> None:
    script.answer, script.token_seconds = lambda body: "word " * 400, 0.02
    page = open_page()
    say(page, QUESTION)
    page.wait_for_timeout(1300)  # It is saved once a second.
    page.reload()
    page.get_by_text("What arrived is kept.").wait_for()
    assert "word word" in page.locator(".answer .text").inner_text()


def test_unreachable_server_is_told(open_page: Open) -> None:
    page = open_page()
    page.locator(".leaf").first.wait_for()
    page.route("**/v1/*", lambda route: route.abort())
    page.reload()
    page.get_by_role("alert").get_by_text("No connection to the server.").wait_for()
    page.unroute("**/v1/*")
    page.get_by_role("button", name="Try again").click()
    page.locator(".leaf").first.wait_for()


def test_keys_send_and_break_lines(open_page: Open, script: Script) -> None:
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


SEED = """async (count) => {
  const database = await new Promise((resolve) => {
    const request = indexedDB.open("baicai", 1);
    request.onsuccess = () => resolve(request.result);
  });
  const write = database.transaction(["talks", "messages"], "readwrite");
  write.objectStore("talks").put({ id: "long", title: "long", created: 1, updated: 1, picked: {} });
  const alternatives = [[" the", 0.5], [" a", 0.2], [" no", 0.1], [" one", 0.1], [" any", 0.1]];
  for (let order = 0; order < count; order++) {
    const role = order % 2 ? "assistant" : "user";
    const parent = order ? `m${order - 1}` : null;
    const pieces = order % 2 ? Array.from({ length: 120 }, (_, place) => ({
      text: place % 30 ? ` word${place}` : "\\n\\nBegin", leaves: { law: (place % 10) / 10, poetry: 0.1 }, alternatives,
    })) : [];
    const text = order % 2 ? pieces.map((piece) => piece.text).join("") : `Question ${order}`;
    const message = { id: `m${order}`, talk: "long", parent, order, role, text, pieces, progress: "done" };
    write.objectStore("messages").put(message);
  }
  await new Promise((resolve) => (write.oncomplete = resolve));
}"""
TYPE = """async () => {
  const spent = [];
  for (let time = 0; time < 20; time++) {
    const start = performance.now();
    document.execCommand("insertText", false, "a");
    document.body.offsetHeight;
    spent.push(performance.now() - start);
    await new Promise(requestAnimationFrame);
  }
  return spent.sort((a, b) => a - b)[10];
}"""
FRAMES = """() => {
  window.frames_ = [];
  let last = performance.now();
  const frame = (now) => { window.frames_.push(now - last); last = now; requestAnimationFrame(frame); };
  requestAnimationFrame(frame);
}"""


def test_two_thousand_messages_stay_usable(
    open_page: Open, script: Script, record_property: Callable[[str, object], None]
) -> None:
    page = open_page()
    page.locator(".leaf").first.wait_for()
    page.evaluate(SEED, 2000)
    start = page.evaluate("performance.now()")
    page.evaluate("location.hash = '#/chat/long'")
    page.locator(".answer").last.wait_for()
    opened = page.evaluate("performance.now()") - start
    page.get_by_label("Message", exact=True).focus()
    typed = page.evaluate(TYPE)
    script.answer, script.token_seconds = lambda body: "court word " * 100, 0.005
    page.evaluate(FRAMES)
    ask(page)
    frames = sorted(page.evaluate("window.frames_"))
    middle, worst = frames[len(frames) // 2], frames[-1]
    for name, value in {"open": opened, "type": typed, "frame": middle, "worst_frame": worst}.items():
        record_property(f"{name}_milliseconds", round(value, 1))
    assert len(script.asked[0]["messages"]) == 2001
    assert page.locator(".row").count() <= 60
    assert opened < 4000
    assert typed < 50
    assert middle < 60
    assert worst < 1000
    page.get_by_role("button", name="Show earlier messages").click()
    assert page.locator(".row").count() > 60


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


def test_page_speaks_chinese(open_page: Open, script: Script) -> None:
    script.answer = lambda body: "法院认为。"
    page = open_page(locale="zh-CN")
    page.get_by_role("heading", name="想了解什么？").wait_for()
    assert page.locator("html").get_attribute("lang") == "zh-Hans"
    say(page, "合同的时效？", label="消息")
    page.get_by_text("每个用到").wait_for()
    page.get_by_role("button", name="English").click()
    page.get_by_label("Message", exact=True).wait_for()
    page.reload()
    page.get_by_label("Message", exact=True).wait_for()


def test_phone_never_scrolls_sideways(open_page: Open, script: Script) -> None:
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
    page.get_by_role("button", name="Answer both").click()
    page.get_by_text("Keep this answer").nth(1).wait_for()
    assert page.evaluate(fits)
    page.get_by_role("button", name="Menu").click()
    page.get_by_role("link", name="Models").click()
    page.locator(".lineage").wait_for()
    assert page.evaluate(fits)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing(open_page: Open, script: Script, scheme: str) -> None:
    if not AXE.exists():
        pytest.skip("axe-core is not installed: npm install in web/")
    script.answer = lambda body: (
        "# Court\n\n> the moon\n\n| a | b |\n|---|---|\n| claim | 2 |\n\n[court](https://a.example)\n\n```\ncourt\n```\n"
    )
    page = open_page(color_scheme=scheme, reduced_motion="reduce")
    page.locator(".leaf").first.wait_for()
    found: dict[str, Any] = {}

    def check(place: str) -> None:
        page.evaluate(AXE.read_text())
        result = page.evaluate("axe.run()")
        found[place] = [(rule["id"], [node["html"][:120] for node in rule["nodes"]]) for rule in result["violations"]]

    check("empty")
    ask(page)
    page.locator(".tinted").first.hover()
    page.get_by_role("tooltip").wait_for()
    check("answer")
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Compare").click()
    page.get_by_role("button", name="Answer both").click()
    page.get_by_text("Keep this answer").nth(1).wait_for()
    check("compare")
    page.get_by_role("link", name="Models").click()
    page.locator(".lineage").wait_for()
    check("models")
    page.get_by_role("button", name="Settings").click()
    page.get_by_role("dialog").wait_for()
    check("settings")
    assert {place: rules for place, rules in found.items() if rules} == {}
