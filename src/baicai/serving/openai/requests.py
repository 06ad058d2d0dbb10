"""Request models: the fields of OpenAI's API that this server supports, and its own extensions.

Unknown fields are ignored, as OpenAI does. Fields that would change a completion but are not supported are rejected.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar

import orjson
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    GetJsonSchemaHandler,
    Tag,
    field_validator,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from baicai.serving.errors import ApiError

MAX_STOP_STRINGS, MAX_STOP_CHARACTERS = 4, 256
MAX_TOP_LOGPROBS = 20
MAX_IDENTIFIER_CHARACTERS = 256
MAX_TOOLS = 128
MAX_BIASES = 1024
UNSUPPORTED: dict[str, tuple[object, ...]] = {
    "suffix": ("",),
    "modalities": (["text"],),
    "audio": (),
    "functions": ([],),
    "function_call": ("none", "auto"),
    "prediction": (),
    "web_search_options": (),
}
"""Unsupported fields, with the values that have no effect and are therefore accepted."""
EXTENSION_FIELDS = {"leaves": "leaves", "leaf": "leaves", "routing": "routing"}
"""Spellings of this server's own fields, each with the field it means; a near miss is rejected as a typo."""

NULL = {"type": "null"}

T = TypeVar("T")
FailFastList = Annotated[list[T], Field(fail_fast=True)]
"""A list of any length whose validation stops at the first error: a body may hold a million wrong elements."""


def _check_serializable(schema: JsonSchemaValue) -> JsonSchemaValue:
    try:
        orjson.dumps(schema)
    except TypeError:
        raise ValueError("it contains an integer of more than 64 bits; write it with an exponent") from None
    return schema


Schema = Annotated[JsonSchemaValue, AfterValidator(_check_serializable)]
"""A JSON Schema that can be echoed in a response."""

Seed = Annotated[int, Field(ge=-(2**63), lt=2**63)]
TokenId = Annotated[int, Field(ge=0, lt=2**31)]
TokenKey = Annotated[str, Field(pattern=r"^(0|[1-9][0-9]{0,9})$")]
Penalty = Annotated[float, Field(ge=-2, le=2)]
Identifier = Annotated[str, Field(max_length=MAX_IDENTIFIER_CHARACTERS)]


def _as_list(value: object) -> object:
    return [value] if isinstance(value, str) else value


def _as_parts(value: object) -> object:
    return [{"type": "text", "text": value}] if isinstance(value, str) else value


def _as_prompts(value: object) -> object:
    is_single = isinstance(value, str) or (isinstance(value, list) and all(type(token) is int for token in value))
    return [value] if is_single else value


def _prompt_tag(value: object) -> str:
    return "<ids>" if isinstance(value, list) else "<text>"


Stop = Annotated[
    list[Annotated[str, Field(min_length=1, max_length=MAX_STOP_CHARACTERS)]],
    Field(max_length=MAX_STOP_STRINGS),
    BeforeValidator(_as_list, json_schema_input_type=str | list[str]),
]
Prompt = Annotated[
    Annotated[str, Tag("<text>")] | Annotated[FailFastList[TokenId], Tag("<ids>")], Discriminator(_prompt_tag)
]
Prompts = Annotated[
    FailFastList[Prompt],
    Field(min_length=1),
    BeforeValidator(_as_prompts, json_schema_input_type=str | list[str] | list[int] | list[list[int]]),
]


class RequestModel(BaseModel):
    """Base class of request models: strict types, unknown fields ignored, null means that a field is omitted."""

    model_config = ConfigDict(strict=True, extra="ignore", allow_inf_nan=False, frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _drop_nulls(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        return {key: value for key, value in values.items() if value is not None}

    @classmethod
    def __get_pydantic_json_schema__(cls, core: CoreSchema, describe: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Declare every optional field as nullable."""
        schema = describe(core)
        resolved = describe.resolve_ref_schema(schema)
        for name, field in resolved["properties"].items():
            if name not in resolved.get("required", ()) and NULL not in field.get("anyOf", ()):
                annotations = {key: field.pop(key) for key in ("title", "default") if key in field}
                resolved["properties"][name] = {"anyOf": [field, NULL], **annotations}
        return schema


class LeafChoice(RequestModel):
    """Active leaves: exactly `only`, or those that the model name selects plus `on` minus `off`."""

    model_config = ConfigDict(extra="forbid")

    only: FailFastList[Identifier] | None = None
    on: FailFastList[Identifier] = []
    off: FailFastList[Identifier] = []

    @model_validator(mode="after")
    def _check(self) -> "LeafChoice":
        if self.only is not None and (self.on or self.off):
            raise ValueError("use either 'only', or 'on' and 'off'")
        return self


class StreamOptions(RequestModel):
    """Options of a streamed response."""

    include_usage: bool = False


class BaseCompletionRequest(RequestModel):
    """Fields common to chat and text completions."""

    model: Identifier
    temperature: Annotated[float, Field(ge=0, le=2)] = 1.0
    top_p: Annotated[float, Field(ge=0, le=1)] = 1.0
    top_k: Annotated[int, Field(ge=0, lt=2**31)] = 0
    seed: Seed | None = None
    logit_bias: Annotated[dict[TokenKey, Annotated[float, Field(ge=-100, le=100)]], Field(max_length=MAX_BIASES)] = (
        Field(default_factory=dict)
    )
    frequency_penalty: Penalty = 0.0
    presence_penalty: Penalty = 0.0
    n: Annotated[int, Field(ge=1)] = 1
    stop: Stop = []
    stream: bool = False
    stream_options: StreamOptions = StreamOptions()
    leaves: LeafChoice | None = None
    routing: bool = False
    """Whether to report the leaf weights of each token."""

    @model_validator(mode="before")
    @classmethod
    def _reject_unsupported(cls, values: Any) -> Any:
        return reject_unsupported(values, UNSUPPORTED)


def reject_unsupported(values: Any, unsupported: Mapping[str, tuple[object, ...]]) -> Any:
    """Return a request's values unchanged, provided that none of them uses an unsupported field.

    Raises: ApiError
    """
    for name in unsupported.keys() & (values if isinstance(values, dict) else ()):
        if values[name] is not None and values[name] not in unsupported[name]:
            message = f"Unsupported parameter: '{name}' is not supported by this server; remove it."
            raise ApiError(message, param=name, code="unsupported_parameter")
    return values


class TextPart(RequestModel):
    """A text part of a message."""

    type: Literal["text"]
    text: str


Parts = Annotated[FailFastList[TextPart], BeforeValidator(_as_parts, json_schema_input_type=str | list[TextPart])]


class CalledFunction(RequestModel):
    """A function that the assistant called, with its arguments."""

    name: Identifier
    arguments: str
    """JSON text."""


class ToolCall(RequestModel):
    """A tool call in an assistant message."""

    function: CalledFunction


class PromptMessage(RequestModel):
    """A system, developer or user message."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: Parts


class AssistantMessage(RequestModel):
    """An assistant message: its text, or the tools it called."""

    role: Literal["assistant"]
    content: Parts = []
    tool_calls: FailFastList[ToolCall] = []


class ToolMessage(RequestModel):
    """The result of a tool call."""

    role: Literal["tool"]
    content: Parts
    tool_call_id: str = ""


def _message_tag(value: object) -> str:
    role = value.get("role") if isinstance(value, dict) else None
    return f"<{role}>" if role in ("assistant", "tool") else "<prompt>"


ChatMessage = Annotated[
    Annotated[PromptMessage, Tag("<prompt>")]
    | Annotated[AssistantMessage, Tag("<assistant>")]
    | Annotated[ToolMessage, Tag("<tool>")],
    Discriminator(_message_tag),
]


class JsonSchema(RequestModel):
    """The JSON Schema that a completion must match."""

    schema_: Annotated[Schema, Field(alias="schema")]


class ResponseFormat(RequestModel):
    """The format of a completion."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | None = None

    @model_validator(mode="after")
    def _check(self) -> "ResponseFormat":
        if (self.type == "json_schema") != (self.json_schema is not None):
            raise ValueError("'json_schema' requires the type 'json_schema', and the type requires it")
        return self


class Function(RequestModel):
    """A function that the model may call."""

    name: Annotated[str, Field(pattern=r"^[a-zA-Z0-9_-]{1,64}$")]
    description: str = ""
    parameters: Schema = {"type": "object", "properties": {}}


class Tool(RequestModel):
    """A tool that the model may use."""

    type: Literal["function"]
    function: Function


class NamedFunction(RequestModel):
    """A reference to a function by name."""

    name: Identifier


class NamedTool(RequestModel):
    """The tool that the model must use."""

    type: Literal["function"]
    function: NamedFunction


def tool_choice_tag(value: object) -> str:
    """Return the tag of the union member that a `tool_choice` value belongs to."""
    return "<mode>" if isinstance(value, str) else "<named>"


ToolChoice = Annotated[
    Annotated[Literal["none", "auto", "required"], Tag("<mode>")] | Annotated[NamedTool, Tag("<named>")],
    Discriminator(tool_choice_tag),
]


class ChatRequest(BaseCompletionRequest):
    """Body of `POST /v1/chat/completions`."""

    messages: Annotated[FailFastList[ChatMessage], Field(min_length=1)]
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    logprobs: bool = False
    top_logprobs: Annotated[int, Field(ge=0, le=MAX_TOP_LOGPROBS)] | None = None
    response_format: ResponseFormat | None = None
    tools: Annotated[list[Tool], Field(max_length=MAX_TOOLS)] = []
    tool_choice: ToolChoice = "auto"


class CompletionRequest(BaseCompletionRequest):
    """Body of `POST /v1/completions`."""

    prompt: Prompts = [""]
    max_tokens: Annotated[int, Field(ge=0)] = 16
    logprobs: Annotated[int, Field(ge=0, le=MAX_TOP_LOGPROBS)] | None = None
    echo: bool = False
    best_of: Annotated[int, Field(ge=1)] | None = None


class EmbeddingRequest(RequestModel):
    """Body of `POST /v1/embeddings`.

    The embedding of a text is the mean over its tokens of the last hidden state after the final norm (the input of the
    output head), scaled to length 1.
    """

    model: Identifier
    input: Prompts
    encoding_format: Literal["float", "base64"] = "float"
    """`base64` encodes little-endian float32."""
    dimensions: int | None = None
    """Must equal the width of the model: embeddings are not truncated."""
    leaves: LeafChoice | None = None

    @field_validator("input")
    @classmethod
    def _check(cls, texts: list[Prompt]) -> list[Prompt]:
        if "" in texts:
            raise ValueError("an empty text has no embedding; remove it")
        return texts


class TokenizeRequest(RequestModel):
    """Body of `POST /tokenize`."""

    model: Identifier
    prompt: str | None = None
    messages: FailFastList[ChatMessage] | None = None
