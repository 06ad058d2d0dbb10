"""A conversation of two thousand messages in a real browser stays usable."""

from collections.abc import Callable

from tests.serving.browsing import Open, ask
from tests.serving.fake import Script

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
