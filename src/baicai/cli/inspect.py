"""`baicai inspect`: verify an artefact and describe it, for people and for programs."""

import dataclasses
from pathlib import Path

from baicai.artefact import find_artefact, hash_prefix, read_json
from baicai.cli.arguments import Facts
from baicai.config import to_table
from baicai.data.shards import TokenShards
from baicai.data.tokenizer import Tokenizer
from baicai.distillation.report.page import distillation_headline
from baicai.distillation.report.results import DistillationResults
from baicai.errors import ArtefactError
from baicai.evaluation.results import EvaluationResults
from baicai.leaves.card import check_card
from baicai.leaves.leaf import open_leaf
from baicai.leaves.model import SparseModel, assemble_model, open_model
from baicai.leaves.signing import is_signed
from baicai.leaves.trunk import open_trunk
from baicai.model.cost import count_cost


def look_up(reference: str) -> Facts:
    """Describe the artefact at a path or with a hash.

    Raises: ArtefactError as `describe`, and if the path of that hash now has another artefact.
    """
    facts = describe(find_artefact(reference))
    if not str(facts.get("hash", "")).startswith(hash_prefix(reference)):
        raise ArtefactError(
            f"{facts['path']} now has the hash {str(facts.get('hash'))[:8]}, not {reference}: give the artefact's path"
        )
    return facts


def describe(path: Path) -> Facts:
    """Open an artefact, which verifies hashes, shapes and values, and describe it.

    Raises: ArtefactError if it is damaged or not an artefact.
    """
    folder = path if path.is_dir() else path.parent
    if (folder / "leaf.json").exists():
        return _leaf(folder)
    if (folder / "model.toml").exists() or (folder / "trunk.safetensors").exists():
        return _model(open_model(folder), folder)
    if (folder / "manifest.json").exists():
        shards = TokenShards.open(folder)
        return {"kind": "shards", "path": str(folder), "verified": True, **to_table(shards.manifest)}
    if (folder / "results.json").exists():
        return _results(folder)
    if (folder / "recipe.json").exists():
        report = folder / "report" / "report.html"
        facts = {"kind": "run", "path": str(folder), "done": (folder / "done").exists()}
        return facts | ({"report": str(report)} if report.exists() else {}) | read_json(folder / "recipe.json")
    if (folder / "tokenizer.json").exists():
        tokenizer = Tokenizer.open(folder)
        return {"kind": "tokenizer", "path": str(folder), "hash": tokenizer.hash, "vocab_size": tokenizer.vocab_size}
    raise ArtefactError(
        f"{path} is not an artefact: expected a trunk, leaf, model, run, evaluation, shards or tokenizer"
    )


def _results(folder: Path) -> Facts:
    results = read_json(folder / "results.json")
    paths = {"path": str(folder), "report": str(folder / "report.html")}
    if "teacher" in results:
        headline = distillation_headline(DistillationResults.parse(results))
        facts = {key: results[key] for key in ("teacher", "student", "kept", "wanted", "dropped", "quality")}
        return {"kind": "distillation", **paths, "result": headline, **facts}
    EvaluationResults.parse(results)
    return {"kind": "evaluation", **paths} | {
        key: results[key] for key in ("model", "bits_per_byte", "summary", "cost")
    }


def _leaf(folder: Path) -> Facts:
    card = read_json(folder / "leaf.json")
    check_card(card, folder / "leaf.json")
    facts = {**card, "kind": "leaf", "path": str(folder), "signed": is_signed(folder)}
    try:
        trunk = open_trunk(str(card.get("trunk")))
    except ArtefactError as error:
        return {**facts, "verified": False, "note": f"its trunk cannot be opened: {error}"}
    leaf = open_leaf(folder, trunk)
    parameters = sum(tensor.numel() for tensor in leaf.experts.state_dict().values())
    cost = dataclasses.asdict(count_cost(assemble_model(trunk, [leaf], 1).network))
    return {**facts, "verified": True, "parameters": parameters, "with_trunk": cost}


def _model(model: SparseModel, folder: Path) -> Facts:
    data = [entry | {"of": "trunk"} for entry in model.trunk.card["data"]]
    data += [entry | {"of": name} for name, leaf in model.leaves.items() for entry in leaf.card["data"]]
    return {
        "kind": "model" if (folder / "model.toml").exists() else "trunk",
        "path": str(folder),
        "verified": True,
        "hash": model.hash if (folder / "model.toml").exists() else model.trunk.hash,
        "trunk": model.trunk.hash,
        "leaves": {name: leaf.hash for name, leaf in model.leaves.items()},
        "topk_group": model.topk_group,
        "sizes": model.trunk.card["model"],
        **dataclasses.asdict(count_cost(model.network)),
        "data": data,
    }
