"""Read tokenizers and chat templates of checkpoints, and write ours in transformers' format."""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tokenizers

from baicai.artefact import read_json, write_json
from baicai.config import canonical_json
from baicai.data.chat_template import SEPARATOR, ChatFormat, Turn
from baicai.data.chat_template_probe import chat_format
from baicai.data.tokenizer import TOKENIZER_FILE, Tokenizer
from baicai.errors import ArtefactError, DataError

PLAIN_NOTE = "The checkpoint has no chat template that only adds markers around messages: conversations are plain text."


def read_tokenizer(folder: Path, config: Mapping[str, Any]) -> tuple[Tokenizer, tuple[str, ...]]:
    """Read a checkpoint's tokenizer with the markers of its chat template.

    Args:
        config: content of config.json, which names the end tokens.

    Returns: the tokenizer, and notes for the user.

    Raises: ArtefactError if it is missing, damaged or not supported.
    """
    file = folder / TOKENIZER_FILE
    if not file.exists():
        raise ArtefactError(
            f"{file} is missing: write it with transformers' AutoTokenizer.from_pretrained({str(folder)!r})"
            ".save_pretrained(FOLDER)"
        )
    definition, settings = read_json(file), _optional(folder / "tokenizer_config.json")
    try:
        bpe = tokenizers.Tokenizer.from_buffer(canonical_json(definition))
    except ValueError as error:
        raise ArtefactError(f"{file} is not a valid tokenizer: {error}") from None
    names = {key: _token_text(settings.get(key)) for key in ("bos_token", "eos_token", "unk_token", "pad_token")}
    ends = _end_tokens(bpe, config, _optional(folder / "generation_config.json"), names["eos_token"])
    if not ends:
        raise ArtefactError(f"{folder} names no end token: add eos_token to tokenizer_config.json")
    begin = _begin(bpe, settings, names["bos_token"])
    chat = chat_format(_template(folder, settings), names, begin, ends)
    notes = () if chat else (PLAIN_NOTE,)
    if chat:  # a turn that ends in plain words has no token to stop at
        chat = dataclasses.replace(chat, stop=[name for name in chat.stop if bpe.token_to_id(name) is not None])
    try:
        return Tokenizer(definition, chat or _plain(begin, ends)), notes
    except DataError as error:
        raise ArtefactError(f"{file}: {error}") from None


def _optional(file: Path) -> dict[str, Any]:
    return read_json(file) if file.exists() else {}


def _token_text(token: Any) -> str:
    return str(token.get("content", "")) if isinstance(token, dict) else str(token or "")


def _end_tokens(
    bpe: tokenizers.Tokenizer, config: Mapping[str, Any], generation: Mapping[str, Any], eos: str
) -> list[str]:
    """Return the tokens that end an answer; the first one also ends a document."""
    fields = (source.get("eos_token_id") for source in (config, generation))
    ids = [token_id for value in fields for token_id in (value if isinstance(value, list) else [value])]
    names = [bpe.id_to_token(token_id) for token_id in ids if isinstance(token_id, int) and 0 <= token_id < 2**32]
    return list(dict.fromkeys(name for name in [*names, eos] if name and bpe.token_to_id(name) is not None))


def _begin(bpe: tokenizers.Tokenizer, settings: Mapping[str, Any], bos: str) -> str:
    """Return the tokens that the tokenizer adds before every text, as text."""
    if settings.get("add_bos_token") is False:
        return ""
    with_special, without = bpe.encode("a").ids, bpe.encode("a", add_special_tokens=False).ids
    added = with_special[: len(with_special) - len(without)] if with_special[-len(without) :] == without else []
    return "".join(str(bpe.id_to_token(token_id)) for token_id in added) or (
        bos if settings.get("add_bos_token") else ""
    )


def _template(folder: Path, settings: Mapping[str, Any]) -> str:
    file = folder / "chat_template.jinja"
    if file.exists():
        return file.read_text("utf-8", "replace")
    template = settings.get("chat_template")
    if isinstance(template, list):
        named = (entry for entry in template if isinstance(entry, dict) and entry.get("name") == "default")
        template = next((entry.get("template") for entry in named), None)
    return template if isinstance(template, str) else ""


def _plain(begin: str, ends: list[str]) -> ChatFormat:
    return ChatFormat(
        begin=begin,
        end=ends[0],
        stop=ends,
        system=Turn(before="", after="\n\n"),
        user=Turn(before="User:\n", after="\n\n"),
        assistant=Turn(before="Assistant:\n", after="\n\n"),
    )


def write_tokenizer(folder: Path, tokenizer: Tokenizer, max_tokens: int) -> dict[str, Any]:
    """Write a tokenizer and its chat template in transformers' format. Returns the token ids for config.json.

    Raises: MachineError if the disk is full.
    """
    chat = tokenizer.chat
    tokenizer.save(folder / TOKENIZER_FILE)
    begins = tokenizer.begin_ids[0] if tokenizer.begin_ids else None
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": chat.begin or None,
        "eos_token": chat.end,
        "pad_token": chat.end,
        "add_bos_token": bool(chat.begin),
        "clean_up_tokenization_spaces": False,
        "model_max_length": max_tokens,
        "chat_template": chat_template(chat),
    }
    write_json(folder / "tokenizer_config.json", settings)
    ids = {"bos_token_id": begins, "eos_token_id": tokenizer.end_id, "pad_token_id": tokenizer.end_id}
    write_json(folder / "generation_config.json", {**ids, "eos_token_id": list(tokenizer.stop_ids)})
    return ids


def chat_template(chat: ChatFormat) -> str:
    """Return a Jinja template that renders conversations as `ChatFormat.parts` does.

    One case differs: without a turn of its own, a final system message is dropped, as it waits for a question.
    """

    def quoted(text: str) -> str:
        return json.dumps(text, ensure_ascii=False)

    def render(turn: Turn, prefix: str = "") -> str:
        return f"{{{{ {quoted(turn.before)} + {prefix}message['content'] + {quoted(turn.after)} }}}}"

    start = f"{{{{ {quoted(chat.opening)} }}}}" if chat.opening else ""
    if chat.system is None:
        start += "{% set ns = namespace(system='') %}"
        system = f"{{% set ns.system = ns.system + message['content'] + {quoted(SEPARATOR)} %}}"
        user = render(chat.user, "ns.system + ") + "{% set ns.system = '' %}"
    else:
        if start:
            start = f"{{% if not messages or messages[0]['role'] != 'system' %}}{start}{{% endif %}}"
        system, user = render(chat.system), render(chat.user)
    ask = chat.assistant.before if chat.ask is None else chat.ask
    return (
        f"{{{{ {quoted(chat.begin)} }}}}{start}"
        f"{{% for message in messages %}}{{% if message['role'] == 'system' %}}{system}"
        f"{{% elif message['role'] == 'user' %}}{user}{{% else %}}{render(chat.assistant)}{{% endif %}}{{% endfor %}}"
        f"{{% if add_generation_prompt %}}{{{{ {quoted(ask)} }}}}{{% endif %}}"
    )
