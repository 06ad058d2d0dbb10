"""Structured output: `response_format` and `tools` as a grammar for llguidance.

A tool call is written as `{"name": NAME, "arguments": ARGUMENTS}`; where tools may be used, plain text does not begin
with a brace.
"""

import asyncio
import json
from collections.abc import Sequence

from pydantic.json_schema import JsonSchemaValue

from baicai.data.document import Message
from baicai.errors import MachineError
from baicai.serving.errors import ApiError
from baicai.serving.openai.requests import AssistantMessage, ChatMessage, ChatRequest, NamedTool, Tool, ToolMessage

MAX_SCHEMA_BYTES = 2**16
WHITESPACE = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}
"""Fixed whitespace in JSON: given the choice, a small model may write spaces without end."""
HEAD, MIDDLE, TAIL = '{"name": "', '", "arguments": ', "}"
_INSTRUCTIONS = 'To use a tool, answer with {"name": NAME, "arguments": ARGUMENTS} alone. Tools:\n'


async def build_grammar(request: ChatRequest) -> str:
    """Build the grammar of a chat completion; an empty string allows any text.

    Raises: ApiError if a schema cannot be used
    """
    response_format, tools = request.response_format, allowed_tools(request)
    if response_format is not None and response_format.type != "text":
        if tools:
            message = "Unsupported value: 'response_format' must be text where tools may be used."
            raise ApiError(message, param="response_format", code="unsupported_value")
        schema = response_format.json_schema.schema_ if response_format.json_schema else {"type": "object"}
        return await _validated(_json_grammar(schema), schema, "response_format.json_schema.schema")
    if not tools:
        return ""
    for number, tool in enumerate(tools):
        schema = tool.function.parameters
        await _validated(_json_grammar(schema), schema, f"tools[{number}].function.parameters")
    call_schemas = [_call_schema(tool) for tool in tools]
    any_call = call_schemas[0] if len(call_schemas) == 1 else {"anyOf": call_schemas}
    if request.tool_choice == "auto":
        call = json.dumps(any_call | {"x-guidance": WHITESPACE})
        return f"start: text | call\ntext: /(?s:[^{{].*)?/\ncall: %json {call}\n"
    return _json_grammar(any_call)


def allowed_tools(request: ChatRequest) -> list[Tool]:
    """Return the tools that the completion may use.

    Raises: ApiError if `tool_choice` requires a tool that the request does not define
    """
    choice = request.tool_choice
    if choice == "none":
        return []
    tools = request.tools
    if isinstance(choice, NamedTool):
        tools = [tool for tool in request.tools if tool.function.name == choice.function.name]
    if not tools and choice != "auto":
        message = "Invalid 'tool_choice': the required tool was not found in 'tools'."
        raise ApiError(message, param="tool_choice", code="invalid_value")
    return tools


def to_messages(chat_messages: Sequence[ChatMessage], tools: Sequence[Tool]) -> list[Message]:
    """Convert a request's messages for the chat template; the system message describes the tools."""
    messages = [_to_message(message) for message in chat_messages]
    if not tools:
        return messages
    definitions = "\n".join(json.dumps(tool.function.model_dump(), ensure_ascii=False) for tool in tools)
    system = messages.pop(0).content + "\n\n" if messages[0].role == "system" else ""
    return [Message("system", f"{system}{_INSTRUCTIONS}{definitions}"), *messages]


def _to_message(message: ChatMessage) -> Message:
    text = "".join(part.text for part in message.content)
    match message:
        case AssistantMessage():
            functions = [call.function for call in message.tool_calls]
            calls = [f"{HEAD}{function.name}{MIDDLE}{function.arguments}{TAIL}" for function in functions]
            return Message("assistant", "\n".join([text, *calls] if text else calls))
        case ToolMessage():
            return Message("user", text)
    return Message("user" if message.role == "user" else "system", text)


def _call_schema(tool: Tool) -> JsonSchemaValue:
    parameters = {"type": "object"} | tool.function.parameters
    return {
        "type": "object",
        "properties": {"name": {"const": tool.function.name}, "arguments": parameters},
        "required": ["name", "arguments"],
        "additionalProperties": False,
    }


def _json_grammar(schema: JsonSchemaValue) -> str:
    return json.dumps({"grammars": [{"json_schema": schema | {"x-guidance": WHITESPACE}}]})


async def _validated(grammar: str, schema: JsonSchemaValue, param: str) -> str:
    try:
        from llguidance import LLMatcher
    except ModuleNotFoundError:
        raise MachineError("llguidance is not installed: pip install 'baicai[serve]'") from None
    if len(json.dumps(schema)) > MAX_SCHEMA_BYTES:
        message = f"Invalid '{param}': the schema is larger than {MAX_SCHEMA_BYTES} bytes; simplify it."
        raise ApiError(message, param=param, code="schema_too_large")
    grammar_error = await asyncio.to_thread(LLMatcher.validate_grammar, grammar)
    if grammar_error:
        message = f"Invalid '{param}': {grammar_error.splitlines()[0][:200]}."
        raise ApiError(message, param=param, code="invalid_json_schema")
    return grammar
