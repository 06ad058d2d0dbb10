"""What requests say: OpenAI's fields that are understood here, and ours. Others are ignored, as OpenAI does.

Fields that would change an answer and are not carried out are refused, not ignored.
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

MAX_STOPS, MAX_STOP_CHARACTERS = 4, 256
MAX_ALTERNATIVES = 20
MAX_NAME = 256
MAX_TOOLS = 128
MAX_BIASES = 1024
NEUTRAL: dict[str, tuple[object, ...]] = {
    "suffix": ("",),
    "modalities": (["text"],),
    "audio": (),
    "functions": ([],),
    "function_call": ("none", "auto"),
    "prediction": (),
    "web_search_options": (),
}
"""Fields that are not carried out, and the values with which they ask for nothing."""
OWN = {"leaves": "leaves", "leaf": "leaves", "routing": "routing"}
"""Words by which fields are meant that only this server has: what is nearly one is misspelt."""

NULL = {"type": "null"}

T = TypeVar("T")
Many = Annotated[list[T], Field(fail_fast=True)]
"""As many as a body holds: of a million that are wrong only the first is noted."""


def _writable(schema: dict[str, Any]) -> dict[str, Any]:
    try:
        orjson.dumps(schema)
    except TypeError:
        raise ValueError("an integer in it has more than 64 bits: write it with an exponent") from None
    return schema


Schema = Annotated[dict[str, Any], AfterValidator(_writable)]
"""Of JSON; what is said in answers to be asked for can be written in them."""

Seed = Annotated[int, Field(ge=-(2**63), lt=2**63)]
TokenId = Annotated[int, Field(ge=0, lt=2**31)]
TokenKey = Annotated[str, Field(pattern=r"^(0|[1-9][0-9]{0,9})$")]
Penalty = Annotated[float, Field(ge=-2, le=2)]
Name = Annotated[str, Field(max_length=MAX_NAME)]


def _listed(value: object) -> object:
    return [value] if isinstance(value, str) else value


def _parts(value: object) -> object:
    return [{"type": "text", "text": value}] if isinstance(value, str) else value


def _prompts(value: object) -> object:
    one = isinstance(value, str) or (isinstance(value, list) and all(type(token) is int for token in value))
    return [value] if one else value


def _form(value: object) -> str:
    return "<ids>" if isinstance(value, list) else "<text>"


Stop = Annotated[
    list[Annotated[str, Field(min_length=1, max_length=MAX_STOP_CHARACTERS)]],
    Field(max_length=MAX_STOPS),
    BeforeValidator(_listed, json_schema_input_type=str | list[str]),
]
Prompt = Annotated[Annotated[str, Tag("<text>")] | Annotated[Many[TokenId], Tag("<ids>")], Discriminator(_form)]
Prompts = Annotated[
    Many[Prompt],
    Field(min_length=1),
    BeforeValidator(_prompts, json_schema_input_type=str | list[str] | list[int] | list[list[int]]),
]


class Body(BaseModel):
    """Values of the types they are said to have."""

    model_config = ConfigDict(strict=True, extra="ignore", allow_inf_nan=False, frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _leave_out_nulls(cls, values: Any) -> Any:
        return {key: one for key, one in values.items() if one is not None} if isinstance(values, dict) else values

    @classmethod
    def __get_pydantic_json_schema__(cls, core: CoreSchema, describe: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Tell that a value which may be left out may be null."""
        told = describe(core)
        form = describe.resolve_ref_schema(told)
        for name, one in form["properties"].items():
            if name not in form.get("required", ()) and NULL not in one.get("anyOf", ()):
                about = {key: one.pop(key) for key in ("title", "default") if key in one}
                form["properties"][name] = {"anyOf": [one, NULL], **about}
        return told


class LeafChoice(Body):
    """Which leaves are on: `only` these, or what the model's name says, with some `on` and some `off`."""

    model_config = ConfigDict(extra="forbid")

    only: Many[Name] | None = None
    on: Many[Name] = []
    off: Many[Name] = []

    @model_validator(mode="after")
    def _check(self) -> "LeafChoice":
        if self.only is not None and (self.on or self.off):
            raise ValueError("say either 'only', or 'on' and 'off'")
        return self


class StreamOptions(Body):
    """What a stream says beside the answer."""

    include_usage: bool = False


class Generation(Body):
    """What requests for an answer have in common."""

    model: Name
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
    """Tell of each token which leaves gave it."""

    @model_validator(mode="before")
    @classmethod
    def _refuse(cls, values: Any) -> Any:
        return refuse_what_is_not_carried_out(values, NEUTRAL)


def refuse_what_is_not_carried_out(values: Any, neutral: Mapping[str, tuple[object, ...]]) -> Any:
    """Return a request's values, if none of them asks for what is not carried out.

    Raises: ApiError
    """
    for name in neutral.keys() & (values if isinstance(values, dict) else ()):
        if values[name] is not None and values[name] not in neutral[name]:
            told = f"Unsupported parameter: '{name}' is not carried out by this server: leave it out."
            raise ApiError(told, param=name, code="unsupported_parameter")
    return values


class TextPart(Body):
    """Text in a message."""

    type: Literal["text"]
    text: str


Parts = Annotated[Many[TextPart], BeforeValidator(_parts, json_schema_input_type=str | list[TextPart])]


class CalledFunction(Body):
    """Which function an answer has called, and with what."""

    name: Name
    arguments: str
    """JSON."""


class ToolCall(Body):
    """A call of a tool in a message of the assistant's."""

    function: CalledFunction


class Said(Body):
    """What the system or the user says."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: Parts


class Answered(Body):
    """What the assistant has said, or the tools it has called."""

    role: Literal["assistant"]
    content: Parts = []
    tool_calls: Many[ToolCall] = []


class Returned(Body):
    """What a tool has given back."""

    role: Literal["tool"]
    content: Parts
    tool_call_id: str = ""


def _speaker(value: object) -> str:
    role = value.get("role") if isinstance(value, dict) else ""
    return {"assistant": "<answered>", "tool": "<returned>"}.get(role, "<said>") if isinstance(role, str) else "<said>"


ChatMessage = Annotated[
    Annotated[Said, Tag("<said>")] | Annotated[Answered, Tag("<answered>")] | Annotated[Returned, Tag("<returned>")],
    Discriminator(_speaker),
]


class JsonSchema(Body):
    """What an answer in JSON must be."""

    schema_: Annotated[Schema, Field(alias="schema")]


class ResponseFormat(Body):
    """What an answer must look like."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | None = None

    @model_validator(mode="after")
    def _check(self) -> "ResponseFormat":
        if (self.type == "json_schema") != (self.json_schema is not None):
            raise ValueError("'json_schema' goes with the type of that name")
        return self


class Function(Body):
    """A function that an answer may call."""

    name: Annotated[str, Field(pattern=r"^[a-zA-Z0-9_-]{1,64}$")]
    description: str = ""
    parameters: Schema = {"type": "object", "properties": {}}


class Tool(Body):
    """A tool that an answer may use."""

    type: Literal["function"]
    function: Function


class NamedFunction(Body):
    """A function by its name."""

    name: Name


class NamedTool(Body):
    """The tool that an answer must use."""

    type: Literal["function"]
    function: NamedFunction


def _choice(value: object) -> str:
    return "<word>" if isinstance(value, str) else "<named>"


ToolChoice = Annotated[
    Annotated[Literal["none", "auto", "required"], Tag("<word>")] | Annotated[NamedTool, Tag("<named>")],
    Discriminator(_choice),
]


class ChatRequest(Generation):
    """`/v1/chat/completions`."""

    messages: Annotated[Many[ChatMessage], Field(min_length=1)]
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    logprobs: bool = False
    top_logprobs: Annotated[int, Field(ge=0, le=MAX_ALTERNATIVES)] | None = None
    response_format: ResponseFormat | None = None
    tools: Annotated[list[Tool], Field(max_length=MAX_TOOLS)] = []
    tool_choice: ToolChoice = "auto"


class CompletionRequest(Generation):
    """`/v1/completions`."""

    prompt: Prompts = [""]
    max_tokens: Annotated[int, Field(ge=0)] = 16
    logprobs: Annotated[int, Field(ge=0, le=MAX_ALTERNATIVES)] | None = None
    echo: bool = False
    best_of: Annotated[int, Field(ge=1)] | None = None


class EmbeddingRequest(Body):
    """`/v1/embeddings`.

    A text's embedding is the mean over its tokens of the last hidden state after the final norm, which is what the head
    reads, scaled to length 1.
    """

    model: Name
    input: Prompts
    encoding_format: Literal["float", "base64"] = "float"
    """Base64 of float32, little-endian."""
    dimensions: int | None = None
    """The model's width: embeddings are not cut."""
    leaves: LeafChoice | None = None

    @field_validator("input")
    @classmethod
    def _check(cls, texts: list[Prompt]) -> list[Prompt]:
        if "" in texts:
            raise ValueError("an empty text has no embedding")
        return texts


class TokenizeRequest(Body):
    """`/tokenize`."""

    model: Name
    prompt: str | None = None
    messages: Many[ChatMessage] | None = None
