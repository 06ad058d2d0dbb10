"""The stages as Python functions: what `baicai VERB` does, with keyword arguments instead of `key=value` words.

Every function takes an optional recipe file, the folder for the result, and the recipe's keys as keywords, which win.
A nested table is a mapping, and only the keys that change need to be given: `train={"tokens": 200_000}`. Keys are
checked as on the command line. An interrupted stage continues when it is called again with the same arguments, and
returns at once when its artefact is complete. Notebooks and terminals show a progress bar.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from baicai.config import read_recipe
from baicai.run import Run, run_stage

if TYPE_CHECKING:
    from baicai.wholesale.pull import Pulled
    from baicai.wholesale.release.manifest import Manifest

Recipe = str | Path | None


def train_tokenizer(recipe: Recipe = None, *, out: str | Path, **keys: Any) -> Path:
    """Train a tokenizer and return its folder. Keys: those of `TokenizerRecipe`."""
    from baicai.leaves.train_tokenizer import TokenizerRecipe, make_tokenizer

    return _run(make_tokenizer, TokenizerRecipe, recipe, out, keys)


def train_trunk(recipe: Recipe = None, *, out: str | Path, **keys: Any) -> Path:
    """Train a trunk on public text and return its folder. Keys: those of `TrunkRecipe`."""
    from baicai.leaves.train_trunk import TrunkRecipe
    from baicai.leaves.train_trunk import train_trunk as stage

    return _run(stage, TrunkRecipe, recipe, out, keys)


def import_trunk(source: str | Path, *, out: str | Path, **keys: Any) -> Path:
    """Import a dense checkpoint (Llama, Mistral, Qwen2, Qwen3, SmolLM) as a trunk and return its folder.

    Args:
        source: a checkpoint folder of transformers, an export of this project, or ORG/NAME on the Hugging Face Hub.
        out: folder for the trunk.
        keys: those of `ImportRecipe`.
    """
    from baicai.convert.importer import ImportRecipe, import_checkpoint

    return _run(import_checkpoint, ImportRecipe, None, out, {"source": source, **keys})


def grow(recipe: Recipe = None, *, out: str | Path, **keys: Any) -> Path:
    """Grow a leaf on your own text, with the trunk frozen, and return its folder. Keys: those of `GrowRecipe`.

    Example:
        >>> baicai.grow(name="law", trunk="out/trunk", data="texts/law", out="out/law")
        PosixPath('out/law')
    """
    from baicai.leaves.grow import GrowRecipe, grow_leaf

    return _run(grow_leaf, GrowRecipe, recipe, out, keys)


def join(recipe: Recipe = None, *, out: str | Path, **keys: Any) -> Path:
    """Join leaves to their trunk and return the model's folder. Keys: those of `JoinRecipe`.

    Example:
        >>> baicai.join(trunk="out/trunk", leaves=["out/law", "out/medicine"], out="out/model")
        PosixPath('out/model')
    """
    from baicai.leaves.join import JoinRecipe, join_leaves

    return _run(join_leaves, JoinRecipe, recipe, out, keys)


def peel(recipe: Recipe = None, *, out: str | Path, **keys: Any) -> Path:
    """Write a model without some of its leaves and return its folder. Keys: those of `PeelRecipe`."""
    from baicai.leaves.join import PeelRecipe, peel_leaves

    return _run(peel_leaves, PeelRecipe, recipe, out, keys)


def calibrate(recipe: Recipe = None, *, out: str | Path, **keys: Any) -> Path:
    """Tune a model's router scales and return the calibrated model's folder. Keys: those of `CalibrateRecipe`."""
    from baicai.leaves.calibrate import CalibrateRecipe, calibrate_model

    return _run(calibrate_model, CalibrateRecipe, recipe, out, keys)


def evaluate(recipe: Recipe = None, *, out: str | Path, **keys: Any) -> Path:
    """Evaluate a model on each domain and return the report's folder. Keys: those of `EvaluateRecipe`.

    The folder holds `results.json`, `table.md` and `report.html`.
    """
    from baicai.leaves.evaluate import EvaluateRecipe, evaluate_model

    return _run(evaluate_model, EvaluateRecipe, recipe, out, keys)


def distill(recipe: Recipe = None, *, out: str | Path, **keys: Any) -> Path:
    """Distill a small student and return its folder. Keys: those of `DistillRecipe`."""
    from baicai.distillation.config import DistillRecipe
    from baicai.distillation.distill import distill_model

    return _run(distill_model, DistillRecipe, recipe, out, keys)


def export_model(model: str | Path, *, out: str | Path, **keys: Any) -> Path:
    """Export a model for transformers or llama.cpp and return the export's folder.

    Args:
        model: a model, its lock file or a trunk, by path or hash.
        out: folder for the export.
        keys: those of `ExportRecipe`, e.g. `format="gguf"`.
    """
    from baicai.convert.exporter import ExportRecipe
    from baicai.convert.exporter import export_model as stage

    return _run(stage, ExportRecipe, None, out, {"model": model, **keys})


def gather(recipe: Recipe = None, *, out: str | Path, **keys: Any) -> int:
    """Gather public text into the warehouse `out` and return its number of documents. Keys: those of `GatherRecipe`."""
    from baicai.wholesale.gather import GatherRecipe
    from baicai.wholesale.gather import gather as stage

    return int(stage(_read(GatherRecipe, recipe, keys), Path(out))["documents"])


def publish(warehouse: str | Path, *, out: str | Path, **keys: Any) -> "Manifest":
    """Publish a warehouse's next release into the folder `out` and return its signed manifest."""
    from baicai.wholesale.release.publish import PublishRecipe
    from baicai.wholesale.release.publish import publish as stage

    return stage(_read(PublishRecipe, None, {"warehouse": warehouse, **keys}), Path(out))


def pull(source: str | Path, *, out: str | Path, **keys: Any) -> "Pulled":
    """Pull a slice of a release, or what changed of it, into `out`.

    Args:
        source: folder, URL or bucket of the release.
        out: folder of the subscription; its `documents` can be given to `grow` as `data`.
        keys: those of `PullRecipe`, e.g. `slice="domain=law language=de quality>0.6"`.
    """
    from baicai.wholesale.pull import PullRecipe
    from baicai.wholesale.pull import pull as stage

    return stage(_read(PullRecipe, None, {"source": source, **keys}), Path(out))


def _run(
    stage: Callable[[Any, Run], None], kind: type[Any], recipe: Recipe, out: str | Path, keys: Mapping[str, Any]
) -> Path:
    run_stage(stage, _read(kind, recipe, keys), Path(out))
    return Path(out)


def _read(kind: type[Any], recipe: Recipe, keys: Mapping[str, Any]) -> Any:
    return read_recipe(kind, None if recipe is None else Path(recipe), values=_plain(keys))


def _plain(value: Any) -> Any:
    """Replace paths by strings, which is what recipes hold."""
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value
