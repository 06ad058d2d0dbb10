"""From a request to what the engine is asked: which model, which leaves, which prompts, how many answers."""

import asyncio
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, replace

from baicai.serving.config import ServeRecipe
from baicai.serving.engine.generation_request import GenerationRequest
from baicai.serving.errors import ApiError
from baicai.serving.openai.requests import ChatRequest, CompletionRequest, EmbeddingRequest, Generation, TokenizeRequest
from baicai.serving.openai.structured_output import conversation, grammar_of, usable_tools
from baicai.serving.served_model import ServedModel

TINY = 1e-9
"""A share of probability that the likeliest token alone holds: `top_p` of 0."""


@dataclass(frozen=True)
class Plan:
    """Answers that are wanted together."""

    served: ServedModel
    name: str
    """What the request called the model."""
    asks: list[GenerationRequest]
    """Of each prompt in turn, `choices` times."""
    choices: int
    stops: list[str]
    leaves: list[str]
    """Those that are on."""


async def plan_chat(request: ChatRequest, served: ServedModel, alias: str, config: ServeRecipe, client: str) -> Plan:
    """Return what a conversation asks for.

    Raises: ApiError
    """
    if request.top_logprobs is not None and not request.logprobs:
        told = "Invalid 'top_logprobs': it needs 'logprobs' to be true."
        raise ApiError(told, param="top_logprobs", code="invalid_value")
    _check_choices(request.n, 1, config)
    grammar = await grammar_of(request)
    messages = conversation(request.messages, usable_tools(request))
    prompt = await asyncio.to_thread(served.tokenizer.encode_chat, messages)
    wanted = request.max_completion_tokens or request.max_tokens
    param = "max_completion_tokens" if request.max_completion_tokens else "max_tokens"
    most = served.max_tokens - len(prompt) if wanted is None else wanted
    _check_length(len(prompt), max(most, 1), served, param if wanted else "", "messages")
    template = GenerationRequest(
        prompt_token_ids=prompt, leaves=(), max_tokens=most, top_logprobs=request.top_logprobs or 0, grammar=grammar
    )
    return _plan(request, served, alias, client, [template])


async def plan_completion(
    request: CompletionRequest, served: ServedModel, alias: str, config: ServeRecipe, client: str
) -> Plan:
    """Return what texts to be continued ask for.

    Raises: ApiError
    """
    if request.best_of not in (None, request.n):
        told = "Unsupported value: 'best_of' must be 'n' on this server."
        raise ApiError(told, param="best_of", code="unsupported_value")
    if request.max_tokens == 0 and not request.echo:
        told = "Invalid 'max_tokens': 0 asks for nothing without 'echo'."
        raise ApiError(told, param="max_tokens", code="invalid_value")
    templates = []
    _check_choices(request.n, len(request.prompt), config)
    for prompt in await asyncio.to_thread(_prompts, request.prompt, served):
        _check_length(len(prompt), request.max_tokens, served, "max_tokens", "prompt")
        top = request.logprobs or 0
        templates.append(
            GenerationRequest(
                prompt_token_ids=prompt, leaves=(), max_tokens=request.max_tokens, top_logprobs=top, echo=request.echo
            )
        )
    return _plan(request, served, alias, client, templates)


async def plan_embeddings(
    request: EmbeddingRequest, served: ServedModel, alias: str, config: ServeRecipe, client: str
) -> Plan:
    """Return what texts to be embedded ask for.

    Raises: ApiError
    """
    if len(request.input) > config.max_completions_per_request:
        told = f"Invalid 'input': {len(request.input)} texts are more than {config.max_completions_per_request}."
        raise ApiError(told, param="input", code="invalid_value")
    if request.dimensions not in (None, served.embedding_dim):
        told = f"Unsupported value: 'dimensions' must be {served.embedding_dim}, this model's width."
        raise ApiError(told, param="dimensions", code="unsupported_value")
    leaves, asks = served.select_leaves(alias, request.leaves), []
    for number, prompt in enumerate(await asyncio.to_thread(_prompts, request.input, served, "input")):
        _check_length(len(prompt), 0, served, "", f"input[{number}]")
        asks.append(GenerationRequest(prompt_token_ids=prompt, leaves=leaves, max_tokens=0, embed=True, client=client))
    return Plan(served, request.model, asks, 1, [], leaves)


async def plan_tokens(request: TokenizeRequest, served: ServedModel) -> list[int]:
    """Return the tokens of a text or a conversation, no more than the model takes.

    Raises: ApiError
    """
    if (request.prompt is None) == (request.messages is None):
        raise ApiError("Give either 'prompt' or 'messages'.", param="prompt", code="invalid_value")
    if request.messages is None:
        [tokens] = await asyncio.to_thread(_prompts, [request.prompt or ""], served)
    else:
        tokens = await asyncio.to_thread(served.tokenizer.encode_chat, conversation(request.messages, ()))
    _check_length(len(tokens), 0, served, "", "prompt" if request.messages is None else "messages")
    return tokens


def _plan(
    request: Generation, served: ServedModel, alias: str, client: str, templates: Sequence[GenerationRequest]
) -> Plan:
    strange = next((token for token in request.logit_bias if int(token) >= served.vocab_size), None)
    if strange is not None:
        told = f"Invalid 'logit_bias': {strange} is not one of the model's {served.vocab_size} tokens."
        raise ApiError(told, param="logit_bias", code="invalid_value")
    leaves = served.select_leaves(alias, request.leaves)
    seed = secrets.randbits(62) if request.seed is None else request.seed
    asks = [
        replace(
            one,
            leaves=leaves,
            temperature=request.temperature,
            top_p=request.top_p or TINY,
            top_k=request.top_k,
            seed=seed + choice,
            logit_bias=[(int(token), added) for token, added in request.logit_bias.items()],
            frequency_penalty=request.frequency_penalty,
            presence_penalty=request.presence_penalty,
            # where one token is wanted, there is one: who measures an echoed text leaves out the last
            stop_token_ids=() if one.echo and one.max_tokens == 1 else served.stop_token_ids,
            client=client,
        )
        for one in templates
        for choice in range(request.n)
    ]
    return Plan(served, request.model, asks, request.n, request.stop, leaves)


def _prompts(prompts: Sequence[str | list[int]], served: ServedModel, param: str = "prompt") -> list[list[int]]:
    """Return the tokens of each prompt; a text is the beginning of a document."""
    tokenizer, begin = served.tokenizer, served.tokenizer.begin_ids or (served.tokenizer.end_id,)
    found = []
    for number, prompt in enumerate(prompts):
        if isinstance(prompt, str):
            found.append([*begin, *tokenizer.encode(prompt)])
            continue
        strange = next((token for token in prompt if token >= served.vocab_size), None)
        if strange is not None or not prompt:
            told = f"{strange} is not one of the model's {served.vocab_size} tokens" if prompt else "it has no token"
            raise ApiError(f"Invalid '{param}': number {number}: {told}.", param=param, code="invalid_value")
        found.append(prompt)
    return found


def _check_choices(answers: int, prompts: int, config: ServeRecipe) -> None:
    if answers * prompts > config.max_completions_per_request:
        told = (
            f"Invalid 'n': {answers} answers to {prompts} prompts are more than {config.max_completions_per_request}."
        )
        raise ApiError(told, param="n", code="integer_above_max_value")


def _check_length(prompt: int, answer: int, served: ServedModel, wanted: str, param: str) -> None:
    if prompt + answer > served.max_tokens:
        at_least = ", and the answer needs at least 1" if answer else ""
        of_answer = f" and {answer} for the answer" if wanted else at_least
        told = (
            f"This model's maximum context length is {served.max_tokens} tokens. However, you requested {prompt} "
            f"tokens in the {param}{of_answer}: shorten the {param}{f' or lower {wanted}' if wanted else ''}."
        )
        raise ApiError(told, param=param, code="context_length_exceeded")
