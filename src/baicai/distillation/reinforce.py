"""Reinforcement of the teacher before distillation: grow a leaf for each domain on which it is weak."""

from collections.abc import Mapping
from pathlib import Path

from baicai.distillation.config import DistillRecipe
from baicai.distillation.student.initialize import REINFORCED_SUFFIX
from baicai.distillation.teacher.weakness import Weakness
from baicai.errors import ConfigError
from baicai.leaves.grow import GrowRecipe, grow_leaf
from baicai.leaves.model import SparseModel, open_model, write_model
from baicai.run import Run, notify, run_stage

WEAK_SHARE = 0.5
"""A teacher is weak on a domain if a larger share of documents is predicted better by another model, or a larger share
of its answers is wrong."""


def domains_to_reinforce(config: DistillRecipe, weaknesses: Mapping[str, Weakness]) -> list[str]:
    """Return the domains for which a leaf is grown before distillation."""
    if config.reinforce == "weak":
        return [domain for domain, weakness in weaknesses.items() if is_weak(weakness)]
    return config.named_domains_to_reinforce()


def is_weak(weakness: Weakness) -> bool:
    """Return whether a teacher is weak on a domain as a whole."""
    worse = weakness.worse > WEAK_SHARE * weakness.documents
    return worse or (weakness.wrong or 0) > WEAK_SHARE * weakness.answers


def reinforce_teacher(
    config: DistillRecipe, domains: list[str], teacher: SparseModel | None, run: Run
) -> tuple[Path, dict[str, str]]:
    """Grow a leaf for each domain and join them to the teacher; everything is stored in the run's folder.

    Returns: the folder of the reinforced teacher, and the name of the new leaf of each domain.
    Raises: ConfigError if the teacher is in transformers' format, on which no leaf can be grown.
    """
    if teacher is None:
        raise ConfigError(
            f"teacher {config.teacher} is in transformers' format, so no leaf can be grown on it for "
            f"{', '.join(domains)}: run baicai import on it first, or use reinforce=never"
        )
    leaves = {}
    for domain in domains:
        leaf = domain if domain not in teacher.leaves else domain + REINFORCED_SUFFIX
        recipe = GrowRecipe(
            name=leaf,
            trunk=str(teacher.trunk.path),
            data=[source for source in config.data if source.domain == domain],
            leaf=teacher.network.leaf_config or config.reinforce_leaf,
            train=config.reinforce_train,
        )
        notify(f"Growing a leaf on the teacher to reinforce {domain}.")
        run_stage(grow_leaf, recipe, run.folder / "leaves" / leaf)
        leaves[domain] = leaf
    out = run.folder / "teacher"
    if not out.exists():
        new_leaves = [str(run.folder / "leaves" / leaf) for leaf in leaves.values()]
        write_model(out, open_model(config.teacher, join=new_leaves))
    return out, leaves
