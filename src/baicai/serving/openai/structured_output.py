"""What an answer must look like: any text, JSON, or a call of a tool, as a grammar that llguidance reads.

A call is written as `{"name": NAME, "arguments": ARGUMENTS}`; text beside tools does not begin with a brace.
"""

import asyncio
import json
from collections.abc import Sequence
from typing import Any

from baicai.data.document import Message
from baicai.errors import MachineError
from baicai.serving.errors import ApiError
from baicai.serving.openai.requests import Answered, ChatMessage, ChatRequest, NamedTool, Returned, Tool

MAX_SCHEMA_BYTES = 2**16
SPACES = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}
"""Between the parts of JSON: where a model may choose, a small one chooses spaces without end."""
HEAD, MIDDLE, TAIL = '{"name": "', '", "arguments": ', "}"
_TOLD = 'To use a tool, answer with {"name": NAME, "arguments": ARGUMENTS} alone. Tools:\n'


async def grammar_of(request: ChatRequest) -> str:
    """Return the grammar of a request's answer, nothing if it may be any text.

    Raises: ApiError if a schema cannot be used
    """
    wanted, tools = request.response_format, usable_tools(request)
    if wanted is not None and wanted.type != "text":
        if tools:
            told = "Unsupported value: 'response_format' must be text where tools may be used."
            raise ApiError(told, param="response_format", code="unsupported_value")
        schema = wanted.json_schema.schema_ if wanted.json_schema else {"type": "object"}
        return await _checked(_json(schema), schema, "response_format.json_schema.schema")
    if not tools:
        return ""
    calls = [_call_schema(tool) for tool in tools]
    for number, tool in enumerate(tools):
        schema = tool.function.parameters
        await _checked(_json(schema), schema, f"tools[{number}].function.parameters")
    whole = calls[0] if len(calls) == 1 else {"anyOf": calls}
    if request.tool_choice == "auto":
        return f"start: text | call\ntext: /(?s:[^{{].*)?/\ncall: %json {json.dumps(whole | {'x-guidance': SPACES})}\n"
    return _json(whole)


def usable_tools(request: ChatRequest) -> list[Tool]:
    """Return the tools that the answer may use.

    Raises: ApiError if one is to be used that there is not
    """
    choice = request.tool_choice
    if choice == "none":
        return []
    wanted = request.tools
    if isinstance(choice, NamedTool):
        wanted = [tool for tool in request.tools if tool.function.name == choice.function.name]
    if not wanted and choice != "auto":
        raise ApiError("Invalid 'tool_choice': there is no such tool.", param="tool_choice", code="invalid_value")
    return wanted


def conversation(messages: Sequence[ChatMessage], tools: Sequence[Tool]) -> list[Message]:
    """Return what was said, with the tools told by the system."""
    told = [_message(message) for message in messages]
    if not tools:
        return told
    listed = "\n".join(json.dumps(tool.function.model_dump(), ensure_ascii=False) for tool in tools)
    first = told.pop(0).content + "\n\n" if told[0].role == "system" else ""
    return [Message("system", f"{first}{_TOLD}{listed}"), *told]


def _message(message: ChatMessage) -> Message:
    text = "".join(part.text for part in message.content)
    match message:
        case Answered():
            calls = [f"{HEAD}{one.function.name}{MIDDLE}{one.function.arguments}{TAIL}" for one in message.tool_calls]
            return Message("assistant", "\n".join([text, *calls] if text else calls))
        case Returned():
            return Message("user", text)
    return Message("user" if message.role == "user" else "system", text)


def _call_schema(tool: Tool) -> dict[str, Any]:
    parameters = {"type": "object"} | tool.function.parameters
    return {
        "type": "object",
        "properties": {"name": {"const": tool.function.name}, "arguments": parameters},
        "required": ["name", "arguments"],
        "additionalProperties": False,
    }


def _json(schema: dict[str, Any]) -> str:
    written = {"grammars": [{"json_schema": schema | {"x-guidance": SPACES}}]}
    return json.dumps(written)


async def _checked(grammar: str, schema: dict[str, Any], param: str) -> str:
    try:
        from llguidance import LLMatcher
    except ModuleNotFoundError:
        raise MachineError("llguidance is not installed: pip install 'baicai[serve]'") from None
    if len(json.dumps(schema)) > MAX_SCHEMA_BYTES:
        told = f"Invalid '{param}': it is larger than {MAX_SCHEMA_BYTES} bytes."
        raise ApiError(told, param=param, code="schema_too_large")
    problem = await asyncio.to_thread(LLMatcher.validate_grammar, grammar)
    if problem:
        told = f"Invalid '{param}': {problem.splitlines()[0][:200]}."
        raise ApiError(told, param=param, code="invalid_json_schema")
    return grammar
