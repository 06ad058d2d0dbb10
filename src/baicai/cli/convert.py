"""`import` and `export`: the two verbs that take what they are about as a plain word."""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from baicai.artefact import read_json
from baicai.cli.arguments import show
from baicai.config import read_recipe
from baicai.convert.exporter import ExportRecipe, export_model
from baicai.convert.importer import ImportRecipe, import_checkpoint
from baicai.convert.parity import Parity, check_export
from baicai.errors import ArtefactError
from baicai.leaves import leaf, trunk
from baicai.leaves.model import open_model
from baicai.run import run_stage


def read_subject(kind: type[Any], subject: str, words: Sequence[str]) -> Any:
    """Return the recipe of words whose first may be the value of the key `subject`, or a recipe file.

    Raises: ConfigError
    """
    if words and "=" not in words[0]:
        if words[0].endswith(".toml"):
            return read_recipe(kind, Path(words[0]), words[1:])
        words = [f"{subject}={words[0]}", *words[1:]]
    return read_recipe(kind, None, words)


def import_(words: Sequence[str], out: Path, as_json: bool) -> None:
    """Import a checkpoint and say what was made, without opening it: it may be larger than memory."""
    done = run_stage(import_checkpoint, read_subject(ImportRecipe, "source", words), out)
    if not done:
        click.echo(f"{out} is there already, made from this very recipe.", err=True)
    _tell(_made(out), as_json)


def _made(out: Path) -> dict[str, Any]:
    if (out / "model.toml").exists():
        cards = sorted(out.glob(f"*/{leaf.LEAF_CARD}"))
        leaves = {card["name"]: card["hash"] for card in map(read_json, cards)}
        of_trunk = read_json(out / "trunk" / trunk.TRUNK_CARD)
        return {"kind": "model", "path": str(out), "trunk": of_trunk["hash"], "leaves": leaves, **_facts(of_trunk)}
    card = read_json(out / trunk.TRUNK_CARD)
    return {"kind": "trunk", "path": str(out), "hash": card["hash"], **_facts(card)}


def _facts(card: dict[str, Any]) -> dict[str, Any]:
    imported = {"imported": card["imported"]} if "imported" in card else {}
    return {"sizes": card["model"], "public_sample": card["replay"] is not None, **imported}


def export(words: Sequence[str], out: Path, check: bool, as_json: bool) -> None:
    """Export a model and, if asked, compare it with the original in the engine it is for.

    Raises: ArtefactError if it does not say the same.
    """
    config = read_subject(ExportRecipe, "model", words)
    if not run_stage(export_model, config, out):
        click.echo(f"{out} is there already, made from this very recipe.", err=True)
    found: dict[str, Any] = {"kind": "export", "path": str(out), "format": config.format}
    found["files"] = sorted(file.name for file in out.iterdir())
    found["bytes"] = sum(file.stat().st_size for file in out.iterdir())
    parity = check_export(out, open_model(config.model)) if check else None
    if parity is not None:
        found |= {"check": dataclasses.asdict(parity)} if as_json else _lines(parity)
    _tell(found, as_json)
    if parity is not None and parity.problem is not None:
        raise ArtefactError(f"{out} does not say what the model says: {parity.problem}")


def _lines(parity: Parity) -> dict[str, str]:
    """Return what a check found, in words."""
    same = parity.tokens - parity.other_tokens
    return {
        "engine": parity.engine,
        "same greedy text": f"{parity.equal_prompts} of {parity.prompts} prompts",
        "same greedy tokens": f"{same:,} of {parity.tokens:,}",
        "largest difference": f"{parity.max_difference:.1e} of a logit, where no router was at a tie",
        "mean difference": f"{parity.mean_difference:.1e} standard deviations of the logits",
        "ties in a router": f"in {parity.ties} prompts",
    }


def _tell(found: dict[str, Any], as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(found))
        return
    show({key: ", ".join(value) if isinstance(value, list) else value for key, value in found.items()})
