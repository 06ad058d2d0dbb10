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
"""What validation lets through, and no matcher can follow."""


def with_worker(workshop: Workshop, act: Callable[[EngineClient], Awaitable[None]], **options: int) -> None:
    async def run() -> None:
        worker = EngineClient(EngineOptions(model=workshop.path("model"), threads=1, **options))  # type: ignore[arg-type]
        await worker.start()
        try:
            await act(worker)
        finally:
            await worker.close()

    asyncio.run(asyncio.wait_for(run(), 120))


async def collect(answer: AsyncIterator[Sequence[EngineEvent]]) -> tuple[list[int], str]:
    ids = []
    async for news in answer:
        for told in news:
            if isinstance(told, Finished):
                return ids, told.reason
            if isinstance(told, Token):
                ids.append(told.id)
    raise AssertionError("it did not end")


def ask(workshop: Workshop, **changes: Any) -> GenerationRequest:
    model = open_model(workshop.path("model"))
    told: dict[str, object] = {
        "prompt_token_ids": model.tokenizer.encode(PROMPT),
        "leaves": list(model.leaves),
        "max_tokens": 20,
    }
    return GenerationRequest(**(told | changes))  # type: ignore[arg-type]


def test_many_ask_at_once_and_get_what_each_gets_alone(workshop: Workshop) -> None:
    model = open_model(workshop.path("model"))
    asked = [ask(workshop, temperature=0.8, seed=seed, leaves=["fruit"] if seed % 2 else []) for seed in range(6)]
    expected = []
    for one in asked:
        sampling = SamplingConfig(temperature=0.8, top_p=1.0, seed=one.seed, max_tokens=20)
        expected.append(
            [t.id for t in generate(CompiledDecoder(model.network, one.leaves), one.prompt_token_ids, sampling)]
        )

    async def act(worker: EngineClient) -> None:
        found = await asyncio.gather(*(collect(worker.generate(one)) for one in asked))
        assert found == [(ids, "length") for ids in expected]
        assert worker.info.card["hash"] == model.hash
        assert {leaf["name"] for leaf in worker.info.card["leaves"]} == {"fruit", "metal"}

    with_worker(workshop, act)


def test_an_embedding_comes_over_as_it_was_made(workshop: Workshop) -> None:
    engine, told = Engine(open_model(workshop.path("model")).network, max_sequences=1), list[EngineEvent]()
    asked = ask(workshop, max_tokens=0, embed=True)
    engine.submit(asked, told.append)
    engine.step()

    async def act(worker: EngineClient) -> None:
        found = [one async for news in worker.generate(asked) for one in news]
        assert list(map(type, found)) == list(map(type, told)) == [PromptStarted, PromptEmbedding, Finished]
        assert found[1][0] == pytest.approx(told[1][0], abs=1e-6)

    with_worker(workshop, act)


def test_who_stops_listening_stops_the_answer(workshop: Workshop) -> None:
    async def act(worker: EngineClient) -> None:
        answer = worker.generate(ask(workshop, max_tokens=40))
        await anext(answer)
        await answer.aclose()
        await collect(worker.generate(ask(workshop, max_tokens=2)))
        assert worker.status == {"running": 0, "waiting": 0}

    with_worker(workshop, act)


def test_an_engine_that_is_killed_comes_back_and_nobody_waits_for_ever(workshop: Workshop) -> None:
    async def act(worker: EngineClient) -> None:
        before, _ = await collect(worker.generate(ask(workshop)))
        assert worker._process is not None
        os.kill(worker._process.pid, signal.SIGSTOP)  # or it would be done before it is killed
        answers = [asyncio.create_task(collect(worker.generate(ask(workshop)))) for _ in range(3)]
        await asyncio.sleep(0)
        worker.status = {"running": 3, "waiting": 0}
        os.kill(worker._process.pid, signal.SIGKILL)
        for answer in answers:
            with pytest.raises(EngineStoppedError, match="the engine stopped while generating: try again"):
                await answer
        assert not worker.ready
        assert worker.status == {"running": 0, "waiting": 0}
        with pytest.raises(EngineStoppedError, match="the engine is restarting"):
            await collect(worker.generate(ask(workshop)))
        await worker._ready.wait()
        assert worker.ready
        assert await collect(worker.generate(ask(workshop))) == (before, "length")

    with_worker(workshop, act)


def test_what_is_wrong_is_told(workshop: Workshop) -> None:
    async def act(worker: EngineClient) -> None:
        for changes, message in (
            ({"prompt_token_ids": [0] * 64}, "the prompt has 64 tokens, this model takes 1 to 63"),
            ({"leaves": ["law"]}, "unknown leaf 'law'"),
            ({"grammar": "{"}, "the grammar cannot be used"),
            ({"grammar": HEAVY}, "the grammar cannot be used: fuel exhausted"),
            ({"temperature": -1.0}, "temperature"),
        ):
            with pytest.raises(ConfigError, match=message):
                await collect(worker.generate(ask(workshop, **changes)))
        with pytest.raises(QueueFullError, match="1 requests are already waiting"):
            await asyncio.gather(*(collect(worker.generate(ask(workshop, max_tokens=30))) for _ in range(8)))

    with_worker(workshop, act, max_sequences=1, max_waiting=1)


def test_an_engine_that_cannot_be_started_again_is_tried_again(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    popen, tries = subprocess.Popen, list[object]()

    def start(*command: object, **options: object) -> object:
        tries.append(command)
        if len(tries) < 3:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return popen(*command, **options)  # type: ignore[call-overload]

    async def act(worker: EngineClient) -> None:
        assert worker._process is not None
        monkeypatch.setattr(subprocess, "Popen", start)
        os.kill(worker._process.pid, signal.SIGKILL)
        while not tries:
            await asyncio.sleep(0.01)
        with pytest.raises(MachineError, match=r"the engine's process cannot be started: Too many open files"):
            await EngineClient(worker.options).start()
        await worker._ready.wait()
        assert (await collect(worker.generate(ask(workshop))))[1] == "length"

    with_worker(workshop, act)


def test_a_model_that_is_not_there_is_told(workshop: Workshop) -> None:
    async def run() -> None:
        with pytest.raises((MachineError, ArtefactError, BaicaiError), match="does not exist"):
            await EngineClient(EngineOptions(model=workshop.path("nothing"))).start()

    asyncio.run(run())


def test_an_answer_keeps_to_its_grammar(workshop: Workshop) -> None:
    number = {"n": {"enum": [1, 22]}}
    schema = {"type": "object", "properties": number, "required": ["n"], "additionalProperties": False}
    compact = {"whitespace_flexible": False}
    grammar = llguidance.LLMatcher.grammar_from_json_schema(json.dumps(schema), overrides=compact)
    tokenizer = open_model(workshop.path("model")).tokenizer
    changes = {"grammar": grammar, "temperature": 1.0, "stop_token_ids": tokenizer.stop_ids}

    async def act(worker: EngineClient) -> None:
        for seed in range(3):
            ids, reason = await collect(worker.generate(ask(workshop, **changes, seed=seed)))
            assert reason == "stop"
            assert json.loads(tokenizer.decode(ids))["n"] in (1, 22)

    with_worker(workshop, act)
