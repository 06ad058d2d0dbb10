"""What the tests of the page in a browser share."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

WEB = Path(__file__).parents[2] / "web"
AXE = WEB / "node_modules" / "axe-core" / "axe.min.js"
CHROMIUM = shutil.which("chromium")
PATIENCE_MILLISECONDS = 30_000
"""How long a page may take on a machine that has other work."""
QUESTION = "When does a claim lapse?"
Open = Callable[..., Any]


def violations(page: Any) -> list[tuple[str, list[str]]]:
    """Return which rules of accessibility a page breaks, and where."""
    if not AXE.exists():
        pytest.skip("axe-core is not installed: npm install in web/")
    page.evaluate(AXE.read_text())
    result = page.evaluate("axe.run()")
    return [(rule["id"], [node["html"][:120] for node in rule["nodes"]]) for rule in result["violations"]]


def notify(page: Any, text: str, label: str = "Message") -> None:
    """Send a message."""
    box = page.get_by_label(label, exact=True)
    page.locator(".leaf").first.wait_for()
    box.fill(text)
    box.press("Enter")


def ask(page: Any, text: str = QUESTION) -> None:
    """Say something and wait until it is answered."""
    notify(page, text)
    page.locator(".question:nth-last-child(2)", has_text=text).wait_for()
    page.locator(".answer:last-child .actions").wait_for()
