"""LangChain's ChatOpenAI: chat, streaming, tools, JSON Schema and log-probabilities."""

from collections.abc import Iterator
from typing import Any

import openai
import pytest
from pydantic import BaseModel, ConfigDict, Field

from tests.serving.openai.test_chat import MESSAGES

langchain = pytest.importorskip("langchain_openai", reason="pip install langchain-openai")


class Pick(BaseModel):
    """Pick a fruit."""

    model_config = ConfigDict(extra="forbid")  # else a model of random words may add keys until it is cut off

    kind: str = Field(pattern="^(apple|pear)$")
    ripe: bool


@pytest.fixture
def connection() -> Iterator[openai.DefaultHttpxClient]:
    """An HTTP client that is closed afterwards: LangChain closes none."""
    with openai.DefaultHttpxClient() as http_client:
        yield http_client


@pytest.fixture
def chat(client: openai.OpenAI, connection: openai.DefaultHttpxClient) -> Any:
    server = {"base_url": str(client.base_url), "api_key": "none", "http_client": connection}
    return langchain.ChatOpenAI(model="tiny", temperature=0, max_tokens=12, **server)


@pytest.fixture
def roomy_chat(roomy: openai.OpenAI, connection: openai.DefaultHttpxClient) -> Any:
    server = {"base_url": str(roomy.base_url), "api_key": "none", "http_client": connection}
    return langchain.ChatOpenAI(model="roomy", seed=1, max_tokens=200, **server)


def test_a_completion_matches_the_server(chat: Any, client: openai.OpenAI) -> None:
    response = chat.invoke("apple pear")
    expected = client.chat.completions.create(model="tiny", messages=MESSAGES, temperature=0, max_tokens=12)
    assert response.content == expected.choices[0].message.content
    assert response.response_metadata["finish_reason"] == "length"
    assert response.usage_metadata["input_tokens"] == expected.usage.prompt_tokens
    assert response.usage_metadata["output_tokens"] == 12


def test_a_stream_adds_up_to_the_completion(chat: Any) -> None:
    merged, *parts = list(chat.stream("apple pear", stream_usage=True))
    assert len(parts) > 2
    for part in parts:
        merged += part
    assert merged.content == chat.invoke("apple pear").content
    assert merged.usage_metadata["output_tokens"] == 12


def test_a_conversation_is_continued(chat: Any) -> None:
    messages = [("system", "of the"), ("human", "apple"), ("ai", "pear"), ("human", "plum")]
    assert chat.invoke(messages).content
    assert len(chat.batch(["apple", "pear"])) == 2


def test_logprobs_are_returned(chat: Any) -> None:
    response = chat.bind(logprobs=True, top_logprobs=2).invoke("apple pear")
    tokens = response.response_metadata["logprobs"]["content"]
    assert b"".join(bytes(token["bytes"]) for token in tokens).decode() == response.content
    assert all(len(token["top_logprobs"]) == 2 for token in tokens)


def test_a_tool_is_called_and_its_result_read(roomy_chat: Any) -> None:
    bound = roomy_chat.bind_tools([Pick], tool_choice="required")
    response = bound.invoke("apple")
    (call,) = response.tool_calls
    assert call["name"] == "Pick"
    assert Pick.model_validate(call["args"])
    merged, *parts = list(bound.stream("apple"))
    for part in parts:
        merged += part
    assert merged.tool_calls[0]["args"] == call["args"]
    history = [("human", "apple"), response, {"role": "tool", "content": "pear", "tool_call_id": call["id"]}]
    assert not roomy_chat.bind_tools([Pick], tool_choice="none").invoke(history).tool_calls


@pytest.mark.parametrize("method", ["json_schema", "function_calling"])
def test_structured_output_matches_the_schema(roomy_chat: Any, method: str) -> None:
    response = roomy_chat.with_structured_output(Pick, method=method).invoke("apple")
    assert isinstance(response, Pick)


def test_a_plain_json_schema_is_supported(roomy_chat: Any) -> None:
    structured = roomy_chat.with_structured_output(Pick.model_json_schema(), method="json_schema", strict=True)
    assert structured.invoke("apple")["kind"] in ("apple", "pear")


def test_the_responses_api_gives_the_same_completion(chat: Any, client: openai.OpenAI) -> None:
    responses_chat = langchain.ChatOpenAI(
        model="tiny",
        base_url=str(client.base_url),
        api_key="none",
        temperature=0,
        max_tokens=20,
        use_responses_api=True,
    )
    response = responses_chat.invoke("apple pear")
    assert response.text == chat.bind(max_tokens=20).invoke("apple pear").content
    assert "".join(part.text for part in responses_chat.stream("apple pear")) == response.text


def test_an_error_names_its_parameter(chat: Any) -> None:
    with pytest.raises(openai.BadRequestError) as raised:
        chat.bind(n=0).invoke("apple")
    assert raised.value.param == "n"


def test_embeddings_match_the_server(client: openai.OpenAI, connection: openai.DefaultHttpxClient) -> None:
    server = {"base_url": str(client.base_url), "api_key": "none", "http_client": connection}
    embedder = langchain.OpenAIEmbeddings(model="tiny", check_embedding_ctx_length=False, **server)
    texts = ["apple pear", "iron zinc copper"]
    vectors = embedder.embed_documents(texts)
    expected = client.embeddings.create(model="tiny", input=texts, encoding_format="float")
    assert vectors == [pytest.approx(item.embedding, abs=1e-6) for item in expected.data]
    assert embedder.embed_query(texts[1]) == pytest.approx(vectors[1], abs=1e-6)
