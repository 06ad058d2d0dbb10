"""`baicai distill`: measure a teacher, train a small student from it and report on both."""

import dataclasses
import functools
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import cast

import torch

from baicai.artefact import atomic_folder, home_folder, read_json, read_tensors, value_hash
from baicai.config import to_table
from baicai.data.shards import TokenShards
from baicai.data.sources import open_sources
from baicai.distillation.config import DistillRecipe
from baicai.distillation.context import DistillationContext, open_context
from baicai.distillation.reinforce import domains_to_reinforce, reinforce_teacher
from baicai.distillation.report.collect import collect_results
from baicai.distillation.report.page import distillation_headline, write_report
from baicai.distillation.report.results import DistillationResults
from baicai.distillation.student.initialize import (
    Student,
    StudentCard,
    initialize_student,
    student_shape,
    write_student,
)
from baicai.distillation.teacher.cache import CacheConfig, TeacherCache, write_cache
from baicai.distillation.teacher.generated_text import GeneratedTextConfig, write_generated_text
from baicai.distillation.teacher.models import Teacher, open_teacher
from baicai.distillation.teacher.weakness import Weakness
from baicai.distillation.training.train_student import StudentData, TeacherSignal, TrainingResult, train_student
from baicai.errors import ConfigError
from baicai.leaves.model import open_model
from baicai.run import Run, notify, run_stage

PROMPT_TOKENS = 32
"""Tokens of training text that a generating teacher continues; at most half of a sequence."""
PRIVATE_KEYS = ("teacher", "data", "held_out", "baseline", "tokenizer")
"""Recipe keys that may hold local paths; they are left out of the student's card."""


def distill_model(config: DistillRecipe, run: Run) -> None:
    """Train a student and write it to the run's artefact folder; the report goes to the run's own folder.

    The student contains none of the user's text and may be shared. The report quotes it and stays in the run folder.

    Raises: ConfigError, ArtefactError or DataError before any training if the inputs do not fit together.
    """
    context = open_context(config, run)
    weaknesses = context.find_weaknesses()
    _notify_weaknesses(weaknesses)
    context, leaves = _reinforce(context, weaknesses, run)
    scores = {"teacher": context.teacher_held_out.measure(context.teacher, context.device)}
    if context.baseline is not None:
        scores["baseline"] = context.held_out.measure(context.baseline, context.device)
    student = _initialize(context)
    scores["start"] = context.held_out.measure(student.model, context.device)
    data, caches, teacher_tokens = _prepare_data(context)
    signal = None if config.teach.signal == "none" else _teacher_signal(context, caches)
    trained = {"student": _train("student", student, data, signal, context.config, run)}
    scores["student"] = context.held_out.measure(student.model, context.device)
    operations = {
        "teacher": context.teacher.flops_per_token * teacher_tokens,
        "student": student.training_flops(config.train.trained_tokens),
    }
    if config.untaught and signal is not None:
        factor = sum(operations.values()) / operations["student"]
        twin, twin_config = _initialize(context), _untaught_recipe(context.config, factor)
        try:
            trained["untaught"] = _train("untaught", twin, _training_text(context), None, twin_config, run)
        except ConfigError as error:  # a twin that diverges must not cost the user the student
            notify(f"The report has no untaught twin: {error}")
        else:
            scores["untaught"] = context.held_out.measure(twin.model, context.device)
            operations["untaught"] = twin.training_flops(twin_config.train.trained_tokens)
    results = collect_results(context, student, scores, weaknesses, leaves, trained, operations, caches)
    card = _card(context, results, trained["student"])
    # The report is written first: a run is complete once its artefact exists.
    with atomic_folder(run.out) as part:
        results.student.hash = write_student(
            part, run, student, context.teacher.sparse, context.tokenizer, context.train_shards, card
        )
        shutil.rmtree(run.folder / "report", ignore_errors=True)  # left incomplete by a kill
        write_report(results, run.folder / "report")
    open_model(run.out)  # verify the student as its users will, and register its hashes
    notify(f"{distillation_headline(results)}\nReport: {(run.folder / 'report' / 'report.html').resolve()}")


def _notify_weaknesses(weaknesses: Mapping[str, Weakness]) -> None:
    for domain, weakness in weaknesses.items():
        parts = []
        if weakness.documents:
            parts.append(f"worse than a reference on {weakness.worse} of {weakness.documents} documents")
        if weakness.answers:
            parts.append(f"wrong in {weakness.wrong} of {weakness.answers} answers")
        if parts:
            notify(f"{domain}: the teacher is {' and '.join(parts)}.")


def _reinforce(
    context: DistillationContext, weaknesses: Mapping[str, Weakness], run: Run
) -> tuple[DistillationContext, dict[str, str]]:
    """Grow leaves on the teacher where the recipe says so.

    Returns: the context with the reinforced teacher, and the hash of the new leaf of each reinforced domain.
    """
    config, domains = context.config, domains_to_reinforce(context.config, weaknesses)
    if not domains:
        return context, {}
    folder, leaves = reinforce_teacher(config, domains, context.teacher.sparse, run)
    if config.leaves:
        config = dataclasses.replace(config, leaves=[*config.leaves, *leaves.values()])
    teacher = open_teacher(folder, context.teacher.tokenizer, context.device)
    assert teacher.sparse is not None
    hashes = {domain: teacher.sparse.leaves[leaf].hash for domain, leaf in leaves.items()}
    return dataclasses.replace(context, teacher=teacher, config=config), hashes


def _initialize(context: DistillationContext) -> Student:
    config, teacher = context.config, context.teacher
    shape = student_shape(config, teacher.shape, teacher.num_parameters, teacher.sparse, context.tokenizer.vocab_size)
    windows = [rows_BS1 for domain in context.train_shards for rows_BS1 in context.sample_windows(domain)]
    return initialize_student(config, shape, teacher.sparse, windows, context.device)


def _training_text(context: DistillationContext) -> StudentData:
    weights = [source.weight for source in context.config.data]
    return StudentData(list(context.train_shards), list(context.train_shards.values()), weights)


def _prepare_data(context: DistillationContext) -> tuple[StudentData, list[TeacherCache], int]:
    """Prepare the student's training data, with cached soft targets or generated text where the signal needs them.

    Returns: the data, one cache per source (empty without a cache), and the number of tokens that the teacher reads.
    """
    config, teacher, data = context.config, context.teacher, _training_text(context)
    teach, train = config.teach, config.train
    if teach.signal == "cache":
        cache_config = CacheConfig(samples=teach.samples, sequence_tokens=train.sequence_tokens)
        caches = []
        for domain, shards in context.train_shards.items():
            folder = Path(teach.cache) / domain if teach.cache else _default_cache(teacher, shards, cache_config)
            caches.append(write_cache(folder, teacher, shards, cache_config))
        on_policy_tokens = round(teach.on_policy * train.trained_tokens)  # generated during training, so never cached
        return data, caches, sum(cache.num_tokens for cache in caches) + on_policy_tokens
    if teach.signal != "sequences":
        return data, [], train.trained_tokens if teach.signal == "online" else 0
    teacher_shards = open_sources(config.data, teacher.tokenizer)
    length = train.sequence_tokens
    text_config = GeneratedTextConfig(sequence_tokens=length, prompt_tokens=min(PROMPT_TOKENS, length // 2))
    generated = [
        write_generated_text(
            _default_cache(teacher, shards, text_config), teacher, shards, context.tokenizer, text_config
        )
        for shards in teacher_shards.values()
    ]
    weights = [share * weight for share in (1 - teach.share, teach.share) for weight in data.weights]
    both = StudentData([*data.domains] * 2, [*data.sources, *generated], weights)
    return both, [], sum(shards.num_tokens for shards in teacher_shards.values())


def _default_cache(teacher: Teacher, shards: TokenShards, config: CacheConfig | GeneratedTextConfig) -> Path:
    """Return the folder in the home folder where a teacher's output on a corpus is shared between students."""
    return home_folder() / "teachers" / value_hash([teacher.hash, shards.hash, to_table(config)])[:32]


def _teacher_signal(context: DistillationContext, caches: list[TeacherCache]) -> TeacherSignal:
    teacher, device = context.teacher, context.device
    return TeacherSignal(
        teacher=teacher,
        caches=caches,
        end_id=context.tokenizer.end_id,
        teacher_bits={
            domain: context.teacher_held_out.probe_bits_per_byte(teacher, domain, device)
            for domain in context.train_shards
        },
        student_bits=lambda model, domain: context.held_out.probe_bits_per_byte(model, domain, device),
    )


def _train(
    name: str, student: Student, data: StudentData, signal: TeacherSignal | None, config: DistillRecipe, run: Run
) -> TrainingResult:
    """Train a student in a nested run, which resumes by itself, and load the trained weights."""
    out = run.scratch() / name
    run_stage(functools.partial(train_student, student, data, signal), config, out)
    tensors = read_tensors(out / "weights.safetensors")
    with torch.no_grad():
        for key, parameter in student.trainable_parameters().items():
            # Round to the stored type, so that everything measured later is of the student as it is written.
            parameter.copy_(tensors[key] if key.endswith("router_ED") else tensors[key].bfloat16())
    return cast(TrainingResult, read_json(out / "training.json"))


def _untaught_recipe(config: DistillRecipe, factor: float) -> DistillRecipe:
    """Return the recipe of a twin that trains on real text alone for `factor` times as many steps.

    With the factor of both models' operations over the student's, the twin costs the same, up to one step.
    """
    tokens = round(config.train.steps * factor) * config.train.step_tokens
    return dataclasses.replace(
        config,
        teach=dataclasses.replace(config.teach, signal="none", on_policy=0.0),
        train=dataclasses.replace(config.train, tokens=tokens),
    )


def _card(context: DistillationContext, results: DistillationResults, training: TrainingResult) -> StudentCard:
    """Return the student's card: recipe and metrics, without paths or text of the user."""
    recipe = {key: value for key, value in to_table(context.config).items() if key not in PRIVATE_KEYS}
    recipe["teach"] |= {"cache": None}
    quality = {domain: row.model_dump(include={"teacher", "student"}) for domain, row in results.quality.items()}
    return {
        "recipe": recipe,
        "distilled": {"teacher": context.teacher.hash, "kept": results.kept},
        "metrics": {"loss": training["loss"], "tokens": context.config.train.tokens, **quality},
        "curve": training["curve"],
    }
