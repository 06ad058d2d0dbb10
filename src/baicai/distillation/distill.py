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
from baicai.data.sources import lineage, open_sources
from baicai.distillation.config import DistillRecipe
from baicai.distillation.context import DistillationContext, open_setting
from baicai.distillation.reinforce import reinforced, to_reinforce
from baicai.distillation.report.collect import findings
from baicai.distillation.report.page import headline, write_report
from baicai.distillation.student.initialize import Student, begin, student_shape, write_student
from baicai.distillation.teacher.cache import CacheSettings, TeacherCache, write_cache
from baicai.distillation.teacher.generated_text import SequenceSettings, write_sequences
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
    setting = open_setting(config, run)
    weak = setting.weakness()
    _tell(weak)
    setting, leaves = _reinforce(setting, weak, run)
    scores = {"teacher": setting.teacher_exam.take(setting.teacher, setting.device)}
    if setting.baseline is not None:
        scores["baseline"] = setting.exam.take(setting.baseline, setting.device)
    student = _begin(setting)
    scores["start"] = setting.exam.take(student.model, setting.device)
    lessons, caches, asked_tokens = _lessons(setting)
    teaching = None if config.teach.signal == "none" else _teaching(setting, caches)
    trained = {"student": _train("student", student, lessons, teaching, setting.config, run)}
    scores["student"] = setting.exam.take(student.model, setting.device)
    operations = {
        "teacher": setting.teacher.flops_per_token * asked_tokens,
        "student": student.training_flops(config.train.trained_tokens),
    }
    if config.untaught and teaching is not None:
        twin, like = _begin(setting), _untaught(setting.config, sum(operations.values()) / operations["student"])
        try:
            trained["untaught"] = _train("untaught", twin, _own_text(setting), None, like, run)
        except ConfigError as error:  # it diverges: that holds up no student that did not
            notify(f"The report does without a twin: {error}")
        else:
            scores["untaught"] = setting.exam.take(twin.model, setting.device)
            operations["untaught"] = twin.training_flops(like.train.trained_tokens)
    results = findings(setting, student, scores, weak, leaves, trained, operations, caches)
    data, about = lineage(setting.own), _about(setting, results, trained["student"])
    with atomic_folder(run.out) as part:  # the report first: a run is over when its artefact is there
        results["student"]["hash"] = write_student(
            part, run, student, setting.teacher.sparse, setting.tokenizer, data=data, about=about
        )
        shutil.rmtree(run.folder / "report", ignore_errors=True)  # what a kill left half-written
        write_report(results, run.folder / "report")
    open_model(run.out)  # as whoever gets it will; its hashes are known from here on
    notify(f"{headline(results)}\nReport: {(run.folder / 'report' / 'report.html').resolve()}")


def _tell(weak: Mapping[str, Weakness]) -> None:
    for name, one in weak.items():
        found = [f"worse than others on {one.worse} of {one.documents} documents"] if one.documents else []
        found += [f"wrong in {one.wrong} of {one.answers} answers"] if one.answers else []
        if found:
            notify(f"{name}: the teacher is {', and '.join(found)}.")


def _reinforce(
    setting: DistillationContext, weak: Mapping[str, Weakness], run: Run
) -> tuple[DistillationContext, dict[str, str]]:
    """Return the setting, its teacher with a leaf more for each ability to reinforce, and those leaves' hashes."""
    config, names = setting.config, to_reinforce(setting.config, weak)
    if not names:
        return setting, {}
    folder, leaves = reinforced(config, names, setting.teacher.sparse, run)
    if config.leaves:
        config = dataclasses.replace(config, leaves=[*config.leaves, *leaves.values()])
    teacher = open_teacher(folder, setting.teacher.tokenizer, setting.device)
    assert teacher.sparse is not None
    hashes = {name: teacher.sparse.leaves[leaf].hash for name, leaf in leaves.items()}
    return dataclasses.replace(setting, teacher=teacher, config=config), hashes


def _begin(setting: DistillationContext) -> Student:
    config, teacher = setting.config, setting.teacher
    shape = student_shape(config, teacher.shape, teacher.parameters, teacher.sparse, setting.tokenizer.vocab_size)
    windows = [rows_BS1 for name in setting.own for rows_BS1 in setting.sample(name)]
    return begin(config, shape, teacher.sparse, windows, setting.device)


def _own_text(setting: DistillationContext) -> StudentData:
    weights = [source.weight for source in setting.config.data]
    return StudentData(list(setting.own), list(setting.own.values()), weights)


def _lessons(setting: DistillationContext) -> tuple[StudentData, list[TeacherCache], int]:
    """Return what the student reads, what the teacher said of it where that is kept, and of how many tokens in all."""
    config, teacher, lessons = setting.config, setting.teacher, _own_text(setting)
    teach, train = config.teach, config.train
    if teach.signal == "cache":
        settings = CacheSettings(samples=teach.samples, sequence_tokens=train.sequence_tokens)
        caches = []
        for name, shards in setting.own.items():
            folder = Path(teach.cache) / name if teach.cache else _kept(teacher, shards, settings)
            caches.append(write_cache(folder, teacher, shards, settings))
        own_words = round(teach.on_policy * train.trained_tokens)  # of which no cache can know
        return lessons, caches, sum(cache.num_tokens for cache in caches) + own_words
    if teach.signal != "sequences":
        return lessons, [], train.trained_tokens if teach.signal == "online" else 0
    texts = open_sources(config.data, teacher.tokenizer)
    length = train.sequence_tokens
    asked = SequenceSettings(sequence_tokens=length, prompt_tokens=min(PROMPT_TOKENS, length // 2))
    written = [
        write_sequences(_kept(teacher, shards, asked), teacher, shards, setting.tokenizer, asked)
        for shards in texts.values()
    ]
    own, theirs = ([share * weight for weight in lessons.weights] for share in (1 - teach.share, teach.share))
    twice = StudentData([*setting.own] * 2, [*lessons.sources, *written], [*own, *theirs])
    return twice, [], sum(shards.num_tokens for shards in texts.values())


def _kept(teacher: Teacher, shards: TokenShards, settings: CacheSettings | SequenceSettings) -> Path:
    """Return where what a teacher says of a text is kept for the next student."""
    return home_folder() / "teachers" / value_hash([teacher.hash, shards.hash, to_table(settings)])[:32]


def _teaching(setting: DistillationContext, caches: list[TeacherCache]) -> TeacherSignal:
    return TeacherSignal(
        teacher=setting.teacher,
        caches=caches,
        end_id=setting.tokenizer.end_id,
        teacher_bits={name: setting.teacher_exam.probe(setting.teacher, name, setting.device) for name in setting.own},
        student_bits=lambda model, name: setting.exam.probe(model, name, setting.device),
    )


def _train(
    name: str, student: Student, lessons: StudentData, teaching: TeacherSignal | None, config: DistillRecipe, run: Run
) -> dict[str, Any]:
    """Train a student in a run inside this one, which resumes by itself, and return how it went."""
    out = run.scratch() / name
    run_stage(functools.partial(train_student, student, lessons, teaching), config, out)
    tensors = read_tensors(out / "weights.safetensors")
    with torch.no_grad():
        for key, parameter in student.trained().items():
            parameter.copy_(tensors[key] if key.endswith("router_ED") else tensors[key].bfloat16())  # as it is kept
    return read_json(out / "training.json")


def _untaught(config: DistillRecipe, factor: float) -> DistillRecipe:
    """Return the recipe of a twin that no teacher tells anything, for as many operations as both took, to a step."""
    tokens = round(config.train.steps * factor) * config.train.step_tokens
    return dataclasses.replace(
        config,
        teach=dataclasses.replace(config.teach, signal="none", on_policy=0.0),
        train=dataclasses.replace(config.train, tokens=tokens),
    )


def _about(setting: DistillationContext, results: Mapping[str, Any], training: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the student's card says: how good it is, and nothing of the user's text."""
    recipe = {key: value for key, value in to_table(setting.config).items() if key not in PRIVATE_KEYS}
    recipe["teach"] |= {"cache": None}
    quality = {name: {who: row[who] for who in ("teacher", "student")} for name, row in results["quality"].items()}
    return {
        "recipe": recipe,
        "distilled": {"teacher": setting.teacher.hash, "kept": results["kept"]},
        "metrics": {"loss": training["loss"], "tokens": setting.config.train.tokens, **quality},
        "curve": training["curve"],
    }
