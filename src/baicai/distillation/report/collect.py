"""What a distillation found: the plain values that the report shows."""

import dataclasses
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from baicai.distillation.context import DistillationContext
from baicai.distillation.measuring.held_out import HeldOut
from baicai.distillation.measuring.metrics import HeldOutMetrics, tokens_per_second
from baicai.distillation.measuring.q8_0 import quantize_q8_0
from baicai.distillation.sizing import Shape
from baicai.distillation.student.initialize import Student
from baicai.distillation.teacher.cache import TeacherCache
from baicai.distillation.teacher.weakness import Weakness
from baicai.errors import MachineError
from baicai.inference.generate import generate_batch
from baicai.model.transformer import Transformer
from baicai.run import notify

FORMAT = 1
PROMPT_TOKENS, ANSWER_TOKENS = 32, 48

Scores = Mapping[str, Mapping[str, HeldOutMetrics]]
"""From teacher, baseline, start, student, untaught and q8, those that there are, to their quality at each ability."""


def findings(
    context: DistillationContext,
    student: Student,
    scores: Scores,
    weak: Mapping[str, Weakness],
    leaves: Mapping[str, str],
    trained: Mapping[str, Mapping[str, Any]],
    operations: Mapping[str, float],
    caches: Sequence[TeacherCache],
) -> dict[str, Any]:
    """Return the results that `write_report` takes; the student's hash is still missing."""
    config, teacher, model = context.config, context.teacher, student.model
    wanted = {source.domain: source.weight for source in config.data}
    scores, eighth_bytes = _with_eight_bits(context, model, scores)
    quality = _by_ability(scores, "bits_per_byte", ("teacher", "baseline", "start", "student", "untaught", "q8"))
    shape = Shape(model.config, model.leaf_config, len(model.leaves))
    return {
        "format": FORMAT,
        "teacher": {"name": teacher.name, "hash": teacher.hash},
        "student": {"start": config.start, "signal": config.teach.signal},
        "quality": quality,
        "calibration": _by_ability(scores, "calibration_error", ("teacher", "start", "student", "untaught")),
        "bytes": {name: one.num_bytes for name, one in scores["student"].items()},
        "wanted": wanted,
        "dropped": [name for name in quality if name not in wanted],
        "kept": statistics.fmean(_bits(scores, "teacher", name) / _bits(scores, "student", name) for name in wanted),
        "weak": {name: dataclasses.asdict(one) for name, one in weak.items()},
        "reinforced": dict(leaves),
        "size": {
            "teacher": {"parameters": teacher.num_parameters, "bytes": teacher.num_bytes},
            "student": {
                "parameters": shape.num_parameters(),
                "bytes": shape.num_bytes("bfloat16"),  # as it is kept
                "q8_bytes": eighth_bytes,
            },
        },
        "speed": _speed(context, model),
        "flops": {"untaught": None, **{name: round(count) for name, count in operations.items()}},
        "cache": _cache(caches),
        "curves": {"untaught": [], **{name: one["curve"] for name, one in trained.items()}},
        "mix": [{key: line[key] for key in ("tokens", "shares", "gaps")} for line in trained["student"]["mix"]],
        "samples": _samples(context, model),
    }


def _bits(scores: Scores, who: str, name: str) -> float:
    return scores[who][name].bits_per_byte


def _by_ability(scores: Scores, what: str, columns: Sequence[str]) -> dict[str, dict[str, float | None]]:
    return {
        name: {column: getattr(scores[column][name], what) if column in scores else None for column in columns}
        for name in scores["student"]
    }


def _with_eight_bits(context: DistillationContext, model: Transformer, scores: Scores) -> tuple[Scores, int | None]:
    """Return the scores with those of the student's weights in eight bits, and its bytes, if these can be made."""
    try:
        in_eight = quantize_q8_0(model)
    except MachineError as error:
        notify(f"Not measured in eight bits: {error}")
        return scores, None
    return {**scores, "q8": context.held_out.measure(in_eight.model, context.device)}, in_eight.num_bytes


def _speed(context: DistillationContext, model: Transformer) -> dict[str, float | None]:
    """Return tokens per second of one text on this machine's processor, each in its own tokens."""
    name, sparse = next(iter(context.held_out.windows)), context.teacher.sparse
    theirs, ours = (_prompt(held_out, name)[0].tolist() for held_out in (context.teacher_held_out, context.held_out))
    teacher = None if sparse is None else tokens_per_second(sparse.network, theirs)
    return {"teacher": teacher, "student": tokens_per_second(model, ours)}


def _cache(caches: Sequence[TeacherCache]) -> dict[str, Any] | None:
    if not caches:
        return None
    size, tokens = sum(one.num_bytes for one in caches), sum(one.num_tokens for one in caches)
    return {"bytes": size, "bytes_per_token": size / tokens, "samples": caches[0].settings.samples}


def _samples(context: DistillationContext, model: Transformer) -> list[dict[str, str]]:
    """Return how teacher and student go on after the beginning of held-out text, each taking the likeliest token."""
    found = []
    for name in context.held_out.windows:
        teachers_1P, students_1P = (
            _prompt(held_out, name) for held_out in (context.teacher_held_out, context.held_out)
        )
        room = min(context.teacher.max_tokens - teachers_1P.shape[1], model.config.max_tokens - students_1P.shape[1])
        num_tokens = min(ANSWER_TOKENS, room + 1)  # the last token is not read
        teachers_1N = context.teacher.generate(teachers_1P, num_tokens, 0, temperature=0)
        students_1N = generate_batch(
            model, students_1P, num_tokens, 0, temperature=0, vocab_size=context.tokenizer.vocab_size
        )
        found.append(
            {
                "domain": name,
                "prompt": context.tokenizer.decode(students_1P[0].tolist()),
                "teacher": context.teacher_held_out.tokenizer.decode(teachers_1N[0].tolist()),
                "student": context.tokenizer.decode(students_1N[0].tolist()),
            }
        )
    return found


def _prompt(held_out: HeldOut, name: str) -> Tensor:
    """Return the beginning of an ability's first window, [1, P]; there is as much room behind it at least."""
    window_1S = held_out.windows[name][:1]
    return window_1S[:, : min(PROMPT_TOKENS, window_1S.shape[1] // 2)]
