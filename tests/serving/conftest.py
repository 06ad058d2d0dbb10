"""A served model, and the page in a browser."""

import dataclasses
from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest

from baicai.leaves.model import SparseModel, open_model
from baicai.model.layers import Rotary
from baicai.serving.config import ServeRecipe
from baicai.serving.engine.describe_model import describe_model
from baicai.serving.served_model import ServedModel
from tests import loopback
from tests.conftest import SIZES, Workshop
from tests.serving.browsing import CHROMIUM, TIMEOUT_MILLISECONDS, Open
from tests.serving.fake import Script
from tests.serving.servers import ThreadEngine, serving


@pytest.fixture(scope="session")
def sparse(workshop: Workshop) -> SparseModel:
    return open_model(workshop.path("model"))


@pytest.fixture(scope="session")
def engine(sparse: SparseModel) -> Iterator[ThreadEngine]:
    created = ThreadEngine(sparse)
    yield created
    created.close()


@pytest.fixture(scope="session")
def served(sparse: SparseModel, engine: ThreadEngine) -> ServedModel:
    return ServedModel.from_info("tiny", engine, describe_model(sparse))


@pytest.fixture(scope="session")
def address(served: ServedModel) -> Iterator[str]:
    with serving(ServeRecipe(model="tiny", max_completions_per_request=16), [served]) as address:
        yield address


@pytest.fixture(scope="session")
def client(address: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0) as created:
        yield created


@pytest.fixture(scope="session")
def web(address: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=address, timeout=120) as created:
        yield created


@pytest.fixture(scope="session")
def roomy(workshop: Workshop) -> Iterator[openai.OpenAI]:
    """A client of a model with a long context, whose weights are trained on short texts only."""
    sparse = open_model(workshop.path("model"))
    config = sparse.network.config = dataclasses.replace(sparse.network.config, max_tokens=1024)
    sparse.network.rotary = Rotary(SIZES.attention.head_dim, config.max_tokens, config.rope_theta)
    engine = ThreadEngine(sparse)
    served = ServedModel.from_info("roomy", engine, describe_model(sparse))
    try:
        with (
            serving(ServeRecipe(model="roomy"), [served]) as address,
            openai.OpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0) as created,
        ):
            yield created
    finally:
        engine.close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A browser. While it is open, its driver's event loop runs in this thread, so that no other loop can."""
    api = pytest.importorskip("playwright.sync_api", reason="pip install playwright drives the browser")
    if not CHROMIUM:
        pytest.skip("no chromium on this machine")
    with api.sync_playwright() as playwright:
        yield playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])


@pytest.fixture
def script() -> Script:
    return Script()


@pytest.fixture
def open_page(browser: Any, script: Script) -> Iterator[Open]:
    """Open the page in a browser that has never seen it; nothing it does may break a rule of its server."""
    wrong: list[str] = []
    contexts = []
    with loopback.serving(script.app()) as url:

        def open_(at: str = "", *, width: int = 1280, height: int = 800, **options: Any) -> Any:
            viewport = {"width": width, "height": height}
            contexts.append(browser.new_context(viewport=viewport, **({"locale": "en-GB"} | options)))
            page = contexts[-1].new_page()
            page.set_default_timeout(TIMEOUT_MILLISECONDS)
            page.on("pageerror", lambda error: wrong.append(str(error)))
            page.on("console", lambda line: wrong.append(line.text) if "Content Security" in line.text else None)
            page.goto(url + "/" + at)
            return page

        yield open_
        for context in contexts:
            context.close()
    assert wrong == []
