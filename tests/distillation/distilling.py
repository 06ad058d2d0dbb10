"""Tiny distillations, that take a second or two each and run once per session."""

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from baicai.artefact import file_hash, read_json
from baicai.data.sources import SourceConfig
from baicai.distillation.config import DistillRecipe, TeachConfig
from baicai.distillation.distill import distill_model
from baicai.distillation.sizing import Target
from baicai.leaves.train_tokenizer import TokenizerRecipe, make_tokenizer
from baicai.run import run_stage
from tests.conftest import LEAF, TRAIN, WORDS, Workshop, write_domain

MARK = "xylograph"
"""A word that occurs only in the user's text."""
QUICK = dataclasses.replace(TRAIN, tokens=20 * TRAIN.step_tokens, learning_rate=5e-3, device="cpu")


@dataclass
class Distillery:
    """Training and held-out text, and the students distilled so far."""

    shop: Workshop
    folder: Path
    students: dict[str, Path] = field(default_factory=dict)

    def source(self, kind: str, domain: str, weight: float = 1.0) -> SourceConfig:
        path = self.folder / kind / f"{domain}.txt"
        return SourceConfig(path=str(path), domain=domain, licence="CC0-1.0", weight=weight)

    def recipe(self, **changes: Any) -> DistillRecipe:
        plain = DistillRecipe(
            teacher=self.shop.path("model"),
            data=[self.source("own", "fruit", 2.0), self.source("own", "metal")],
            held_out=[self.source("held", domain) for domain in WORDS],
            start="dense",
            target=Target(parameters=52_000),
            reinforce_leaf=LEAF,
            reinforce_train=QUICK,
            max_tokens=700,
            train=QUICK,
        )
        return dataclasses.replace(plain, **changes)

    def distil(self, name: str) -> Path:
        """Return the student of a recipe in `STUDENTS`, distilling it at the first call."""
        if name not in self.students:
            out = self.folder / "out" / name
            run_stage(distill_model, self.recipe(**STUDENTS[name](self)), out)
            self.students[name] = out
        return self.students[name]


def distillery(shop: Workshop, folder: Path) -> Distillery:
    """Write the texts and the tokenizer that the recipes name."""
    for domain in ("fruit", "metal"):
        (folder / "own").mkdir(exist_ok=True)
        path = write_domain(folder / "own", domain, 200, seed=2)
        path.write_text(path.read_text().replace(".\n", f" {MARK}.\n", 5))
    (folder / "held").mkdir()
    for domain in WORDS:
        write_domain(folder / "held", domain, 40, seed=1)
    texts = [shop.text(domain) for domain in ("fruit", "public")]
    more = TokenizerRecipe(data=texts, vocab_size=330)  # differs from the teacher's tokenizer
    run_stage(make_tokenizer, more, folder / "tokenizer")
    return Distillery(shop, folder)


SLICES = Target(parameters=38_200)
"""Room for one of the trunk's three layers, since no width is below 32."""
FOREIGN = Target(parameters=38_520)
"""The same with a vocabulary larger by ten tokens."""
STUDENTS: dict[str, Any] = {
    "dense": lambda _: {},
    "slices": lambda _: {
        "start": "slices",
        "target": SLICES,
        "teach": TeachConfig(signal="online", divergence="jensen_shannon", gate="document", on_policy=0.3),
    },
    "pruned": lambda _: {"start": "pruned", "target": Target(parameters=58_000), "data": [_.source("own", "fruit")]},
    "foreign": lambda _: {
        "start": "fresh",
        "target": FOREIGN,
        "tokenizer": str(_.folder / "tokenizer"),
        "teach": TeachConfig(signal="sequences"),
    },
    "untold": lambda _: {
        "start": "fresh",
        "target": FOREIGN,
        "tokenizer": str(_.folder / "tokenizer"),
        "teach": TeachConfig(signal="none"),
    },
    "reinforced": lambda _: {"start": "pruned", "reinforce": ["fruit"], "untaught": False},
    "weak": lambda _: {
        "teacher": _.shop.path("trunk"),
        "baseline": _.shop.path("model"),
        "start": "slices",
        "target": SLICES,
        "reinforce": "weak",
        "untaught": False,
    },
}


def results_of(out: Path) -> dict[str, Any]:
    return read_json(out.with_name(f"{out.name}.run") / "report" / "results.json")


def contents(folder: Path) -> dict[str, str]:
    return {str(file.relative_to(folder)): file_hash(file) for file in sorted(folder.rglob("*")) if file.is_file()}
