"""Personal data in a text: counted always, masked on request."""

import ipaddress
import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple

EMAIL = re.compile(r"(?<![\w.+-])[\w.+-]{1,64}@(?:[\w-]{1,63}\.){1,8}[a-zA-Z]{2,24}(?![\w-])")
PHONE = re.compile(r"(?<![\w./-])(?:\+\d{1,3}[ .-]?|\(?0)(?:\(?\d{1,5}\)?[ ./-]?){2,5}\d{2,4}(?![\w/-])")
ADDRESS = re.compile(r"(?<![\w.:])(?:\d{1,3}(?:\.\d{1,3}){3}|[0-9a-fA-F]{0,4}(?::[0-9a-fA-F]{0,4}){2,7})(?![\w.:]*\w)")
PHONE_DIGITS = range(8, 16)


def _is_phone(found: str) -> bool:
    return sum(character.isdigit() for character in found) in PHONE_DIGITS


def _is_public_address(found: str) -> bool:
    try:
        return ipaddress.ip_address(found).is_global
    except ValueError:
        return False


class Kind(NamedTuple):
    """How a kind of personal data looks."""

    pattern: re.Pattern[str]
    marks: str
    """A text with none of these characters has none of the kind."""
    is_one: Callable[[str], bool]
    """Whether what looks like it is one."""
    mask: str


KINDS: Mapping[str, Kind] = {
    "emails": Kind(EMAIL, "@", lambda found: True, "<email>"),
    "phones": Kind(PHONE, "0123456789", _is_phone, "<phone>"),
    "addresses": Kind(ADDRESS, ".:", _is_public_address, "<address>"),
}
COLUMNS = tuple(KINDS)


def count_pii(text: str) -> dict[str, int]:
    """Return how many e-mail addresses, telephone numbers and public network addresses a text names."""
    return {
        name: sum(kind.is_one(found) for found in kind.pattern.findall(text)) if _may_have(text, kind) else 0
        for name, kind in KINDS.items()
    }


def mask_pii(text: str) -> str:
    """Return the text with what `count_personal` counts replaced by its kind, as in <email>."""
    for kind in KINDS.values():
        text = kind.pattern.sub(partial(_masked, kind), text) if _may_have(text, kind) else text
    return text


def _may_have(text: str, kind: Kind) -> bool:
    return any(mark in text for mark in kind.marks)


def _masked(kind: Kind, found: re.Match[str]) -> str:
    return kind.mask if kind.is_one(found[0]) else found[0]
