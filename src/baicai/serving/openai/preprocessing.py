"""Convert API requests into engine requests: the model, its active leaves, the prompts and the sampling parameters."""

import asyncio
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, replace

from baicai.serving.config import ServeRecipe
from baicai.serving.engine.generation_request import GenerationRequest
from baicai.serving.errors import ApiError
from baicai.serving.openai.requests import (
    BaseCompletionRequest,
    ChatRequest,
    CompletionRequest,
    EmbeddingRequest,
    TokenizeRequest,
)
from baicai.serving.openai.structured_output import allowed_tools, build_grammar, to_messages
from baicai.serving.served_model import ServedModel

MIN_TOP_P = 1e-9
"""Used for a `top_p` of 0: so small that only the most likely token remains."""


@dataclass(frozen=True)
class PreparedRequest:
    """The engine requests of an API request."""

    served: ServedModel
    name: str
    """The model's name as the request spelled it."""
    requests: list[GenerationRequest]
    """`num_choices` consecutive ones for each prompt."""
    num_choices: int
    stop_strings: list[str]
    leaves: list[str]
    """Names of the active leaves."""


async def prepare_chat(
    request: ChatRequest, served: ServedModel, alias: str, config: ServeRecipe, client: str
) -> PreparedRequest:
    """Convert a chat request into engine requests.

    Args:
        alias: leaves selected by the model's name, as in `NAME:alias`
        client: identity of the client, for fair scheduling

    Raises: ApiError
    """
    if request.top_logprobs is not None and not request.logprobs:
        message = "Invalid 'top_logprobs': it requires 'logprobs' to be true."
        raise ApiError(message, param="top_logprobs", code="invalid_value")
    _check_num_completions(request.n, 1, config)
    grammar = await build_grammar(request)
    messages = to_messages(request.messages, allowed_tools(request))
    prompt = await asyncio.to_thread(served.tokenizer.encode_chat, messages)
    requested = request.max_completion_tokens or request.max_tokens
    length_param = "max_completion_tokens" if request.max_completion_tokens else "max_tokens"
    max_tokens = served.max_tokens - len(prompt) if requested is None else requested
    _check_length(len(prompt), max(max_tokens, 1), served, length_param if requested else "", "messages")
    template = GenerationRequest(
        prompt_token_ids=prompt,
        leaves=(),
        max_tokens=max_tokens,
        top_logprobs=request.top_logprobs or 0,
        grammar=grammar,
    )
    return _prepare(request, served, alias, client, [template])


async def prepare_completion(
    request: CompletionRequest, served: ServedModel, alias: str, config: ServeRecipe, client: str
) -> PreparedRequest:
    """Convert a text completion request into engine requests; arguments as in `prepare_chat`.

    Raises: ApiError
    """
    if request.best_of not in (None, request.n):
        message = "Unsupported value: 'best_of' must equal 'n' on this server."
        raise ApiError(message, param="best_of", code="unsupported_value")
    if request.max_tokens == 0 and not request.echo:
        message = "Invalid 'max_tokens': 0 is only valid with 'echo'."
        raise ApiError(message, param="max_tokens", code="invalid_value")
    templates = []
    _check_num_completions(request.n, len(request.prompt), config)
    for prompt in await asyncio.to_thread(_encode_prompts, request.prompt, served):
        _check_length(len(prompt), request.max_tokens, served, "max_tokens", "prompt")
        top = request.logprobs or 0
        templates.append(
            GenerationRequest(
                prompt_token_ids=prompt, leaves=(), max_tokens=request.max_tokens, top_logprobs=top, echo=request.echo
            )
        )
    return _prepare(request, served, alias, client, templates)


async def prepare_embeddings(
    request: EmbeddingRequest, served: ServedModel, alias: str, config: ServeRecipe, client: str
) -> PreparedRequest:
    """Convert an embeddings request into engine requests; arguments as in `prepare_chat`.

    Raises: ApiError
    """
    if len(request.input) > config.max_completions_per_request:
        limit = config.max_completions_per_request
        message = f"Invalid 'input': expected at most {limit} texts, but got {len(request.input)}."
        raise ApiError(message, param="input", code="invalid_value")
    if request.dimensions not in (None, served.embedding_dim):
        dim = served.embedding_dim
        message = f"Unsupported value: 'dimensions' must be {dim}, this model's width: embeddings are not truncated."
        raise ApiError(message, param="dimensions", code="unsupported_value")
    leaves, requests = served.select_leaves(alias, request.leaves), []
    for number, prompt in enumerate(await asyncio.to_thread(_encode_prompts, request.input, served, "input")):
        _check_length(len(prompt), 0, served, "", f"input[{number}]")
        requests.append(
            GenerationRequest(prompt_token_ids=prompt, leaves=leaves, max_tokens=0, embed=True, client=client)
        )
    return PreparedRequest(served, request.model, requests, 1, [], leaves)


async def encode_request(request: TokenizeRequest, served: ServedModel) -> list[int]:
    """Tokenize a text or a conversation that fits into the model's context.

    Raises: ApiError
    """
    if (request.prompt is None) == (request.messages is None):
        raise ApiError("Pass either 'prompt' or 'messages'.", param="prompt", code="invalid_value")
    if request.messages is None:
        [tokens] = await asyncio.to_thread(_encode_prompts, [request.prompt or ""], served)
    else:
        tokens = await asyncio.to_thread(served.tokenizer.encode_chat, to_messages(request.messages, ()))
    _check_length(len(tokens), 0, served, "", "prompt" if request.messages is None else "messages")
    return tokens


def _prepare(
    request: BaseCompletionRequest, served: ServedModel, alias: str, client: str, templates: Sequence[GenerationRequest]
) -> PreparedRequest:
    invalid = next((token for token in request.logit_bias if int(token) >= served.vocab_size), None)
    if invalid is not None:
        message = f"Invalid 'logit_bias': {invalid} is not one of the model's {served.vocab_size} tokens."
        raise ApiError(message, param="logit_bias", code="invalid_value")
    leaves = served.select_leaves(alias, request.leaves)
    seed = secrets.randbits(62) if request.seed is None else request.seed
    requests = [
        replace(
            template,
            leaves=leaves,
            temperature=request.temperature,
            top_p=request.top_p or MIN_TOP_P,
            top_k=request.top_k,
            seed=seed + choice,
            logit_bias=[(int(token), bias) for token, bias in request.logit_bias.items()],
            frequency_penalty=request.frequency_penalty,
            presence_penalty=request.presence_penalty,
            # lm-evaluation-harness drops the last token of an echoed text, so exactly one must follow the prompt
            stop_token_ids=() if template.echo and template.max_tokens == 1 else served.stop_token_ids,
            client=client,
        )
        for template in templates
        for choice in range(request.n)
    ]
    return PreparedRequest(served, request.model, requests, request.n, request.stop, leaves)


def _encode_prompts(prompts: Sequence[str | list[int]], served: ServedModel, param: str = "prompt") -> list[list[int]]:
    """Return the token ids of each prompt; a text is encoded as the beginning of a document."""
    tokenizer, begin_ids = served.tokenizer, served.tokenizer.begin_ids or (served.tokenizer.end_id,)
    encoded = []
    for number, prompt in enumerate(prompts):
        if isinstance(prompt, str):
            encoded.append([*begin_ids, *tokenizer.encode(prompt)])
            continue
        invalid = next((token for token in prompt if token >= served.vocab_size), None)
        if invalid is not None or not prompt:
            reason = f"{invalid} is not one of the model's {served.vocab_size} tokens" if prompt else "it has no tokens"
            raise ApiError(f"Invalid '{param}': number {number}: {reason}.", param=param, code="invalid_value")
        encoded.append(prompt)
    return encoded


def _check_num_completions(n: int, num_prompts: int, config: ServeRecipe) -> None:
    if n * num_prompts > config.max_completions_per_request:
        limit = config.max_completions_per_request
        message = f"Invalid 'n': {n} completions of {num_prompts} prompts exceed the {limit} allowed per request."
        raise ApiError(message, param="n", code="integer_above_max_value")


def _check_length(prompt_tokens: int, max_tokens: int, served: ServedModel, length_param: str, param: str) -> None:
    """Reject a prompt that leaves no room; `length_param` names the field that set `max_tokens`, if one did."""
    if prompt_tokens + max_tokens > served.max_tokens:
        at_least = ", and the completion needs at least 1" if max_tokens else ""
        completion = f" and {max_tokens} for the completion" if length_param else at_least
        message = (
            f"This model's maximum context length is {served.max_tokens} tokens. However, you requested "
            f"{prompt_tokens} tokens in the {param}{completion}: shorten the {param}"
            f"{f' or lower {length_param}' if length_param else ''}."
        )
        raise ApiError(message, param=param, code="context_length_exceeded")
