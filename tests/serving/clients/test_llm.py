"""The `llm` command: models, chat, stream, JSON schema, tools, and the other two ways to ask."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import openai
import pytest

from baicai.leaves.model import SparseModel
from tests.serving.openai.test_chat import ASK

pytest.importorskip("llm", reason="pip install llm")
MODELS = """
- {{model_id: chat, model_name: tiny, api_base: {tiny}}}
- {{model_id: text, model_name: tiny, api_base: {tiny}, completion: true}}
- {{model_id: response, model_name: tiny, api_base: {tiny}, responses: true}}
- {{model_id: roomy, model_name: roomy, api_base: {roomy}, supports_schema: true, supports_tools: true}}
"""
GREEDY = ("-o", "temperature", "0", "-o", "max_tokens", "12")
Say = Callable[..., str]


@pytest.fixture
def notify(client: openai.OpenAI, roomy: openai.OpenAI, tmp_path: Path) -> Say:
    models = MODELS.format(tiny=client.base_url, roomy=roomy.base_url)
    (tmp_path / "extra-openai-models.yaml").write_text(models)

    def run(*words: str) -> str:
        env = os.environ | {"LLM_USER_PATH": str(tmp_path), "OPENAI_API_KEY": "none"}
        command = [sys.executable, "-m", "llm", *words]
        told = subprocess.run(command, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True)
        assert told.returncode == 0, told.stderr
        return told.stdout.removesuffix("\n")

    return run


def test_the_models_are_listed(notify: Say, client: openai.OpenAI) -> None:
    assert notify("openai", "endpoint", str(client.base_url), "--models").split() == ["tiny"]


@pytest.mark.parametrize("more", [[], ["--no-stream"]], ids=["stream", "whole"])
def test_a_chat_is_the_servers(notify: Say, client: openai.OpenAI, more: list[str]) -> None:
    told = client.chat.completions.create(model="tiny", messages=ASK, temperature=0, max_tokens=12)
    assert notify("-m", "chat", *GREEDY, *more, "apple pear") == told.choices[0].message.content


def test_a_conversation_goes_on(notify: Say, client: openai.OpenAI) -> None:
    first = notify("-m", "chat", *GREEDY, "-s", "of the", "apple pear")
    messages = [{"role": "system", "content": "of the"}, *ASK, {"role": "assistant", "content": first}, *ASK]
    told = client.chat.completions.create(model="tiny", messages=messages, temperature=0, max_tokens=12)
    assert notify("-c", *GREEDY, "apple pear") == told.choices[0].message.content


def test_a_text_is_continued(notify: Say, client: openai.OpenAI) -> None:
    told = client.completions.create(model="tiny", prompt="apple pear", temperature=0, max_tokens=12)
    assert notify("-m", "text", *GREEDY, "apple pear") == told.choices[0].text


def test_a_response_is_the_chats_answer(notify: Say, client: openai.OpenAI) -> None:
    told = client.responses.create(model="tiny", input="apple pear", temperature=0, max_output_tokens=12)
    assert notify("-m", "response", *GREEDY, "apple pear") == told.output_text


def test_an_answer_keeps_to_its_schema(notify: Say, sparse: SparseModel) -> None:
    bias = ("-o", "logit_bias", json.dumps({sparse.tokenizer.encode("}")[0]: 90}))  # no property is added
    told = json.loads(notify("-m", "roomy", *bias, "--schema", "ripe bool, stale bool", "apple"))
    assert {key: type(value) for key, value in told.items()} == {"ripe": bool, "stale": bool}


def test_a_tool_is_called_and_heard_of(notify: Say, sparse: SparseModel) -> None:
    opening, closing = sparse.tokenizer.encode("{}")
    code = "def ripe(yes: bool) -> str:\n    return f'ripe is {yes}'\n"
    bias = ("-o", "logit_bias", json.dumps({opening: 100, closing: 90}))  # whatever it hears, it calls again
    with pytest.raises(AssertionError, match="Chain limit of 3 exceeded") as told:
        notify("-m", "roomy", *bias, "--functions", code, "--tools-debug", "--chain-limit", "3", "apple")
    assert len(re.findall(r"Tool call: ripe\(\{'yes': (True|False)\}\)\n\s+ripe is \1", str(told.value))) == 2
