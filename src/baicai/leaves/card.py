"""Cards of trunks and leaves: checks of their JSON, and the README that is made from it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from baicai.config import Table, from_table, recipe
from baicai.data.manifest import PullReceipt

Card = dict[str, Any]
"""The JSON that describes a trunk or a leaf: format, kind, hash, sizes, the texts it was trained on (`data`), quality
(`metrics`), loss by tokens (`curve`), and fields of the stage that made it."""
TextRecord = dict[str, Any]
"""A text in a card's `data`: domain, manifest (its hash), tokens, bytes, licences, and the receipt of a release."""

COLUMN_TITLES = {"leaf": "with this leaf"}
"""Titles of columns in the table of bits per byte, where they differ from the key."""


@recipe
class _TextRecord:
    domain: str
    manifest: str
    tokens: int
    bytes: int
    licences: dict[str, int]
    receipt: PullReceipt | None = None


@recipe
class _DisplayedFields:
    data: list[_TextRecord]
    curve: list[dict[str, float]]
    metrics: dict[str, float | dict[str, float] | None]


def check_card(card: Card, file: Path) -> None:
    """Check the fields of a trunk's or leaf's card that pages and tables display.

    Raises: ConfigError
    """
    from_table(_DisplayedFields, {key: card.get(key) for key in ("data", "curve", "metrics")}, str(file))


def trunk_readme(card: Card) -> str:
    """Return the README of a trunk."""
    sizes = card["model"]
    lines = [
        "# Trunk",
        "",
        f"A frozen trunk of {sizes['num_layers']} layers, width {sizes['dim']}, vocabulary {sizes['vocab_size']}. "
        f"Grow leaves on it with `baicai grow`.",
        "",
        f"- hash: `{card['hash']}`",
        _origin(card),
        "",
        *_data(card["data"]),
        "",
        *_quality(card),
        *_curve(card["curve"]),
    ]
    return "\n".join(lines) + "\n"


def _origin(card: Card) -> str:
    imported = card.get("imported")
    if imported:
        return f"- imported from {imported['name']} ({imported['architecture']}), licence {imported['licence']}"
    distilled = card.get("distilled")
    if distilled:
        return f"- distilled from `{distilled['teacher']}` on {card['metrics']['tokens']:,} tokens"
    return f"- trained on {card['metrics']['tokens']:,} tokens, last loss {card['metrics']['loss']:.3f} nats a token"


def leaf_readme(card: Card) -> str:
    """Return the README of a leaf."""
    sizes = card["sizes"]
    lines = [
        f"# Leaf {card['name']}",
        "",
        f"{sizes['num_experts']} experts of hidden size {sizes['expert_dim']} in each layer from layer "
        f"{sizes['first_layer']} up; a token uses {sizes['top_k']}. It fits the trunk below and no other.",
        "",
        f"- hash: `{card['hash']}`",
        f"- trunk: `{card['trunk']}`",
        "",
        *_data(card["data"]),
        "",
        *_quality(card),
        *_curve(card["curve"]),
    ]
    return "\n".join(lines) + "\n"


def _quality(card: Card) -> list[str]:
    """Return the table of bits per byte: a row per text, a column for trunk, leaf or teacher."""
    texts = {text: row for text, row in card["metrics"].items() if isinstance(row, dict)}
    columns = list(dict.fromkeys(column for row in texts.values() for column in row))
    if not columns:
        return []
    return [
        f"| bits per byte on | {' | '.join(COLUMN_TITLES.get(column, column) for column in columns)} |",
        f"| --- |{' --- |' * len(columns)}",
        *(f"| {text} | {' | '.join(f'{row[column]:.3f}' for column in columns)} |" for text, row in texts.items()),
        "",
    ]


def model_readme(lock: Table, trunk: Card, leaves: Mapping[str, Card]) -> str:
    """Return the README of a model."""
    lines = [
        "# Model",
        "",
        f"A trunk and {len(leaves)} leaves, joined by hash. `baicai chat model={lock['hash'][:12]}` talks to it.",
        "",
        f"- hash: `{lock['hash']}`",
        f"- trunk: `{trunk['hash']}`",
        "",
        "| leaf | hash | tokens of its own text | licences |",
        "| --- | --- | --- | --- |",
    ]
    for name, leaf in leaves.items():
        tokens = sum(text["tokens"] for text in leaf["data"])
        licences = sorted({licence for text in leaf["data"] for licence in text["licences"]})
        lines.append(f"| {name} | `{leaf['hash'][:12]}` | {tokens:,} | {', '.join(licences)} |")
    return "\n".join(lines) + "\n"


def _curve(curve: list[Mapping[str, float]], points: int = 8) -> list[str]:
    """Return the table of the loss by tokens, averaged over each of its columns."""
    parts = [curve[len(curve) * i // points : len(curve) * (i + 1) // points] for i in range(points)]
    parts = [part for part in parts if part]
    if not parts:
        return []
    tokens = (f"{part[-1]['tokens'] / 1e6:.2f}" for part in parts)
    loss = (f"{sum(point['loss'] for point in part) / len(part):.3f}" for part in parts)
    return [
        f"| tokens, million | {' | '.join(tokens)} |",
        f"| --- |{' --- |' * len(parts)}",
        f"| loss, nats a token | {' | '.join(loss)} |",
    ]


def _data(data: list[TextRecord]) -> list[str]:
    lines = ["| text | tokens | bytes | licences | manifest |", "| --- | --- | --- | --- | --- |"]
    for text in data:
        licences = ", ".join(text["licences"])
        lines.append(
            f"| {text['domain']} | {text['tokens']:,} | {text['bytes']:,} | {licences} | `{text['manifest'][:12]}` |"
        )
    return lines
