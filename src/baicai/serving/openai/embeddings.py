"""Responses of `/v1/embeddings`."""

from base64 import b64encode
from collections.abc import AsyncGenerator
from contextlib import aclosing

import numpy as np

from baicai.serving.engine.events import PromptEmbedding
from baicai.serving.openai.preprocessing import PreparedRequest
from baicai.serving.openai.requests import EmbeddingRequest
from baicai.serving.openai.response_models import Embedding, JsonObject
from baicai.serving.openai.streaming import compute_cost, merge_streams


async def stream_embeddings(prepared: PreparedRequest, request: EmbeddingRequest) -> AsyncGenerator[JsonObject, None]:
    """Yield each embedding as soon as it is computed, and the usage last."""
    streams = [prepared.served.engine.generate(generation) for generation in prepared.requests]
    async with aclosing(merge_streams(streams)) as batches:
        async for index, events in batches:
            for event in events:
                if isinstance(event, PromptEmbedding):
                    values = np.array(event.values, "<f4")
                    as_base64 = request.encoding_format == "base64"
                    encoded = b64encode(values.tobytes()).decode() if as_base64 else values.tolist()
                    embedding: Embedding = {"object": "embedding", "index": index, "embedding": encoded}
                    yield {"data": [embedding]}
    num_tokens = sum(len(generation.prompt_token_ids) for generation in prepared.requests)
    usage = {"prompt_tokens": num_tokens, "total_tokens": num_tokens, "baicai": compute_cost(prepared, num_tokens)}
    yield {"object": "list", "data": [], "model": prepared.name, "usage": usage}


async def collect_embeddings(stream: AsyncGenerator[JsonObject, None]) -> JsonObject:
    """Collect a stream of embeddings into one response, in the order of the input texts."""
    data = list[Embedding]()
    async with aclosing(stream):
        async for part in stream:
            data += part["data"]
    return part | {"data": sorted(data, key=lambda embedding: embedding["index"])}
