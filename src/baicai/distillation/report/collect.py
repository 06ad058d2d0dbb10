"""Collect the results of a distillation for the report."""

import dataclasses
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from baicai.distillation.context import DistillationContext
from baicai.distillation.measuring.held_out import HeldOut
from baicai.distillation.measuring.metrics import HeldOutMetrics, tokens_per_second
from baicai.distillation.measuring.q8_0 import quantize_q8_0
from baicai.distillation.report.results import AnswerSample, CacheSummary, DistillationResults, Speed
from baicai.distillation.sizing import Shape
from baicai.distillation.student.initialize import Student
from baicai.distillation.teacher.cache import TeacherCache
from baicai.distillation.teacher.weakness import Weakness
from baicai.errors import MachineError
from baicai.inference.generate import generate_batch
from baicai.model.transformer import Transformer
from baicai.run import notify

PROMPT_TOKENS, ANSWER_TOKENS = 32, 48

Metrics = Mapping[str, Mapping[str, HeldOutMetrics]]
"""Metrics of each measured model (teacher, baseline, start, student, untaught, q8) by domain."""


def collect_results(
    context: DistillationContext,
    student: Student,
    metrics: Metrics,
    weak: Mapping[str, Weakness],
    leaves: Mapping[str, str],
    trained: Mapping[str, Mapping[str, Any]],
    operations: Mapping[str, float],
    caches: Sequence[TeacherCache],
) -> DistillationResults:
    """Collect the results that `write_report` takes, and measure size, speed and sample answers.

    The student's hash is empty: it is known when the student is written.

    Args:
        weak: Where the teacher is weak, by domain.
        leaves: Hash of the leaf that was grown for each reinforced domain.
        trained: What `training.json` holds, for the student and for its untaught twin if there is one.
        operations: FLOPs of the teacher, the student and the untaught twin.
    Raises: ArtefactError if a metric is not finite.
    """
    config, teacher, model = context.config, context.teacher, student.model
    wanted = {source.domain: source.weight for source in config.data}
    metrics, q8_bytes = _with_q8(context, model, metrics)
    quality = _by_domain(metrics, "bits_per_byte", ("teacher", "baseline", "start", "student", "untaught", "q8"))
    shape = Shape(model.config, model.leaf_config, len(model.leaves))
    values = {
        "format": 1,
        "teacher": {"name": teacher.name, "hash": teacher.hash},
        "student": {"hash": "", "start": config.start, "signal": config.teach.signal},
        "quality": quality,
        "calibration": _by_domain(metrics, "calibration_error", ("teacher", "start", "student", "untaught")),
        "bytes": {domain: measured.num_bytes for domain, measured in metrics["student"].items()},
        "wanted": wanted,
        "dropped": [domain for domain in quality if domain not in wanted],
        "kept": statistics.fmean(
            metrics["teacher"][domain].bits_per_byte / metrics["student"][domain].bits_per_byte for domain in wanted
        ),
        "weak": {domain: dataclasses.asdict(weakness) for domain, weakness in weak.items()},
        "reinforced": leaves,
        "size": {
            "teacher": {"parameters": teacher.num_parameters, "bytes": teacher.num_bytes},
            "student": {
                "parameters": shape.num_parameters(),
                "bytes": shape.num_bytes("bfloat16"),  # the type of the stored weights
                "q8_bytes": q8_bytes,
            },
        },
        "speed": _speed(context, model),
        "flops": {"untaught": None, **{name: round(count) for name, count in operations.items()}},
        "cache": _cache_summary(caches),
        "curves": {"untaught": [], **{name: training["curve"] for name, training in trained.items()}},
        "mix": trained["student"]["mix"],
        "samples": _samples(context, model),
    }
    return DistillationResults.parse(values)


def _by_domain(metrics: Metrics, metric: str, columns: Sequence[str]) -> dict[str, dict[str, float | None]]:
    return {
        domain: {column: getattr(metrics[column][domain], metric) if column in metrics else None for column in columns}
        for domain in metrics["student"]
    }


def _with_q8(context: DistillationContext, model: Transformer, metrics: Metrics) -> tuple[Metrics, int | None]:
    """Add the metrics of the student with 8-bit weights, and return their bytes; None if this machine cannot run it."""
    try:
        q8 = quantize_q8_0(model)
    except MachineError as error:
        notify(f"The student was not measured with 8-bit weights: {error}")
        return metrics, None
    return {**metrics, "q8": context.held_out.measure(q8.model, context.device)}, q8.num_bytes


def _speed(context: DistillationContext, model: Transformer) -> Speed:
    """Measure tokens per second when generating one text on this machine's processor, each in its own tokens."""
    domain, sparse = next(iter(context.held_out.windows)), context.teacher.sparse
    prompts = (_prompt(held_out, domain)[0].tolist() for held_out in (context.teacher_held_out, context.held_out))
    teacher_prompt, student_prompt = prompts
    teacher = None if sparse is None else tokens_per_second(sparse.network, teacher_prompt)
    return Speed(teacher=teacher, student=tokens_per_second(model, student_prompt))


def _cache_summary(caches: Sequence[TeacherCache]) -> CacheSummary | None:
    if not caches:
        return None
    num_bytes, tokens = sum(cache.num_bytes for cache in caches), sum(cache.num_tokens for cache in caches)
    return CacheSummary(bytes=num_bytes, bytes_per_token=num_bytes / tokens, samples=caches[0].settings.samples)


def _samples(context: DistillationContext, model: Transformer) -> list[AnswerSample]:
    """Let teacher and student continue the beginning of each domain's held-out text with greedy decoding."""
    samples = []
    for domain in context.held_out.windows:
        theirs_1P, prompt_1P = (_prompt(held_out, domain) for held_out in (context.teacher_held_out, context.held_out))
        room = min(context.teacher.max_tokens - theirs_1P.shape[1], model.config.max_tokens - prompt_1P.shape[1])
        num_tokens = min(ANSWER_TOKENS, room + 1)  # the last token is generated but never read
        teacher_1N = context.teacher.generate(theirs_1P, num_tokens, 0, temperature=0)
        student_1N = generate_batch(
            model, prompt_1P, num_tokens, 0, temperature=0, vocab_size=context.tokenizer.vocab_size
        )
        samples.append(
            AnswerSample(
                domain=domain,
                prompt=context.tokenizer.decode(prompt_1P[0].tolist()),
                teacher=context.teacher_held_out.tokenizer.decode(teacher_1N[0].tolist()),
                student=context.tokenizer.decode(student_1N[0].tolist()),
            )
        )
    return samples


def _prompt(held_out: HeldOut, domain: str) -> Tensor:
    """Take the beginning of a domain's first window, [1, P], at most half of it, so that there is room to continue."""
    window_1S = held_out.windows[domain][:1]
    return window_1S[:, : min(PROMPT_TOKENS, window_1S.shape[1] // 2)]
