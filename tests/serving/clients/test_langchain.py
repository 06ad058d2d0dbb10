"""LangChain's ChatOpenAI: chat, stream, tools, JSON schema and log-probabilities."""

from collections.abc import Iterator
from typing import Any

import openai
import pytest
from pydantic import BaseModel, Field

from tests.serving.openai.test_chat import ASK

langchain = pytest.importorskip("langchain_openai", reason="pip install langchain-openai")


class Pick(BaseModel):
    """Pick a fruit."""

    kind: str = Field(pattern="^(apple|pear)$")
    ripe: bool


@pytest.fixture
def connection() -> Iterator[openai.DefaultHttpxClient]:
    """One that is closed: LangChain closes none."""
    with openai.DefaultHttpxClient() as made:
        yield made


@pytest.fixture
def chat(client: openai.OpenAI, connection: openai.DefaultHttpxClient) -> Any:
    server = {"base_url": str(client.base_url), "api_key": "none", "http_client": connection}
    return langchain.ChatOpenAI(model="tiny", temperature=0, max_tokens=12, **server)


@pytest.fixture
def roomy_chat(roomy: openai.OpenAI, connection: openai.DefaultHttpxClient) -> Any:
    server = {"base_url": str(roomy.base_url), "api_key": "none", "http_client": connection}
    return langchain.ChatOpenAI(model="roomy", seed=1, max_tokens=200, **server)


def test_an_answer_is_the_servers(chat: Any, client: openai.OpenAI) -> None:
    told = chat.invoke("apple pear")
    expected = client.chat.completions.create(model="tiny", messages=ASK, temperature=0, max_tokens=12)
    assert told.content == expected.choices[0].message.content
    assert told.response_metadata["finish_reason"] == "length"
    assert told.usage_metadata["input_tokens"] == expected.usage.prompt_tokens
    assert told.usage_metadata["output_tokens"] == 12


def test_a_stream_adds_up_to_the_answer(chat: Any) -> None:
    whole, *parts = list(chat.stream("apple pear", stream_usage=True))
    assert len(parts) > 2
    for part in parts:
        whole += part
    assert whole.content == chat.invoke("apple pear").content
    assert whole.usage_metadata["output_tokens"] == 12


def test_a_conversation_goes_on(chat: Any) -> None:
    messages = [("system", "of the"), ("human", "apple"), ("ai", "pear"), ("human", "plum")]
    assert chat.invoke(messages).content
    assert len(chat.batch(["apple", "pear"])) == 2


def test_log_probabilities_are_told(chat: Any) -> None:
    told = chat.bind(logprobs=True, top_logprobs=2).invoke("apple pear")
    tokens = told.response_metadata["logprobs"]["content"]
    assert b"".join(bytes(token["bytes"]) for token in tokens).decode() == told.content
    assert all(len(token["top_logprobs"]) == 2 for token in tokens)


def test_a_tool_is_called_and_heard_of(roomy_chat: Any) -> None:
    bound = roomy_chat.bind_tools([Pick], tool_choice="required")
    told = bound.invoke("apple")
    (call,) = told.tool_calls
    assert call["name"] == "Pick"
    assert Pick.model_validate(call["args"])
    whole, *parts = list(bound.stream("apple"))
    for part in parts:
        whole += part
    assert whole.tool_calls[0]["args"] == call["args"]
    heard = [("human", "apple"), told, {"role": "tool", "content": "pear", "tool_call_id": call["id"]}]
    assert not roomy_chat.bind_tools([Pick], tool_choice="none").invoke(heard).tool_calls


@pytest.mark.parametrize("method", ["json_schema", "function_calling"])
def test_an_answer_has_the_wanted_shape(roomy_chat: Any, method: str) -> None:
    told = roomy_chat.with_structured_output(Pick, method=method).invoke("apple")
    assert isinstance(told, Pick)


def test_any_json_has_a_shape_too(roomy_chat: Any) -> None:
    told = roomy_chat.with_structured_output(Pick.model_json_schema(), method="json_schema", strict=True)
    assert told.invoke("apple")["kind"] in ("apple", "pear")


def test_a_response_is_the_same_answer(chat: Any, client: openai.OpenAI) -> None:
    asked = langchain.ChatOpenAI(
        model="tiny",
        base_url=str(client.base_url),
        api_key="none",
        temperature=0,
        max_tokens=20,
        use_responses_api=True,
    )
    told = asked.invoke("apple pear")
    assert told.text == chat.bind(max_tokens=20).invoke("apple pear").content
    assert "".join(part.text for part in asked.stream("apple pear")) == told.text


def test_a_refusal_has_its_parameter(chat: Any) -> None:
    with pytest.raises(openai.BadRequestError) as told:
        chat.bind(n=0).invoke("apple")
    assert told.value.param == "n"


def test_texts_have_the_servers_embeddings(client: openai.OpenAI, connection: openai.DefaultHttpxClient) -> None:
    server = {"base_url": str(client.base_url), "api_key": "none", "http_client": connection}
    made = langchain.OpenAIEmbeddings(model="tiny", check_embedding_ctx_length=False, **server)
    texts = ["apple pear", "iron zinc copper"]
    found = made.embed_documents(texts)
    expected = client.embeddings.create(model="tiny", input=texts, encoding_format="float")
    assert found == [pytest.approx(one.embedding, abs=1e-6) for one in expected.data]
    assert made.embed_query(texts[1]) == pytest.approx(found[1], abs=1e-6)
