"""Benchmark of distillation: students against twins without a teacher, at equal data and at equal operations.

    python bench/distill.py               # about an hour on two cores
    python bench/distill.py --scale 0.02  # a smoke test; its results are meaningless and not written

The teacher is the shipped trunk with six leaves grown on `../shared/corpus`. The student has a quarter of its size: the
trunk with three of the leaves converted to dense neurons. Its training text is a small part of those leaves' text.
Three seeds. Finished stages are kept in `--work`; the results go to `bench/results/distill.json`, together with those
of `distill_teacher.py` (memory of the losses, the cache) and `distill_starts.py` (initialisations).
"""

import argparse
import dataclasses
import platform
import statistics
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from baicai.artefact import read_json, write_json
from baicai.data.sources import SourceConfig
from baicai.distillation.config import DistillRecipe, TeachConfig
from baicai.distillation.distill import distill_model
from baicai.leaves.grow import GrowRecipe, grow_leaf
from baicai.leaves.join import JoinRecipe, join_leaves
from baicai.model.config import LeafConfig
from baicai.run import run_stage
from baicai.training.config import TrainConfig
from baicai.training.job_pool import Job, run_jobs
from distill_starts import CORPUS, STARTER, artefact_path, compare_starts
from distill_teacher import measure_cache, measure_memory

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "bench" / "results" / "distill.json"
KEPT = ("law-de", "medicine-en", "python-code")
LEAVES = (*KEPT, "poetry-zh", "math-en", "c-code")
SEEDS = (0, 1, 2)
LEAF = LeafConfig(num_experts=16, expert_dim=96, top_k=4)
LEAF_TOKENS, DROPPED_LEAF_TOKENS = 800_000, 200_000
"""Training tokens of a leaf that the student keeps, and of one that it drops."""
DOMAIN_TOKENS, TRAIN_TOKENS = 200_000, 1_200_000
"""Tokens of text per domain, and tokens that a student trains on in total, over all domains and epochs."""
PLENTY_TOKENS, GATED_TOKENS = 300_000, 300_000
TEACH = TeachConfig(share=0.7)
NOTES = "generator:household?world=7&"
"""Generated private notes, unknown to the teacher."""
STUDENTS_PER_CACHE = 3


@dataclasses.dataclass(frozen=True)
class Workspace:
    """Folder of the stages, and scale of the token counts."""

    work: Path
    scale: float

    def tokens(self, count: int) -> int:
        """Scale a number of tokens."""
        return max(10_000, round(count * self.scale))

    def teacher(self) -> Path:
        """Train the teacher, unless it exists, and return its folder."""
        recipes = []
        for name in LEAVES:
            tokens = self.tokens(LEAF_TOKENS if name in KEPT else DROPPED_LEAF_TOKENS)
            train = TrainConfig(tokens=tokens, batch_sequences=8, learning_rate=4e-3)
            recipes.append(
                GrowRecipe(name=name, trunk=str(STARTER), data=[text(name, "train")], leaf=LEAF, train=train)
            )
        jobs = [
            Job(grow_leaf, recipe, artefact_path(self.work, recipe.name, recipe), recipe.train.steps)
            for recipe in recipes
        ]
        run_jobs("leaves", jobs, workers=2)
        join = JoinRecipe(trunk=str(STARTER), leaves=[str(job.out) for job in jobs])
        out = artefact_path(self.work, "teacher", join)
        run_stage(join_leaves, join, out)
        return out

    def students(self, groups: Mapping[str, Sequence[DistillRecipe]]) -> dict[str, list[dict[str, Any]]]:
        """Distil the students of each group, unless they exist, and return the results of their reports."""
        jobs = {
            name: [
                Job(distill_model, recipe, artefact_path(self.work, "student", recipe), recipe.train.steps)
                for recipe in recipes
            ]
            for name, recipes in groups.items()
        }
        run_jobs(", ".join(groups), [job for group in jobs.values() for job in group], workers=2)
        return {
            name: [read_json(job.out.with_name(f"{job.out.name}.run") / "report" / "results.json") for job in group]
            for name, group in jobs.items()
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=ROOT / "out" / "distill")
    parser.add_argument("--scale", type=float, default=1.0)
    options = parser.parse_args()
    start, workspace = time.monotonic(), Workspace(options.work / f"{options.scale:g}", options.scale)
    teacher = workspace.teacher()
    groups = student_recipes(workspace, teacher)
    results = workspace.students(groups)
    flops = results["taught"][0]["flops"]
    factor = 1 + flops["teacher"] / STUDENTS_PER_CACHE / flops["student"]
    results |= workspace.students({"equal operations": [twin(recipe, factor) for recipe in groups["taught"]]})
    metrics = compare(results) | compare_starts(workspace.work, SEEDS, options.scale)
    metrics |= measure_memory() | measure_cache()
    if options.scale == 1:
        commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True, cwd=ROOT)
        origin = {"commit": commit.stdout.strip()[:12], "machine": platform.processor() or platform.machine()}
        origin |= {"torch": torch.__version__, "minutes_of_this_run": round((time.monotonic() - start) / 60)}
        write_json(RESULTS, metrics | origin)
    print({key: value for key, value in metrics.items() if not isinstance(value, dict | list)})


def text(domain: str, split: str, max_tokens: int | None = None) -> SourceConfig:
    return SourceConfig(path=str(CORPUS / domain / f"{split}.jsonl.zst"), domain=domain, max_tokens=max_tokens)


def student_recipe(workspace: Workspace, teacher: Path, seed: int) -> DistillRecipe:
    """Return the recipe of a student initialised as the trunk with dense neurons for the kept leaves."""
    return DistillRecipe(
        teacher=str(teacher),
        data=[text(name, "train", workspace.tokens(DOMAIN_TOKENS)) for name in KEPT],
        held_out=[text(name, "valid") for name in LEAVES],
        start="dense",
        untaught=False,
        teach=TEACH,
        train=TrainConfig(tokens=workspace.tokens(TRAIN_TOKENS), batch_sequences=8, learning_rate=1e-3, seed=seed),
    )


def with_tokens(recipe: DistillRecipe, tokens: int) -> DistillRecipe:
    return dataclasses.replace(recipe, train=dataclasses.replace(recipe.train, tokens=tokens))


def twin(recipe: DistillRecipe, factor: float = 1.0) -> DistillRecipe:
    """Return the recipe of the same student without a teacher, trained for `factor` times as many tokens."""
    untaught = dataclasses.replace(recipe, teach=TeachConfig(signal="none"), mix="wanted")
    return with_tokens(untaught, round(recipe.train.tokens * factor))


def student_recipes(workspace: Workspace, teacher: Path) -> dict[str, list[DistillRecipe]]:
    """Return the recipes of each group, one per seed.

    Twins have the same data; those that read it once stop before they memorise it. With plenty of text, read once, a
    teacher helps least (one seed). The teacher does not know the private notes; there the gate is compared with none.
    """
    taught = [student_recipe(workspace, teacher, seed) for seed in SEEDS]
    texts = [text(name, "train", workspace.tokens(PLENTY_TOKENS)) for name in KEPT]
    plenty = with_tokens(dataclasses.replace(taught[0], data=texts), len(KEPT) * workspace.tokens(PLENTY_TOKENS))
    notes, held_out_notes = (
        SourceConfig(path=f"{NOTES}{query}", domain="notes")
        for query in ("documents=2000", "split=valid&documents=400")
    )
    gated = [
        dataclasses.replace(
            with_tokens(recipe, workspace.tokens(GATED_TOKENS)),
            data=[recipe.data[0], notes],
            held_out=[text(KEPT[0], "valid"), held_out_notes],
            leaves=[KEPT[0]],
        )
        for recipe in taught
    ]
    ungated = [dataclasses.replace(recipe, teach=dataclasses.replace(recipe.teach, gate="off")) for recipe in gated]
    return {
        "taught": taught,
        "twins": [twin(recipe) for recipe in taught],
        "twins that read once": [twin(recipe, len(KEPT) * DOMAIN_TOKENS / TRAIN_TOKENS) for recipe in taught],
        "gated": gated,
        "not gated": ungated,
        "plenty": [plenty],
        "plenty, twin": [twin(plenty)],
    }


def compare(results: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, Any]:
    """Return the metrics of the comparison, from the results of each group."""
    taught, twins, once = results["taught"], results["twins"], results["twins that read once"]
    gains, size = mean_gains(taught, twins), taught[0]["size"]
    return {
        "gain_vs_untaught": mean(gains),
        "gain_standard_error": statistics.stdev(gains) / len(gains) ** 0.5,
        "kept_share": mean([result["kept"] for result in taught]),
        "gain_equal_flops": mean(mean_gains(taught, results["equal operations"])),
        "gated_gain": mean(mean_gains(results["gated"], results["not gated"], ["notes"])),
        "gain_vs_untaught_that_reads_once": mean(mean_gains(taught, once)),
        "gain_with_plenty_of_text": mean(mean_gains(results["plenty"], results["plenty, twin"])),
        "kept_share_with_plenty_of_text": results["plenty"][0]["kept"],
        "kept_share_untaught": mean([result["kept"] for result in twins]),
        "kept_share_untaught_that_reads_once": mean([result["kept"] for result in once]),
        "share_of_teacher": size["student"]["parameters"] / size["teacher"]["parameters"],
        "gain_by_domain": {
            name: [gain(student, twin, name) for student, twin in zip(taught, twins, strict=True)] for name in KEPT
        },
        "flops": taught[0]["flops"],
        **{
            metric: {name: [result[metric] for result in group] for name, group in results.items()}
            for metric in ("quality", "calibration")
        },
    }


def gain(student: Mapping[str, Any], reference: Mapping[str, Any], domain: str) -> float:
    """Return the relative reduction of bits per byte on a domain, of one student against another."""
    return 1 - student["quality"][domain]["student"] / reference["quality"][domain]["student"]


def mean_gains(
    students: Sequence[Mapping[str, Any]], references: Sequence[Mapping[str, Any]], domains: Sequence[str] = KEPT
) -> list[float]:
    """Return the gain of each seed, averaged over domains."""
    return [
        mean([gain(student, reference, domain) for domain in domains])
        for student, reference in zip(students, references, strict=True)
    ]


mean = statistics.fmean

if __name__ == "__main__":
    main()
