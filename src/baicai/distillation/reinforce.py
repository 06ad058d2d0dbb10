"""Before it teaches: a leaf for each ability at which the teacher is weak and of which there is text."""

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
"""A teacher is weak at an ability if others are better on more of its documents, or it gets more answers wrong."""


def domains_to_reinforce(config: DistillRecipe, weak: Mapping[str, Weakness]) -> list[str]:
    """Return the abilities for which a leaf is to be grown first."""
    if config.reinforce == "weak":
        return [name for name, one in weak.items() if is_weak(one)]
    return config.named_domains_to_reinforce()


def is_weak(found: Weakness) -> bool:
    """Return whether a teacher is weak at an ability as a whole."""
    return found.worse > WEAK_SHARE * found.documents or (found.wrong or 0) > WEAK_SHARE * found.answers


def reinforce_teacher(
    config: DistillRecipe, names: list[str], teacher: SparseModel | None, run: Run
) -> tuple[Path, dict[str, str]]:
    """Return the teacher with a leaf more for each of the abilities, and those leaves' names; all in the run's folder.

    Raises: ConfigError if no leaf can be grown on the teacher.
    """
    if teacher is None:
        raise ConfigError(
            f"teacher {config.teacher} is in transformers' format, and a leaf is to be grown on it for "
            f"{', '.join(names)}: run baicai import on it first, or use reinforce=never"
        )
    grown = {}
    for name in names:
        leaf = name if name not in teacher.leaves else name + REINFORCED_SUFFIX
        recipe = GrowRecipe(
            name=leaf,
            trunk=str(teacher.trunk.path),
            data=[source for source in config.data if source.domain == name],
            leaf=teacher.network.leaf_config or config.reinforce_leaf,
            train=config.reinforce_train,
        )
        notify(f"The teacher is weak at {name}: a leaf is grown for it first.")
        run_stage(grow_leaf, recipe, run.folder / "leaves" / leaf)
        grown[name] = leaf
    out = run.folder / "teacher"
    if not out.exists():
        write_model(
            out, open_model(config.teacher, join=[str(run.folder / "leaves" / leaf) for leaf in grown.values()])
        )
    return out, grown
