"""The `llm` command: models, chat, streaming, JSON Schema, tools, completions and responses."""

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
from tests.serving.openai.test_chat import MESSAGES

pytest.importorskip("llm", reason="pip install llm")
MODELS = """
- {{model_id: chat, model_name: tiny, api_base: {tiny}}}
- {{model_id: text, model_name: tiny, api_base: {tiny}, completion: true}}
- {{model_id: response, model_name: tiny, api_base: {tiny}, responses: true}}
- {{model_id: roomy, model_name: roomy, api_base: {roomy}, supports_schema: true, supports_tools: true}}
"""
GREEDY = ("-o", "temperature", "0", "-o", "max_tokens", "12")
RunLlm = Callable[..., str]


@pytest.fixture
def run_llm(client: openai.OpenAI, roomy: openai.OpenAI, tmp_path: Path) -> RunLlm:
    models = MODELS.format(tiny=client.base_url, roomy=roomy.base_url)
    (tmp_path / "extra-openai-models.yaml").write_text(models)

    def run(*arguments: str) -> str:
        env = os.environ | {"LLM_USER_PATH": str(tmp_path), "OPENAI_API_KEY": "none"}
        command = [sys.executable, "-m", "llm", *arguments]
        result = subprocess.run(command, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True)
        assert result.returncode == 0, result.stderr
        return result.stdout.removesuffix("\n")

    return run


def test_the_models_are_listed(run_llm: RunLlm, client: openai.OpenAI) -> None:
    assert run_llm("openai", "endpoint", str(client.base_url), "--models").split() == ["tiny"]


@pytest.mark.parametrize("options", [[], ["--no-stream"]], ids=["stream", "whole"])
def test_a_chat_matches_the_server(run_llm: RunLlm, client: openai.OpenAI, options: list[str]) -> None:
    response = client.chat.completions.create(model="tiny", messages=MESSAGES, temperature=0, max_tokens=12)
    assert run_llm("-m", "chat", *GREEDY, *options, "apple pear") == response.choices[0].message.content


def test_a_conversation_is_continued(run_llm: RunLlm, client: openai.OpenAI) -> None:
    first = run_llm("-m", "chat", *GREEDY, "-s", "of the", "apple pear")
    messages = [{"role": "system", "content": "of the"}, *MESSAGES, {"role": "assistant", "content": first}, *MESSAGES]
    response = client.chat.completions.create(model="tiny", messages=messages, temperature=0, max_tokens=12)
    assert run_llm("-c", *GREEDY, "apple pear") == response.choices[0].message.content


def test_a_text_completion_matches_the_server(run_llm: RunLlm, client: openai.OpenAI) -> None:
    response = client.completions.create(model="tiny", prompt="apple pear", temperature=0, max_tokens=12)
    assert run_llm("-m", "text", *GREEDY, "apple pear") == response.choices[0].text


def test_the_responses_api_matches_the_server(run_llm: RunLlm, client: openai.OpenAI) -> None:
    response = client.responses.create(model="tiny", input="apple pear", temperature=0, max_output_tokens=12)
    assert run_llm("-m", "response", *GREEDY, "apple pear") == response.output_text


def test_a_completion_matches_its_schema(run_llm: RunLlm, sparse: SparseModel) -> None:
    bias = ("-o", "logit_bias", json.dumps({sparse.tokenizer.encode("}")[0]: 90}))  # so that no property is added
    fruit = json.loads(run_llm("-m", "roomy", *bias, "--schema", "ripe bool, stale bool", "apple"))
    assert {key: type(value) for key, value in fruit.items()} == {"ripe": bool, "stale": bool}


def test_a_tool_is_called_and_its_result_read(run_llm: RunLlm, sparse: SparseModel) -> None:
    opening, closing = sparse.tokenizer.encode("{}")
    code = "def ripe(yes: bool) -> str:\n    return f'ripe is {yes}'\n"
    bias = ("-o", "logit_bias", json.dumps({opening: 100, closing: 90}))  # so that it calls the tool again and again
    with pytest.raises(AssertionError, match="Chain limit of 3 exceeded") as raised:
        run_llm("-m", "roomy", *bias, "--functions", code, "--tools-debug", "--chain-limit", "3", "apple")
    assert len(re.findall(r"Tool call: ripe\(\{'yes': (True|False)\}\)\n\s+ripe is \1", str(raised.value))) == 2
