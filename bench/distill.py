"""What a teacher gives a student: against an untaught twin, at equal data and at equal operations.

    python bench/distill.py               # about an hour on two cores
    python bench/distill.py --scale 0.02  # does it run? its figures mean nothing, and are not written

The teacher is the trunk that is shipped, with six leaves grown on `../shared/corpus`. The student is a quarter of it:
the trunk with three of the leaves made dense. Its user has a small part of those leaves' text. Three seeds. What is
done is kept in `--work`; the results go to `bench/results/distill.json`. The teacher's loss and cache are measured by
`distill_teacher.py`, starts by `distill_starts.py`, and both end up in the same file.
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
from distill_starts import CORPUS, STARTER, compare_starts, place
from distill_teacher import measure_cache, measure_memory

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "bench" / "results" / "distill.json"
WANTED = ("law-de", "medicine-en", "python-code")
LEAVES = (*WANTED, "poetry-zh", "math-en", "c-code")
SEEDS = (0, 1, 2)
LEAF = LeafConfig(num_experts=16, expert_dim=96, top_k=4)
LEAF_TOKENS, OTHER_LEAF_TOKENS = 800_000, 200_000
"""What a wanted leaf is grown on, and one that is there to be dropped."""
OWN_TOKENS, TRAIN_TOKENS = 200_000, 1_200_000
"""What the user has of each ability, and what a student is trained on, all abilities and epochs together."""
PLENTY_TOKENS, GATED_TOKENS = 300_000, 300_000
TEACH = TeachConfig(share=0.7)
NOTES = "generator:household?world=7&"
"""Private facts of which the teacher cannot know."""
STUDENTS_OF_A_CACHE = 3


@dataclasses.dataclass(frozen=True)
class ThreadBuffers:
    """Where the work lies and how long it is to be."""

    work: Path
    scale: float

    def tokens(self, count: int) -> int:
        """Return a number of tokens at this scale."""
        return max(10_000, round(count * self.scale))

    def teacher(self) -> Path:
        """Return the teacher, made if it is not there yet."""
        recipes = []
        for name in LEAVES:
            tokens = self.tokens(LEAF_TOKENS if name in WANTED else OTHER_LEAF_TOKENS)
            train = TrainConfig(tokens=tokens, batch_sequences=8, learning_rate=4e-3)
            recipes.append(
                GrowRecipe(name=name, trunk=str(STARTER), data=[text(name, "train")], leaf=LEAF, train=train)
            )
        jobs = [Job(grow_leaf, one, place(self.work, one.name, one), one.train.steps) for one in recipes]
        run_jobs("leaves", jobs, workers=2)
        join = JoinRecipe(trunk=str(STARTER), leaves=[str(job.out) for job in jobs])
        run_stage(join_leaves, join, place(self.work, "teacher", join))
        return place(self.work, "teacher", join)

    def students(self, groups: Mapping[str, Sequence[DistillRecipe]]) -> dict[str, list[dict[str, Any]]]:
        """Return what the report says of each student of each group, made if it is not there yet."""
        jobs = {
            name: [Job(distill_model, one, place(self.work, "student", one), one.train.steps) for one in recipes]
            for name, recipes in groups.items()
        }
        run_jobs(", ".join(groups), [job for some in jobs.values() for job in some], workers=2)
        return {
            name: [read_json(job.out.with_name(f"{job.out.name}.run") / "report" / "results.json") for job in some]
            for name, some in jobs.items()
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=ROOT / "out" / "distill")
    parser.add_argument("--scale", type=float, default=1.0)
    given = parser.parse_args()
    begun, bench = time.monotonic(), ThreadBuffers(given.work / f"{given.scale:g}", given.scale)
    teacher = bench.teacher()
    groups = recipes_of(bench, teacher)
    made = bench.students(groups)
    flops = made["taught"][0]["flops"]
    factor = 1 + flops["teacher"] / STUDENTS_OF_A_CACHE / flops["student"]
    made |= bench.students({"equal operations": [twin(one, factor) for one in groups["taught"]]})
    found = compare(made) | compare_starts(bench.work, SEEDS, given.scale) | measure_memory() | measure_cache()
    if given.scale == 1:
        commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True, cwd=ROOT)
        origin = {"commit": commit.stdout.strip()[:12], "machine": platform.processor() or platform.machine()}
        origin |= {"torch": torch.__version__, "minutes_of_this_run": round((time.monotonic() - begun) / 60)}
        write_json(RESULTS, found | origin)
    print({key: value for key, value in found.items() if not isinstance(value, dict | list)})


def text(domain: str, split: str, max_tokens: int | None = None) -> SourceConfig:
    return SourceConfig(path=str(CORPUS / domain / f"{split}.jsonl.zst"), domain=domain, max_tokens=max_tokens)


def student(bench: ThreadBuffers, teacher: Path, seed: int) -> DistillRecipe:
    """Return the recipe of a student that begins as the trunk with the wanted leaves made dense."""
    return DistillRecipe(
        teacher=str(teacher),
        data=[text(name, "train", bench.tokens(OWN_TOKENS)) for name in WANTED],
        held_out=[text(name, "valid") for name in LEAVES],
        start="dense",
        untaught=False,
        teach=TEACH,
        train=TrainConfig(tokens=bench.tokens(TRAIN_TOKENS), batch_sequences=8, learning_rate=1e-3, seed=seed),
    )


def with_tokens(recipe: DistillRecipe, tokens: int) -> DistillRecipe:
    return dataclasses.replace(recipe, train=dataclasses.replace(recipe.train, tokens=tokens))


def twin(recipe: DistillRecipe, factor: float = 1.0) -> DistillRecipe:
    """Return the recipe of the same student without a teacher, trained so many times as long."""
    untaught = dataclasses.replace(recipe, teach=TeachConfig(signal="none"), mix="wanted")
    return with_tokens(untaught, round(recipe.train.tokens * factor))


def recipes_of(bench: ThreadBuffers, teacher: Path) -> dict[str, list[DistillRecipe]]:
    """Return what is compared, a recipe for each seed.

    Twins have equal data; those that read once stop before they learn by heart. With plenty of text, read once, a
    teacher has least to give (one seed). Of the notes the teacher knows nothing: it is followed there, or not.
    """
    taught = [student(bench, teacher, seed) for seed in SEEDS]
    texts = [text(name, "train", bench.tokens(PLENTY_TOKENS)) for name in WANTED]
    plenty = with_tokens(dataclasses.replace(taught[0], data=texts), len(WANTED) * bench.tokens(PLENTY_TOKENS))
    notes, held_out_notes = (
        SourceConfig(path=f"{NOTES}{what}", domain="notes") for what in ("documents=2000", "split=valid&documents=400")
    )
    noted = [
        dataclasses.replace(
            with_tokens(one, bench.tokens(GATED_TOKENS)),
            data=[one.data[0], notes],
            held_out=[text(WANTED[0], "valid"), held_out_notes],
            leaves=[WANTED[0]],
        )
        for one in taught
    ]
    return {
        "taught": taught,
        "twins": [twin(one) for one in taught],
        "twins that read once": [twin(one, len(WANTED) * OWN_TOKENS / TRAIN_TOKENS) for one in taught],
        "gated": noted,
        "not gated": [dataclasses.replace(one, teach=dataclasses.replace(one.teach, gate="off")) for one in noted],
        "plenty": [plenty],
        "plenty, twin": [twin(plenty)],
    }


def compare(made: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, Any]:
    """Return the figures."""
    taught, twins, once = made["taught"], made["twins"], made["twins that read once"]
    gains, size = mean_gains(taught, twins), taught[0]["size"]
    return {
        "gain_vs_untaught": mean(gains),
        "gain_standard_error": statistics.stdev(gains) / len(gains) ** 0.5,
        "kept_share": mean([one["kept"] for one in taught]),
        "gain_equal_flops": mean(mean_gains(taught, made["equal operations"])),
        "gated_gain": mean(mean_gains(made["gated"], made["not gated"], ["notes"])),
        "gain_vs_untaught_that_reads_once": mean(mean_gains(taught, once)),
        "gain_with_plenty_of_text": mean(mean_gains(made["plenty"], made["plenty, twin"])),
        "kept_share_with_plenty_of_text": made["plenty"][0]["kept"],
        "kept_share_untaught": mean([one["kept"] for one in twins]),
        "kept_share_untaught_that_reads_once": mean([one["kept"] for one in once]),
        "share_of_teacher": size["student"]["parameters"] / size["teacher"]["parameters"],
        "gain_by_domain": {
            name: [gain(one, twin, name) for one, twin in zip(taught, twins, strict=True)] for name in WANTED
        },
        "flops": taught[0]["flops"],
        **{
            what: {name: [one[what] for one in some] for name, some in made.items()}
            for what in ("quality", "calibration")
        },
    }


def gain(one: Mapping[str, Any], other: Mapping[str, Any], name: str) -> float:
    """Return by what share of its bits per byte the one student is better than the other on a domain."""
    return 1 - one["quality"][name]["student"] / other["quality"][name]["student"]


def mean_gains(
    some: Sequence[Mapping[str, Any]], others: Sequence[Mapping[str, Any]], names: Sequence[str] = WANTED
) -> list[float]:
    """Return the mean gain over domains, of each seed."""
    return [mean([gain(one, other, name) for name in names]) for one, other in zip(some, others, strict=True)]


mean = statistics.fmean

if __name__ == "__main__":
    main()
