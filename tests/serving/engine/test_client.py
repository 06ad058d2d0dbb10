"""The engine in a process of its own."""

import asyncio
import errno
import json
import os
import signal
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

import llguidance
import pytest

from baicai.errors import ArtefactError, BaicaiError, ConfigError, MachineError
from baicai.inference.decoder import CompiledDecoder
from baicai.inference.generate import SamplingConfig, generate
from baicai.leaves.model import open_model
from baicai.serving.engine.client import EngineClient, EngineOptions, EngineStoppedError, QueueFullError
from baicai.serving.engine.events import EngineEvent, Finished, PromptEmbedding, PromptStarted, Token
from baicai.serving.engine.generation_request import GenerationRequest
from baicai.serving.engine.scheduler import Engine
from tests.conftest import Workshop

PROMPT = "apple pear plum"
MULTIPLE = {"type": "integer", "minimum": 1, "maximum": 10**18, "multipleOf": 999_999_937}
HEAVY = json.dumps({"grammars": [{"json_schema": MULTIPLE}]})
"""A grammar that passes validation, but exceeds the limits of every matcher."""


def with_client(workshop: Workshop, act: Callable[[EngineClient], Awaitable[None]], **options: int) -> None:
    async def run() -> None:
        client = EngineClient(EngineOptions(model=workshop.path("model"), threads=1, **options))  # type: ignore[arg-type]
        await client.start()
        try:
            await act(client)
        finally:
            await client.close()

    asyncio.run(asyncio.wait_for(run(), 120))


async def collect(answer: AsyncIterator[Sequence[EngineEvent]]) -> tuple[list[int], str]:
    ids = []
    async for events in answer:
        for event in events:
            if isinstance(event, Finished):
                return ids, event.reason
            if isinstance(event, Token):
                ids.append(event.id)
    raise AssertionError("the request did not finish")


def make_request(workshop: Workshop, **changes: Any) -> GenerationRequest:
    model = open_model(workshop.path("model"))
    event: dict[str, object] = {
        "prompt_token_ids": model.tokenizer.encode(PROMPT),
        "leaves": list(model.leaves),
        "max_tokens": 20,
    }
    return GenerationRequest(**(event | changes))  # type: ignore[arg-type]


def test_concurrent_requests_match_single_requests(workshop: Workshop) -> None:
    model = open_model(workshop.path("model"))
    leaf_sets = [[], ["fruit"]]
    requests = [make_request(workshop, temperature=0.8, seed=seed, leaves=leaf_sets[seed % 2]) for seed in range(6)]
    expected = []
    for request in requests:
        sampling = SamplingConfig(temperature=0.8, top_p=1.0, seed=request.seed, max_tokens=20)
        expected.append(
            [t.id for t in generate(CompiledDecoder(model.network, request.leaves), request.prompt_token_ids, sampling)]
        )

    async def act(client: EngineClient) -> None:
        received = await asyncio.gather(*(collect(client.generate(request)) for request in requests))
        assert received == [(ids, "length") for ids in expected]
        assert client.info.card["hash"] == model.hash
        assert {leaf["name"] for leaf in client.info.card["leaves"]} == {"fruit", "metal"}

    with_client(workshop, act)


def test_an_embedding_survives_the_transport(workshop: Workshop) -> None:
    engine, event = Engine(open_model(workshop.path("model")).network, max_sequences=1), list[EngineEvent]()
    requests = make_request(workshop, max_tokens=0, embed=True)
    engine.submit(requests, event.append)
    engine.step()

    async def act(client: EngineClient) -> None:
        received = [request async for events in client.generate(requests) for request in events]
        assert list(map(type, received)) == list(map(type, event)) == [PromptStarted, PromptEmbedding, Finished]
        assert received[1][0] == pytest.approx(event[1][0], abs=1e-6)

    with_client(workshop, act)


def test_closing_the_stream_cancels_the_request(workshop: Workshop) -> None:
    async def act(client: EngineClient) -> None:
        answer = client.generate(make_request(workshop, max_tokens=40))
        await anext(answer)
        await answer.aclose()
        await collect(client.generate(make_request(workshop, max_tokens=2)))
        assert client.status == {"running": 0, "waiting": 0}

    with_client(workshop, act)


def test_a_killed_engine_restarts_and_pending_requests_fail(workshop: Workshop) -> None:
    async def act(client: EngineClient) -> None:
        before, _ = await collect(client.generate(make_request(workshop)))
        assert client._process is not None
        os.kill(client._process.pid, signal.SIGSTOP)  # or it would be done before it is killed
        answers = [asyncio.create_task(collect(client.generate(make_request(workshop)))) for _ in range(3)]
        await asyncio.sleep(0)
        client.status = {"running": 3, "waiting": 0}
        os.kill(client._process.pid, signal.SIGKILL)
        for answer in answers:
            with pytest.raises(EngineStoppedError, match="the engine stopped while generating: try again"):
                await answer
        assert not client.ready
        assert client.status == {"running": 0, "waiting": 0}
        with pytest.raises(EngineStoppedError, match="the engine is restarting"):
            await collect(client.generate(make_request(workshop)))
        await client._ready.wait()
        assert client.ready
        assert await collect(client.generate(make_request(workshop))) == (before, "length")

    with_client(workshop, act)


def test_errors_reach_the_client(workshop: Workshop) -> None:
    async def act(client: EngineClient) -> None:
        for changes, message in (
            ({"prompt_token_ids": [0] * 64}, "the prompt has 64 tokens, this model takes 1 to 63"),
            ({"leaves": ["law"]}, "unknown leaf 'law'"),
            ({"grammar": "{"}, "the grammar cannot be used"),
            ({"grammar": HEAVY}, "the grammar cannot be used: fuel exhausted"),
            ({"temperature": -1.0}, "temperature"),
        ):
            with pytest.raises(ConfigError, match=message):
                await collect(client.generate(make_request(workshop, **changes)))
        with pytest.raises(QueueFullError, match="1 requests are already waiting"):
            await asyncio.gather(*(collect(client.generate(make_request(workshop, max_tokens=30))) for _ in range(8)))

    with_client(workshop, act, max_sequences=1, max_waiting=1)


def test_a_failed_restart_is_retried(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    popen, tries = subprocess.Popen, list[object]()

    def start(*command: object, **options: object) -> object:
        tries.append(command)
        if len(tries) < 3:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return popen(*command, **options)  # type: ignore[call-overload]

    async def act(client: EngineClient) -> None:
        assert client._process is not None
        monkeypatch.setattr(subprocess, "Popen", start)
        os.kill(client._process.pid, signal.SIGKILL)
        while not tries:
            await asyncio.sleep(0.01)
        with pytest.raises(MachineError, match=r"the engine's process cannot be started: Too many open files"):
            await EngineClient(client.options).start()
        await client._ready.wait()
        assert (await collect(client.generate(make_request(workshop))))[1] == "length"

    with_client(workshop, act)


def test_a_missing_model_is_reported(workshop: Workshop) -> None:
    async def run() -> None:
        with pytest.raises((MachineError, ArtefactError, BaicaiError), match="does not exist"):
            await EngineClient(EngineOptions(model=workshop.path("nothing"))).start()

    asyncio.run(run())


def test_a_completion_follows_its_grammar(workshop: Workshop) -> None:
    number = {"n": {"enum": [1, 22]}}
    schema = {"type": "object", "properties": number, "required": ["n"], "additionalProperties": False}
    compact = {"whitespace_flexible": False}
    grammar = llguidance.LLMatcher.grammar_from_json_schema(json.dumps(schema), overrides=compact)
    tokenizer = open_model(workshop.path("model")).tokenizer
    changes = {"grammar": grammar, "temperature": 1.0, "stop_token_ids": tokenizer.stop_ids}

    async def act(client: EngineClient) -> None:
        for seed in range(3):
            ids, reason = await collect(client.generate(make_request(workshop, **changes, seed=seed)))
            assert reason == "stop"
            assert json.loads(tokenizer.decode(ids))["n"] in (1, 22)

    with_client(workshop, act)
