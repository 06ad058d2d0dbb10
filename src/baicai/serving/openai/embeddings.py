"""Answers of `/v1/embeddings`."""

from base64 import b64encode
from collections.abc import AsyncGenerator
from contextlib import aclosing

import numpy as np

from baicai.serving.engine.events import PromptEmbedding
from baicai.serving.openai.preprocessing import Plan
from baicai.serving.openai.requests import EmbeddingRequest
from baicai.serving.openai.streaming import Values, costs, merged


async def embeddings(plan: Plan, request: EmbeddingRequest) -> AsyncGenerator[Values, None]:
    """Yield each embedding as soon as it is there, and last of all what they took."""
    async with aclosing(merged([plan.served.engine.generate(ask) for ask in plan.asks])) as events:
        async for number, news in events:
            for told in (one for one in news if isinstance(one, PromptEmbedding)):
                values = np.array(told.values, "<f4")
                written = (
                    b64encode(values.tobytes()).decode() if request.encoding_format == "base64" else values.tolist()
                )
                yield {"data": [{"object": "embedding", "index": number, "embedding": written}]}
    read = sum(len(ask.prompt_token_ids) for ask in plan.asks)
    usage = {"prompt_tokens": read, "total_tokens": read, "baicai": costs(plan, read)}
    yield {"object": "list", "data": [], "model": plan.name, "usage": usage}


async def listed(told: AsyncGenerator[Values, None]) -> Values:
    """Return embeddings as one answer, in the order of their texts."""
    data = []
    async with aclosing(told):
        async for one in told:
            data += one["data"]
    return one | {"data": sorted(data, key=lambda embedding: embedding["index"])}
