"""The evaluation report: one HTML file for readers who have never seen a leaf."""

from pathlib import Path

from baicai.artefact import write_atomic
from baicai.evaluation import plots
from baicai.evaluation.figure_style import leaf_colours
from baicai.evaluation.formatting import percent
from baicai.evaluation.html_page import draw_picture, missing_glyphs, render_page
from baicai.evaluation.results import EvaluationResults, SamplePiece
from baicai.evaluation.tables import MAX_LEAF_COLUMNS, domain_scores, scores_table

_TEMPLATE = Path(__file__).parent / "templates" / "evaluation_report.html"


def write_report(results: EvaluationResults, path: Path) -> None:
    """Write a self-contained HTML page about a model.

    Raises: MachineError if the disk is full.
    """
    num_leaves, routing, cost = len(results.leaves), results.routing, results.cost
    has_routing = routing.leaves and routing.layers and routing.share
    colours = leaf_colours(results.leaves)

    def tint(piece: SamplePiece) -> str:
        """Style a piece in the colour of its leaf, the stronger the larger the leaf's weight."""
        colour = colours[piece.leaf or ""]
        alpha = round(255 * (0.12 + 0.38 * min(1.0, max(0.0, piece.weight or 0.0))))
        return f"background:{colour}{alpha:02x};box-shadow:inset 0 -2px {colour}"

    page = render_page(
        _TEMPLATE,
        results=results,
        headline=evaluation_headline(results),
        tiles=_tiles(results),
        table=scores_table(results),
        full_table=scores_table(results, num_leaves) if num_leaves > MAX_LEAF_COLUMNS else None,
        quality=draw_picture(plots.quality_dots, results),
        routing=draw_picture(plots.routing_heatmap, results) if has_routing else None,
        curves=draw_picture(plots.loss_curves, results) if any(results.curves.values()) else None,
        missing_glyphs=missing_glyphs(plots.plot_labels(results)),
        colours=colours,
        sampled_leaves={piece.leaf for sample in results.samples for piece in sample.pieces},
        tint=tint,
        hashes={"model": results.model, "trunk": results.trunk}
        | {f"leaf {name}": digest for name, digest in results.leaves.items()},
        costs={
            "total parameters": f"{cost.total_parameters:,}",
            "active parameters per token": f"{cost.active_parameters:,}",
            "embedding parameters": f"{cost.embedding_parameters:,}",
            "floating-point operations per token": f"{cost.flops_per_token:,}",
            "bytes read per token": f"{cost.bytes_per_token:,}",
        },
        num_bytes={domain: f"{count:,}" for domain, count in results.bytes.items()},
    )
    write_atomic(path, page)


def evaluation_headline(results: EvaluationResults) -> str:
    """Summarize the results in one sentence."""
    count = len(results.leaves)
    usage = f"each token uses {_share(results.cost.active_share)} of the parameters"
    if not count:
        return f"A trunk without leaves: {usage}"
    subject = f"{count} leaves" if count > 1 else "1 leaf"
    change = next((scores.change for scores in domain_scores(results) if scores.is_covered and scores.is_mean), None)
    if change is None:
        return f"{subject} on a trunk, none measured on a domain of its own; {usage}"
    domains = "their own domains" if count > 1 else "its own domain"
    if abs(change) < 0.05:
        return f"{subject} {'leave' if count > 1 else 'leaves'} the trunk unchanged on {domains}; {usage}"
    size = f"{abs(change):.0f}" if abs(change) >= 9.95 else f"{abs(change):.1f}"
    verb, direction = "make" if count > 1 else "makes", "better" if change < 0 else "worse"
    return f"{subject} {verb} the trunk {size} % {direction} on {domains}; {usage}"


def _tiles(results: EvaluationResults) -> dict[str, str]:
    summary, off_domain = results.summary, results.summary.off_domain_ratio
    values = {
        "of each leaf's gain is kept in the joined model, on average": _share(summary.retention_mean),
        "of the gain is kept on the worst domain": _share(summary.retention_worst),
        "change in bits per byte on domains without a leaf; 0 means no harm": None
        if off_domain is None
        else percent(100 * (off_domain - 1)),
        "of the parameters are active for each token, embeddings excluded": _share(results.cost.active_share),
    }
    return {label: value for label, value in values.items() if value}


def _share(value: float | None) -> str | None:
    return None if value is None else f"{100 * value:.0f} %"
