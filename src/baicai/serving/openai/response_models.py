"""What answers say, as the API's description tells it; they may come to say more."""

from typing import Any, Literal

from pydantic import BaseModel


class Problem(BaseModel):
    """Why a request was not answered."""

    message: str
    type: str
    param: str | None
    code: str | None


class Refusal(BaseModel):
    """A request that was not answered."""

    error: Problem


class Model(BaseModel):
    """A model that is served."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str
    max_model_len: int
    baicai: dict[str, Any]
    """Its leaves, sizes and hashes."""


class ModelList(BaseModel):
    """The models that are served."""

    object: Literal["list"]
    data: list[Model]


class Deleted(BaseModel):
    """A model that is served no longer."""

    id: str
    object: Literal["model"]
    deleted: Literal[True]


class Tokens(BaseModel):
    """The tokens of a text."""

    count: int
    max_model_len: int
    tokens: list[int]
    token_strs: list[str]


class Chance(BaseModel):
    """A token and the natural logarithm of its probability."""

    token: str
    logprob: float
    bytes: list[int]


class ChosenChance(Chance):
    """A token of an answer, and others that might have come."""

    top_logprobs: list[Chance]


class ChatLogprobs(BaseModel):
    """The tokens of a message."""

    content: list[ChosenChance]
    refusal: None


class CompletionLogprobs(BaseModel):
    """The tokens of a text."""

    tokens: list[str]
    token_logprobs: list[float | None]
    top_logprobs: list[dict[str, float] | None]
    text_offset: list[int]


class Routed(BaseModel):
    """A token and the leaves that gave it."""

    token: str
    leaves: dict[str, float]


class CachedTokens(BaseModel):
    """How many tokens were read before."""

    cached_tokens: int


class Costs(BaseModel):
    """What answers cost, beside a dense model of the same size."""

    active_parameters: int
    total_parameters: int
    flops: int
    dense_flops: int
    leaves: dict[str, float]


class Usage(BaseModel):
    """What answers took."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: CachedTokens
    baicai: Costs


class Called(BaseModel):
    """A function and its arguments, which are JSON."""

    name: str
    arguments: str


class Call(BaseModel):
    """A call of a tool."""

    id: str
    type: Literal["function"]
    function: Called


class Message(BaseModel):
    """What the assistant says, or the tools it calls."""

    role: Literal["assistant"]
    content: str | None
    refusal: None
    tool_calls: list[Call] = []


class Choice(BaseModel):
    """One of the answers."""

    index: int
    routing: list[Routed] = []


class ChatChoice(Choice):
    """A message."""

    message: Message
    logprobs: ChatLogprobs | None
    finish_reason: Literal["stop", "length", "tool_calls"]


class CompletionChoice(Choice):
    """A text."""

    text: str
    logprobs: CompletionLogprobs | None
    finish_reason: Literal["stop", "length"]


class Answers(BaseModel):
    """What answers have in common."""

    id: str
    created: int
    model: str
    system_fingerprint: str
    usage: Usage


class ChatAnswers(Answers):
    """Answers in a conversation."""

    object: Literal["chat.completion"]
    choices: list[ChatChoice]


class CompletionAnswers(Answers):
    """Continued texts."""

    object: Literal["text_completion"]
    choices: list[CompletionChoice]


class Embedding(BaseModel):
    """Of a text; base64 of float32 if that was asked for."""

    object: Literal["embedding"]
    index: int
    embedding: list[float] | str


class Read(BaseModel):
    """What reading took."""

    prompt_tokens: int
    total_tokens: int
    baicai: dict[str, int]


class EmbeddingAnswer(BaseModel):
    """The embeddings of texts, in their order."""

    object: Literal["list"]
    model: str
    data: list[Embedding]
    usage: Read


class ResponseAnswer(BaseModel):
    """A response, which has more: https://www.openresponses.org tells of all."""

    id: str
    object: Literal["response"]
    created_at: int
    completed_at: int | None
    status: Literal["completed", "incomplete"]
    model: str
    output: list[dict[str, Any]]
    usage: dict[str, Any]
