"""Cards: what an artefact is, in Markdown, made from what its JSON says."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from baicai.config import from_table, recipe
from baicai.data.manifest import PullReceipt

HEADS = {"leaf": "with this leaf"}
"""What a column of a card's quality is called, where that is not its key."""


@recipe
class _Text:
    domain: str
    manifest: str
    tokens: int
    bytes: int
    licences: dict[str, int]
    receipt: PullReceipt | None = None


@recipe
class _Shown:
    data: list[_Text]
    curve: list[dict[str, float]]
    metrics: dict[str, float | dict[str, float] | None]


def check_card(card: Mapping[str, Any], file: Path) -> None:
    """Check what pages and tables show of a trunk's or a leaf's card.

    Raises: ConfigError
    """
    from_table(_Shown, {key: card.get(key) for key in ("data", "curve", "metrics")}, str(file))


def trunk_readme(card: Mapping[str, Any]) -> str:
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


def _origin(card: Mapping[str, Any]) -> str:
    imported = card.get("imported")
    if imported:
        return f"- imported from {imported['name']} ({imported['architecture']}), licence {imported['licence']}"
    distilled = card.get("distilled")
    if distilled:
        return f"- distilled from `{distilled['teacher']}` on {card['metrics']['tokens']:,} tokens"
    return f"- trained on {card['metrics']['tokens']:,} tokens, last loss {card['metrics']['loss']:.3f} nats a token"


def leaf_readme(card: Mapping[str, Any]) -> str:
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


def _quality(card: Mapping[str, Any]) -> list[str]:
    """Return the bits per byte that a card tells, a column for each of whom it tells them."""
    texts = {text: row for text, row in card["metrics"].items() if isinstance(row, dict)}
    columns = list(dict.fromkeys(column for row in texts.values() for column in row))
    if not columns:
        return []
    return [
        f"| bits per byte on | {' | '.join(HEADS.get(column, column) for column in columns)} |",
        f"| --- |{' --- |' * len(columns)}",
        *(f"| {text} | {' | '.join(f'{row[column]:.3f}' for column in columns)} |" for text, row in texts.items()),
        "",
    ]


def model_readme(lock: Mapping[str, Any], trunk: Mapping[str, Any], leaves: Mapping[str, Mapping[str, Any]]) -> str:
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
        tokens = sum(one["tokens"] for one in leaf["data"])
        licences = sorted({licence for one in leaf["data"] for licence in one["licences"]})
        lines.append(f"| {name} | `{leaf['hash'][:12]}` | {tokens:,} | {', '.join(licences)} |")
    return "\n".join(lines) + "\n"


def _curve(curve: list[Mapping[str, float]], points: int = 8) -> list[str]:
    """Return the loss against the tokens seen, smoothed over the parts that it is shown in."""
    parts = [curve[len(curve) * i // points : len(curve) * (i + 1) // points] for i in range(points)]
    parts = [part for part in parts if part]
    if not parts:
        return []
    seen = (f"{part[-1]['tokens'] / 1e6:.2f}" for part in parts)
    loss = (f"{sum(one['loss'] for one in part) / len(part):.3f}" for part in parts)
    return [
        f"| tokens, million | {' | '.join(seen)} |",
        f"| --- |{' --- |' * len(parts)}",
        f"| loss, nats a token | {' | '.join(loss)} |",
    ]


def _data(data: list[Mapping[str, Any]]) -> list[str]:
    lines = ["| text | tokens | bytes | licences | manifest |", "| --- | --- | --- | --- | --- |"]
    for one in data:
        licences = ", ".join(one["licences"])
        lines.append(
            f"| {one['domain']} | {one['tokens']:,} | {one['bytes']:,} | {licences} | `{one['manifest'][:12]}` |"
        )
    return lines
