"""Response models: OpenAI's objects as the OpenAPI document describes them; fields may be added to them.

What is built for each token of a stream is a typed dictionary, not a model: nothing is validated on the way out.
"""

from collections.abc import AsyncGenerator
from typing import Any, Generic, Literal, NotRequired, TypeVar

from pydantic import BaseModel
from typing_extensions import TypedDict

JsonObject = dict[str, Any]
"""A whole response or an event just before it is encoded as JSON."""


class ErrorDetail(BaseModel):
    """Why a request was rejected or failed."""

    message: str
    type: str
    param: str | None
    code: str | None


class ErrorResponse(BaseModel):
    """Body of every error response."""

    error: ErrorDetail


class Model(BaseModel):
    """A served model."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str
    max_model_len: int
    baicai: dict[str, Any]
    """Its leaves, sizes and hashes."""


class ModelList(BaseModel):
    """The served models."""

    object: Literal["list"]
    data: list[Model]


class DeletedModel(BaseModel):
    """A model that was unloaded."""

    id: str
    object: Literal["model"]
    deleted: Literal[True]


class TokenizeResponse(BaseModel):
    """The tokens of a text or a conversation."""

    count: int
    max_model_len: int
    tokens: list[int]
    token_strs: list[str]


class TokenLogprob(TypedDict):
    """A token and the natural logarithm of its probability."""

    token: str
    logprob: float
    bytes: list[int]


class SampledTokenLogprob(TokenLogprob):
    """A token of a completion, with the most likely alternatives."""

    top_logprobs: list[TokenLogprob]


class ChatLogprobs(TypedDict):
    """Log-probabilities of the tokens of a message."""

    content: list[SampledTokenLogprob]
    refusal: None


class CompletionLogprobs(TypedDict):
    """Log-probabilities of the tokens of a text."""

    tokens: list[str]
    token_logprobs: list[float | None]
    top_logprobs: list[dict[str, float] | None]
    text_offset: list[int]


class TokenRouting(TypedDict):
    """A token and the weight that each active leaf had in it."""

    token: str
    leaves: dict[str, float]


class PromptTokensDetails(TypedDict):
    """Prompt tokens found in the KV cache."""

    cached_tokens: int


class ComputeCost(TypedDict):
    """Compute spent on a request, compared with a dense model of the same size."""

    active_parameters: int
    total_parameters: int
    flops: int
    dense_flops: int


class CompletionCost(ComputeCost):
    """Compute spent on completions, compared with a dense model of the same size, and the mean weight of each leaf."""

    leaves: dict[str, float]


class Usage(TypedDict):
    """Token counts and compute of a request."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptTokensDetails
    baicai: CompletionCost


class ChatCompletionFunctionCall(TypedDict):
    """The name of a called function and its arguments, as JSON text."""

    name: str
    arguments: str


class ChatCompletionToolCall(TypedDict):
    """A tool call."""

    id: str
    type: Literal["function"]
    function: ChatCompletionFunctionCall


class ChatCompletionMessage(BaseModel):
    """The assistant's message: its text, or the tools it calls."""

    role: Literal["assistant"]
    content: str | None
    refusal: None
    tool_calls: list[ChatCompletionToolCall] = []


class Choice(BaseModel):
    """Fields common to the choices of chat and text completions."""

    index: int
    routing: list[TokenRouting] = []


class ChatChoice(Choice):
    """One chat completion."""

    message: ChatCompletionMessage
    logprobs: ChatLogprobs | None
    finish_reason: Literal["stop", "length", "tool_calls"]


class CompletionChoice(Choice):
    """One text completion."""

    text: str
    logprobs: CompletionLogprobs | None
    finish_reason: Literal["stop", "length"]


class BaseCompletion(BaseModel):
    """Fields common to chat and text completions."""

    id: str
    created: int
    model: str
    system_fingerprint: str
    usage: Usage


class ChatCompletion(BaseCompletion):
    """Chat completions."""

    object: Literal["chat.completion"]
    choices: list[ChatChoice]


class Completion(BaseCompletion):
    """Text completions."""

    object: Literal["text_completion"]
    choices: list[CompletionChoice]


class Embedding(TypedDict):
    """The embedding of a text, as numbers or as base64 of little-endian float32."""

    object: Literal["embedding"]
    index: int
    embedding: list[float] | str


class EmbeddingUsage(TypedDict):
    """Token counts and compute of an embeddings request."""

    prompt_tokens: int
    total_tokens: int
    baicai: dict[str, int]


class EmbeddingResponse(BaseModel):
    """The embeddings of the input texts, in their order."""

    object: Literal["list"]
    model: str
    data: list[Embedding]
    usage: EmbeddingUsage


class ResponseObject(BaseModel):
    """A response; https://www.openresponses.org documents its further fields."""

    id: str
    object: Literal["response"]
    created_at: int
    completed_at: int | None
    status: Literal["completed", "incomplete"]
    model: str
    output: list[dict[str, Any]]
    usage: dict[str, Any]


class FunctionCallDelta(TypedDict):
    """Part of a function call; the name comes with the first part."""

    name: NotRequired[str]
    arguments: str


class ToolCallDelta(TypedDict):
    """Part of a tool call; the id comes with the first part."""

    index: int
    id: NotRequired[str]
    type: NotRequired[Literal["function"]]
    function: FunctionCallDelta


class ChatDelta(TypedDict, total=False):
    """What a chunk adds to a message."""

    role: Literal["assistant"]
    content: str
    refusal: None
    tool_calls: list[ToolCallDelta]


class ChatChunkChoice(TypedDict):
    """What a chunk says about one chat completion."""

    index: int
    delta: ChatDelta
    logprobs: ChatLogprobs | None
    finish_reason: str | None
    routing: NotRequired[list[TokenRouting]]


class CompletionChunkChoice(TypedDict):
    """What a chunk says about one text completion."""

    index: int
    text: str
    logprobs: CompletionLogprobs | None
    finish_reason: str | None
    routing: NotRequired[list[TokenRouting]]


C = TypeVar("C", ChatChunkChoice, CompletionChunkChoice)


class Chunk(TypedDict, Generic[C]):
    """A chunk of a streamed response; the last one has the usage and no choices."""

    id: str
    object: str
    created: int
    model: str
    system_fingerprint: str
    choices: list[C]
    usage: NotRequired[Usage]


ChunkStream = AsyncGenerator[Chunk[C], None]
