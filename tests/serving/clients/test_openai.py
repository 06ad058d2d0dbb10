"""OpenAI's Python client where other tests do not use it: async, and with its helpers."""

import asyncio

import openai

from tests.serving.openai.test_chat import ASK
from tests.serving.openai.test_structured_output import PICK, Fruit


def test_many_are_answered_at_once(client: openai.OpenAI) -> None:
    asked = {"model": "tiny", "messages": ASK, "temperature": 0, "max_tokens": 12}

    async def ask() -> list[str]:
        async with openai.AsyncOpenAI(base_url=str(client.base_url), api_key="none", max_retries=0) as made:

            async def stream() -> str:
                chunks = await made.chat.completions.create(**asked, stream=True)
                return "".join([chunk.choices[0].delta.content or "" async for chunk in chunks])

            whole = [made.chat.completions.create(**asked) for _ in range(3)]
            texts, *answers = await asyncio.gather(asyncio.gather(*(stream() for _ in range(3))), *whole)
            return [*texts, *(answer.choices[0].message.content for answer in answers)]

    assert set(asyncio.run(ask())) == {client.chat.completions.create(**asked).choices[0].message.content}


def test_the_helper_puts_a_stream_together(roomy: openai.OpenAI) -> None:
    asked = {"model": "roomy", "messages": ASK, "max_tokens": 200, "seed": 1}
    with roomy.chat.completions.stream(**asked, response_format=Fruit) as stream:
        kinds = {event.type for event in stream}
        assert stream.get_final_completion().choices[0].message.parsed.kind in ("apple", "pear")
    assert {"chunk", "content.delta", "content.done"} <= kinds
    with roomy.chat.completions.stream(**asked, tools=[PICK], tool_choice="required") as stream:
        done = [event for event in stream if event.type == "tool_calls.function.arguments.done"]
    assert [event.name for event in done] == ["pick"]


def test_who_asks_sees_the_status_and_the_type(client: openai.OpenAI) -> None:
    told = client.chat.completions.with_raw_response.create(model="tiny", messages=ASK, max_tokens=1)
    assert (told.status_code, told.headers["content-type"]) == (200, "application/json")
    assert told.parse().choices[0].finish_reason == "length"
