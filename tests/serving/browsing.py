"""Shared helpers of the browser tests."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

WEB = Path(__file__).parents[2] / "web"
AXE = WEB / "node_modules" / "axe-core" / "axe.min.js"
CHROMIUM = shutil.which("chromium")
TIMEOUT_MILLISECONDS = 30_000
"""Generous, because the machine may be busy."""
QUESTION = "When does a claim lapse?"
Open = Callable[..., Any]


def accessibility_violations(page: Any) -> list[tuple[str, list[str]]]:
    """Return the accessibility rules that a page breaks, with the offending nodes."""
    if not AXE.exists():
        pytest.skip("axe-core is not installed: npm install in web/")
    page.evaluate(AXE.read_text())
    result = page.evaluate("axe.run()")
    return [(rule["id"], [node["html"][:120] for node in rule["nodes"]]) for rule in result["violations"]]


def send_message(page: Any, text: str, label: str = "Message") -> None:
    """Type a message into the page and send it."""
    box = page.get_by_label(label, exact=True)
    page.locator(".leaf").first.wait_for()
    box.fill(text)
    box.press("Enter")


def ask(page: Any, text: str = QUESTION) -> None:
    """Send a message and wait until it is answered."""
    send_message(page, text)
    page.locator(".question:nth-last-child(2)", has_text=text).wait_for()
    page.locator(".answer:last-child .actions").wait_for()
