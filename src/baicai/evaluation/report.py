"""Results as a page: one HTML file that needs nothing else, for people who have never seen a leaf."""

from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any

from baicai.artefact import write_atomic
from baicai.evaluation import plots, tables
from baicai.evaluation.figure_style import leaf_colours
from baicai.evaluation.html_page import facts, figure, name, page, prose, table, tiles, undrawn

_COUNTS = (
    ("total_parameters", "parameters, all"),
    ("active_parameters", "parameters one token uses"),
    ("embedding_parameters", "parameters in embeddings"),
    ("flops_per_token", "operations per token"),
    ("bytes_per_token", "bytes read per token"),
)


def write_report(results: Mapping[str, Any], path: Path) -> None:
    """Write a self-contained HTML page about a model; it loads nothing and runs no script.

    Raises: ArtefactError if the results are malformed, MachineError if the disk is full.
    """
    tables.check_results(results)
    model = name(results["model"][:12])
    parts = [
        f'<p class="kicker">白菜 Baicai · model <code>{model}</code></p>',
        f"<h1>{escape(headline(results)).replace(' %', '&nbsp;%')}</h1>",
        _tiles(results),
        *(part(results) for part in (_quality, _routing, _training, _samples, _origin)),
    ]
    write_atomic(path, page(f"Baicai model {model}", "".join(parts)))


def headline(results: Mapping[str, Any]) -> str:
    """Return the result in one sentence.

    Raises: ArtefactError if the results are malformed.
    """
    tables.check_results(results)
    count = len(results["leaves"])
    uses = f"each token uses {_share(results['cost']['active_share'])} of the parameters"
    if not count:
        return f"A trunk without leaves: {uses}"
    subject = f"{count} leaves" if count > 1 else "1 leaf"
    change = next((line.change for line in tables.lines(results) if line.covered and line.mean), None)
    if change is None:
        return f"{subject} on a trunk, none measured on a domain of its own; {uses}"
    own = "their own domains" if count > 1 else "its own domain"
    if abs(change) < 0.05:
        return f"{subject} {'leave' if count > 1 else 'leaves'} the trunk as it was on {own}; {uses}"
    size = f"{abs(change):.0f}" if abs(change) >= 9.95 else f"{abs(change):.1f}"
    verb, way = "make" if count > 1 else "makes", "better" if change < 0 else "worse"
    return f"{subject} {verb} the trunk {size} % {way} on {own}; {uses}"


def _tiles(results: Mapping[str, Any]) -> str:
    summary, off_domain = results["summary"], results["summary"]["off_domain_ratio"]
    harm = None if off_domain is None else tables.percent(100 * (off_domain - 1))
    values = {
        "of what a leaf gains alone is kept when all are joined": _share(summary["retention_mean"]),
        "is kept on the domain that keeps least": _share(summary["retention_worst"]),
        "bits per byte on text that no leaf was grown for; 0 is no harm": harm,
        "of the parameters work on a token, embeddings aside": _share(results["cost"]["active_share"]),
    }
    return tiles({says: value for says, value in values.items() if value})


def _quality(results: Mapping[str, Any]) -> str:
    count, every = len(results["leaves"]), ""
    if count > tables.MAX_LEAF_COLUMNS:
        every = f"<details><summary>Every leaf on every domain</summary>{_table(results, count)}</details>"
    return (
        "<h2>How well it predicts text</h2>"
        '<p class="note">Bits per byte: how many bits the model needs for one byte of text it has not seen. Lower is '
        "better. <em>Trunk</em> is the model without leaves, <em>joined</em> has them all and chooses for itself, "
        "<em>oracle</em> is told which leaf to use. <em>Change</em> compares joined with the trunk. A domain is "
        "<em>covered</em> if a leaf was grown for it. The best of each row is <b>bold</b>, the oracle left out.</p>"
        f"{_table(results, tables.MAX_LEAF_COLUMNS)}{every}"
        + figure(
            plots.quality_bars,
            results,
            "Each row runs from the trunk (ring) to the joined model (dot): further left is better.",
            "The bar is the oracle. A dot on the bar means that joining lost nothing.",
        )
    )


def _routing(results: Mapping[str, Any]) -> str:
    routing = results["routing"]
    if not (routing["leaves"] and routing["layers"] and routing["share"]):
        return ""
    return "<h2>Which leaf reads what</h2>" + figure(
        plots.routing_heatmap,
        results,
        "A row is a kind of text, a column a leaf; the darker the cell (brighter on a dark page), the more weight the "
        "leaf got from a token of that text.",
        "Good routing is strong where a text meets its own leaf (framed) and near 0 elsewhere. Below: layer by layer.",
        *undrawn(plots.plot_labels(results)),
    )


def _training(results: Mapping[str, Any]) -> str:
    if not any(results["curves"].values()):
        return ""
    return "<h2>How it was trained</h2>" + figure(
        plots.curves, results, "How surprised each stage was by the text it was learning from. Lower is better."
    )


def _samples(results: Mapping[str, Any]) -> str:
    if not results["samples"]:
        return ""
    colours = leaf_colours(results["leaves"])
    used = {piece["leaf"] for sample in results["samples"] for piece in sample["pieces"]}
    keys = "".join(f'<li><i style="background:{colours[n]}"></i>{name(n)}</li>' for n in results["leaves"] if n in used)
    boxes = ""
    for sample in results["samples"]:
        pieces = "".join(_piece(piece, colours) for piece in sample["pieces"])
        boxes += f'<div class="sample"><p class="prompt">{prose(sample["prompt"])}</p><p>{pieces}</p></div>'
    return (
        '<h2>What it says</h2><p class="note">Each word is tinted by the leaf that had most weight in it, the stronger '
        f'the more weight; words without a tint come from the trunk.</p><ul class="legend">{keys}</ul>{boxes}'
    )


def _origin(results: Mapping[str, Any]) -> str:
    made = {"model": results["model"], "trunk": results["trunk"]}
    made |= {f"leaf {leaf}": digest for leaf, digest in results["leaves"].items()}
    return (
        facts("What it is made of", {part: f"<code>{name(digest)}</code>" for part, digest in made.items()})
        + facts("What it costs", {text: f"{results['cost'][key]:,}" for key, text in _COUNTS})
        + facts(
            "What it was measured on: bytes of held-out text",
            {n: f"{count:,}" for n, count in results["bytes"].items()},
        )
    )


def _table(results: Mapping[str, Any], max_leaf_columns: int) -> str:
    heads, rows = tables.grid(results, max_leaf_columns)
    return table(heads, [(cells, line.mean) for line, cells in rows])


def _piece(piece: Mapping[str, Any], colours: Mapping[str, str]) -> str:
    text, leaf = prose(piece["text"]), piece["leaf"]
    if leaf is None:
        return text
    weight = piece["weight"] or 0.0
    alpha = round(255 * (0.12 + 0.38 * min(1.0, max(0.0, weight))))
    style = f"background:{colours[leaf]}{alpha:02x};box-shadow:inset 0 -2px {colours[leaf]}"
    return f'<span style="{style}" title="{name(leaf)} {weight:.2f}">{text}</span>'


def _share(value: float | None) -> str | None:
    return None if value is None else f"{100 * value:.0f} %"
