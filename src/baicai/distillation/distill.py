"""`baicai distill`: measure a teacher, make a small student of it, and say what was kept."""

import dataclasses
import functools
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from baicai.artefact import atomic_folder, home_folder, read_json, read_tensors, value_hash
from baicai.config import to_table
from baicai.data.shards import TokenShards
from baicai.data.sources import describe_sources, open_sources
from baicai.distillation.config import DistillRecipe
from baicai.distillation.context import DistillationContext, open_context
from baicai.distillation.reinforce import domains_to_reinforce, reinforce_teacher
from baicai.distillation.report.collect import collect_results
from baicai.distillation.report.page import distillation_headline, write_report
from baicai.distillation.report.results import DistillationResults
from baicai.distillation.student.initialize import Student, initialize_student, student_shape, write_student
from baicai.distillation.teacher.cache import CacheConfig, TeacherCache, write_cache
from baicai.distillation.teacher.generated_text import GeneratedTextConfig, write_generated_text
from baicai.distillation.teacher.models import Teacher, open_teacher
from baicai.distillation.teacher.weakness import Weakness
from baicai.distillation.training.train_student import StudentData, TeacherSignal, train_student
from baicai.errors import ConfigError
from baicai.leaves.model import open_model
from baicai.run import Run, notify, run_stage

PROMPT_TOKENS = 32
"""Of own text, which the teacher goes on after where it writes; of short sequences half."""
PRIVATE_KEYS = ("teacher", "data", "held_out", "baseline", "tokenizer")
"""Keys of the recipe that hold paths of this machine: they stay out of the student."""


def distill_model(config: DistillRecipe, run: Run) -> None:
    """Make a student and write it to the run's artefact folder; the report goes to the run's own folder.

    The student may be given away; the report shows the user's text, so it stays with the user.

    Raises: ConfigError, ArtefactError or DataError before anything is trained, if the parts do not fit.
    """
    context = open_context(config, run)
    weak = context.weakness()
    _tell(weak)
    context, leaves = _reinforce(context, weak, run)
    scores = {"teacher": context.teacher_held_out.measure(context.teacher, context.device)}
    if context.baseline is not None:
        scores["baseline"] = context.held_out.measure(context.baseline, context.device)
    student = _initialize(context)
    scores["start"] = context.held_out.measure(student.model, context.device)
    student_data, caches, asked_tokens = _prepare_data(context)
    teacher_signal = None if config.teach.signal == "none" else _teacher_signal(context, caches)
    trained = {"student": _train("student", student, student_data, teacher_signal, context.config, run)}
    scores["student"] = context.held_out.measure(student.model, context.device)
    operations = {
        "teacher": context.teacher.flops_per_token * asked_tokens,
        "student": student.training_flops(config.train.trained_tokens),
    }
    if config.untaught and teacher_signal is not None:
        twin, like = (
            _initialize(context),
            _untaught_recipe(context.config, sum(operations.values()) / operations["student"]),
        )
        try:
            trained["untaught"] = _train("untaught", twin, _text_data(context), None, like, run)
        except ConfigError as error:  # it diverges: that holds up no student that did not
            notify(f"The report does without a twin: {error}")
        else:
            scores["untaught"] = context.held_out.measure(twin.model, context.device)
            operations["untaught"] = twin.training_flops(like.train.trained_tokens)
    results = collect_results(context, student, scores, weak, leaves, trained, operations, caches)
    data, about = describe_sources(context.train_shards), _card(context, results, trained["student"])
    with atomic_folder(run.out) as part:  # the report first: a run is over when its artefact is there
        results.student.hash = write_student(
            part, run, student, context.teacher.sparse, context.tokenizer, data=data, card_fields=about
        )
        shutil.rmtree(run.folder / "report", ignore_errors=True)  # what a kill left half-written
        write_report(results, run.folder / "report")
    open_model(run.out)  # as whoever gets it will; its hashes are known from here on
    notify(f"{distillation_headline(results)}\nReport: {(run.folder / 'report' / 'report.html').resolve()}")


def _tell(weak: Mapping[str, Weakness]) -> None:
    for name, one in weak.items():
        found = [f"worse than others on {one.worse} of {one.documents} documents"] if one.documents else []
        found += [f"wrong in {one.wrong} of {one.answers} answers"] if one.answers else []
        if found:
            notify(f"{name}: the teacher is {', and '.join(found)}.")


def _reinforce(
    context: DistillationContext, weak: Mapping[str, Weakness], run: Run
) -> tuple[DistillationContext, dict[str, str]]:
    """Return the setting, its teacher with a leaf more for each ability to reinforce, and those leaves' hashes."""
    config, names = context.config, domains_to_reinforce(context.config, weak)
    if not names:
        return context, {}
    folder, leaves = reinforce_teacher(config, names, context.teacher.sparse, run)
    if config.leaves:
        config = dataclasses.replace(config, leaves=[*config.leaves, *leaves.values()])
    teacher = open_teacher(folder, context.teacher.tokenizer, context.device)
    assert teacher.sparse is not None
    hashes = {name: teacher.sparse.leaves[leaf].hash for name, leaf in leaves.items()}
    return dataclasses.replace(context, teacher=teacher, config=config), hashes


def _initialize(context: DistillationContext) -> Student:
    config, teacher = context.config, context.teacher
    shape = student_shape(config, teacher.shape, teacher.num_parameters, teacher.sparse, context.tokenizer.vocab_size)
    windows = [rows_BS1 for name in context.train_shards for rows_BS1 in context.sample(name)]
    return initialize_student(config, shape, teacher.sparse, windows, context.device)


def _text_data(context: DistillationContext) -> StudentData:
    weights = [source.weight for source in context.config.data]
    return StudentData(list(context.train_shards), list(context.train_shards.values()), weights)


def _prepare_data(context: DistillationContext) -> tuple[StudentData, list[TeacherCache], int]:
    """Return what the student reads, what the teacher said of it where that is kept, and of how many tokens in all."""
    config, teacher, student_data = context.config, context.teacher, _text_data(context)
    teach, train = config.teach, config.train
    if teach.signal == "cache":
        settings = CacheConfig(samples=teach.samples, sequence_tokens=train.sequence_tokens)
        caches = []
        for name, shards in context.train_shards.items():
            folder = Path(teach.cache) / name if teach.cache else _cache_folder(teacher, shards, settings)
            caches.append(write_cache(folder, teacher, shards, settings))
        own_words = round(teach.on_policy * train.trained_tokens)  # of which no cache can know
        return student_data, caches, sum(cache.num_tokens for cache in caches) + own_words
    if teach.signal != "sequences":
        return student_data, [], train.trained_tokens if teach.signal == "online" else 0
    texts = open_sources(config.data, teacher.tokenizer)
    length = train.sequence_tokens
    asked = GeneratedTextConfig(sequence_tokens=length, prompt_tokens=min(PROMPT_TOKENS, length // 2))
    written = [
        write_generated_text(_cache_folder(teacher, shards, asked), teacher, shards, context.tokenizer, asked)
        for shards in texts.values()
    ]
    own, theirs = ([share * weight for weight in student_data.weights] for share in (1 - teach.share, teach.share))
    twice = StudentData([*context.train_shards] * 2, [*student_data.sources, *written], [*own, *theirs])
    return twice, [], sum(shards.num_tokens for shards in texts.values())


def _cache_folder(teacher: Teacher, shards: TokenShards, settings: CacheConfig | GeneratedTextConfig) -> Path:
    """Return where what a teacher says of a text is kept for the next student."""
    return home_folder() / "teachers" / value_hash([teacher.hash, shards.hash, to_table(settings)])[:32]


def _teacher_signal(context: DistillationContext, caches: list[TeacherCache]) -> TeacherSignal:
    return TeacherSignal(
        teacher=context.teacher,
        caches=caches,
        end_id=context.tokenizer.end_id,
        teacher_bits={
            name: context.teacher_held_out.probe_bits_per_byte(context.teacher, name, context.device)
            for name in context.train_shards
        },
        student_bits=lambda model, name: context.held_out.probe_bits_per_byte(model, name, context.device),
    )


def _train(
    name: str,
    student: Student,
    student_data: StudentData,
    teacher_signal: TeacherSignal | None,
    config: DistillRecipe,
    run: Run,
) -> dict[str, Any]:
    """Train a student in a run inside this one, which resumes by itself, and return how it went."""
    out = run.scratch() / name
    run_stage(functools.partial(train_student, student, student_data, teacher_signal), config, out)
    tensors = read_tensors(out / "weights.safetensors")
    with torch.no_grad():
        for key, parameter in student.trainable_parameters().items():
            parameter.copy_(tensors[key] if key.endswith("router_ED") else tensors[key].bfloat16())  # as it is kept
    return read_json(out / "training.json")


def _untaught_recipe(config: DistillRecipe, factor: float) -> DistillRecipe:
    """Return the recipe of a twin that no teacher tells anything, for as many operations as both took, to a step."""
    tokens = round(config.train.steps * factor) * config.train.step_tokens
    return dataclasses.replace(
        config,
        teach=dataclasses.replace(config.teach, signal="none", on_policy=0.0),
        train=dataclasses.replace(config.train, tokens=tokens),
    )


def _card(context: DistillationContext, results: DistillationResults, training: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the student's card says: how good it is, and nothing of the user's text."""
    recipe = {key: value for key, value in to_table(context.config).items() if key not in PRIVATE_KEYS}
    recipe["teach"] |= {"cache": None}
    quality = {name: row.model_dump(include={"teacher", "student"}) for name, row in results.quality.items()}
    return {
        "recipe": recipe,
        "distilled": {"teacher": context.teacher.hash, "kept": results.kept},
        "metrics": {"loss": training["loss"], "tokens": context.config.train.tokens, **quality},
        "curve": training["curve"],
    }
