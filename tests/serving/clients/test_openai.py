"""OpenAI's Python client: its async variant and its streaming helpers."""

import asyncio

import openai

from tests.serving.openai.test_chat import MESSAGES
from tests.serving.openai.test_structured_output import PICK, Fruit


def test_concurrent_requests_get_equal_completions(client: openai.OpenAI) -> None:
    params = {"model": "tiny", "messages": MESSAGES, "temperature": 0, "max_tokens": 12}

    async def ask() -> list[str]:
        async with openai.AsyncOpenAI(base_url=str(client.base_url), api_key="none", max_retries=0) as async_client:

            async def stream() -> str:
                chunks = await async_client.chat.completions.create(**params, stream=True)
                return "".join([chunk.choices[0].delta.content or "" async for chunk in chunks])

            completions = [async_client.chat.completions.create(**params) for _ in range(3)]
            texts, *responses = await asyncio.gather(asyncio.gather(*(stream() for _ in range(3))), *completions)
            return [*texts, *(response.choices[0].message.content for response in responses)]

    assert set(asyncio.run(ask())) == {client.chat.completions.create(**params).choices[0].message.content}


def test_the_streaming_helper_assembles_the_completion(roomy: openai.OpenAI) -> None:
    params = {"model": "roomy", "messages": MESSAGES, "max_tokens": 200, "seed": 1}
    with roomy.chat.completions.stream(**params, response_format=Fruit) as stream:
        event_types = {event.type for event in stream}
        assert stream.get_final_completion().choices[0].message.parsed.kind in ("apple", "pear")
    assert {"chunk", "content.delta", "content.done"} <= event_types
    with roomy.chat.completions.stream(**params, tools=[PICK], tool_choice="required") as stream:
        done = [event for event in stream if event.type == "tool_calls.function.arguments.done"]
    assert [event.name for event in done] == ["pick"]


def test_the_raw_response_has_status_and_content_type(client: openai.OpenAI) -> None:
    response = client.chat.completions.with_raw_response.create(model="tiny", messages=MESSAGES, max_tokens=1)
    assert (response.status_code, response.headers["content-type"]) == (200, "application/json")
    assert response.parse().choices[0].finish_reason == "length"
