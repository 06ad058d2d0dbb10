"""`baicai import` and `baicai export`."""

import dataclasses
from pathlib import Path

from baicai.artefact import read_json
from baicai.cli.arguments import Facts, print_facts, report_unchanged
from baicai.convert.exporter import ExportRecipe, export_model
from baicai.convert.importer import ImportRecipe, import_checkpoint
from baicai.convert.parity import Parity, check_export
from baicai.errors import ArtefactError
from baicai.leaves import leaf, trunk
from baicai.leaves.model import open_model
from baicai.run import run_stage


def import_(config: ImportRecipe, out: Path, as_json: bool) -> None:
    """Import a checkpoint and print its card. The result is not opened: it may be larger than memory."""
    if not run_stage(import_checkpoint, config, out):
        report_unchanged(out)
    _print(_imported(out), as_json)


def _imported(out: Path) -> Facts:
    if (out / "model.toml").exists():
        cards = sorted(out.glob(f"*/{leaf.LEAF_CARD}"))
        leaves = {card["name"]: card["hash"] for card in map(read_json, cards)}
        trunk_card = read_json(out / "trunk" / trunk.TRUNK_CARD)
        facts = {"kind": "model", "path": str(out), "trunk": trunk_card["hash"], "leaves": leaves}
    else:
        trunk_card = read_json(out / trunk.TRUNK_CARD)
        facts = {"kind": "trunk", "path": str(out), "hash": trunk_card["hash"]}
    facts |= {"sizes": trunk_card["model"], "public_sample": trunk_card["replay"] is not None}
    return facts | ({"imported": trunk_card["imported"]} if "imported" in trunk_card else {})


def export(config: ExportRecipe, out: Path, check: bool, as_json: bool) -> None:
    """Export a model and, with `check`, compare it with the original in the engine it was exported for.

    Raises: ArtefactError if the two differ.
    """
    if not run_stage(export_model, config, out):
        report_unchanged(out)
    files = sorted(out.iterdir())
    facts: Facts = {"kind": "export", "path": str(out), "format": config.format, "files": [file.name for file in files]}
    facts["bytes"] = sum(file.stat().st_size for file in files)
    parity = check_export(out, open_model(config.model)) if check else None
    if parity is not None:
        facts |= {"check": dataclasses.asdict(parity)} if as_json else _parity_lines(parity)
    _print(facts, as_json)
    if parity is not None and parity.problem is not None:
        raise ArtefactError(f"{out} does not match its model: {parity.problem}")


def _parity_lines(parity: Parity) -> dict[str, str]:
    same_tokens = parity.tokens - parity.other_tokens
    return {
        "engine": parity.engine,
        "same greedy text": f"{parity.equal_prompts} of {parity.prompts} prompts",
        "same greedy tokens": f"{same_tokens:,} of {parity.tokens:,}",
        "largest difference": f"{parity.max_difference:.1e} of a logit, where no router was at a tie",
        "mean difference": f"{parity.mean_difference:.1e} standard deviations of the logits",
        "router ties": f"in {parity.ties} prompts",
    }


def _print(facts: Facts, as_json: bool) -> None:
    if not as_json:
        facts = {key: ", ".join(value) if isinstance(value, list) else value for key, value in facts.items()}
    print_facts(facts, as_json)
