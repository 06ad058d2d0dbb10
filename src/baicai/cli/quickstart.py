"""`baicai quickstart`: grow, join and evaluate five leaves on one small machine, with generated text."""

import dataclasses
import sys
import time
from pathlib import Path

from rich.console import Console
from rich.text import Text

import baicai
from baicai.cli.chat import print_chunks
from baicai.data.document import Message
from baicai.data.sources import SourceConfig
from baicai.errors import MachineError
from baicai.evaluation.figure_style import leaf_colours
from baicai.evaluation.report import write_report
from baicai.evaluation.results import CostSummary, EvaluationResults, Sample, SamplePiece
from baicai.evaluation.tables import terminal_table
from baicai.inference.generate import SamplingConfig
from baicai.leaves.evaluate import EvaluateRecipe, evaluate_model
from baicai.leaves.generation import TextChunk, chat_prompt, stream_text, text_prompt
from baicai.leaves.grow import GrowRecipe, grow_leaf
from baicai.leaves.join import JoinRecipe, join_leaves
from baicai.leaves.model import SparseModel, open_model
from baicai.leaves.train_tokenizer import TokenizerRecipe, make_tokenizer
from baicai.leaves.train_trunk import TrunkRecipe, train_trunk
from baicai.model.config import GQAConfig, LeafConfig, ModelConfig
from baicai.run import run_stage
from baicai.synthesis import household, market_zh
from baicai.training.config import TrainConfig
from baicai.training.job_pool import Job, run_jobs

STARTER = Path(baicai.__file__).parent / "starter"
WORLD = 7
"""Seed of the household and the market whose facts the leaves learn; the trunk has never seen them."""
PRIVATE = {
    "household": f"generator:household?world={WORLD}&",
    "market-zh": f"generator:market_zh?world={WORLD}&",
    "arithmetic": "generator:arithmetic?level=3&",
    "python-code": "generator:python_library?",
    "python-docs": "generator:python_docs?",
}
OWN, HELD_OUT = "documents=8000", "split=valid&documents=400"
TOKENS = {"python-code": 360_000, "python-docs": 360_000}
"""Training tokens of leaves that need more than `GROW.tokens`."""
PUBLIC = {
    "household": "generator:household?world=many&documents=8000",
    "market-zh": "generator:market_zh?world=many&documents=8000",
    "arithmetic": "generator:arithmetic?level=1&documents=8000",
    "python-docs": "generator:python_docs?documents=300",
}
"""Public text that `--from-scratch` trains the trunk on."""
QUESTIONS, CODE = ("In which street is the Larder?", "冬瓜放哪儿了？"), "def read_lines(path):"
LEAF = LeafConfig()
GROW = TrainConfig(tokens=240_000, batch_sequences=8, sequence_tokens=256, learning_rate=6e-3)


def quickstart(out: Path, from_scratch: bool) -> None:
    """Grow five leaves, join them and show the result. Running it again resumes it."""
    start = time.monotonic()
    console = Console(highlight=False)
    console.print("[bold]1. The trunk[/]: a small language model trained on public text. It is frozen from here on.")
    trunk = _trunk(out, from_scratch)
    console.print(
        f"[bold]2. The leaves[/]: {len(PRIVATE)} owners each grow one on their own text. No owner sees "
        "another's text, and the trunk stays unchanged."
    )
    recipes = [_grow_recipe(name, trunk) for name in PRIVATE]
    jobs = [Job(grow_leaf, recipe, out / "leaves" / recipe.name, recipe.train.steps) for recipe in recipes]
    run_jobs("leaves", jobs, workers=2)
    console.print("[bold]3. The model[/]: the leaves are joined by hash. Nothing is trained and no weights are copied.")
    join = JoinRecipe(trunk=str(trunk), leaves=[str(job.out) for job in jobs])
    run_stage(join_leaves, join, out / "model")
    console.print("[bold]4. The proof[/]: bits per byte on text that no leaf has seen (lower is better).")
    held_out = [_text(name, HELD_OUT) for name in PRIVATE]
    evaluate = EvaluateRecipe(model=str(out / "model"), data=held_out, max_tokens=10_000)
    run_stage(evaluate_model, evaluate, out / "report")
    results = EvaluationResults.read(out / "report" / "results.json")
    console.print(terminal_table(results))
    console.print("[bold]5. Answers[/], each word in the colour of the leaf that produced it:")
    model = open_model(out / "model")
    results.samples = _samples(console, model)
    _recall(console, model)
    results.write(out / "report" / "results.json")
    write_report(results, out / "report" / "report.html")
    _print_summary(console, out, trunk, results.cost, time.monotonic() - start)


def _trunk(out: Path, from_scratch: bool) -> Path:
    if not from_scratch:
        if not (STARTER / "trunk.safetensors").exists():
            raise MachineError(f"starter trunk not found at {STARTER}: reinstall baicai, or use --from-scratch")
        return STARTER
    public = [SourceConfig(domain=name, path=path) for name, path in PUBLIC.items()]
    tokenizer = TokenizerRecipe(data=public, vocab_size=4096, sample_bytes=4_000_000)
    run_stage(make_tokenizer, tokenizer, out / "tokenizer")
    sizes = ModelConfig(
        vocab_size=4096,
        dim=128,
        num_layers=4,
        ffn_dim=384,
        max_tokens=512,
        attention=GQAConfig(num_heads=4, num_kv_heads=2, head_dim=32, qk_norm=True),
    )
    train = TrainConfig(tokens=3_000_000, learning_rate=3e-3)
    recipe = TrunkRecipe(tokenizer=str(out / "tokenizer"), data=public, model=sizes, train=train, replay_tokens=200_000)
    run_stage(train_trunk, recipe, out / "trunk")
    return out / "trunk"


def _grow_recipe(name: str, trunk: Path) -> GrowRecipe:
    own, held_out = [_text(name, OWN)], [_text(name, HELD_OUT)]
    train = dataclasses.replace(GROW, tokens=TOKENS.get(name, GROW.tokens))
    return GrowRecipe(name=name, trunk=str(trunk), data=own, held_out=held_out, leaf=LEAF, train=train)


def _text(name: str, part: str) -> SourceConfig:
    return SourceConfig(domain=name, path=PRIVATE[name] + part)


def _samples(console: Console, model: SparseModel) -> list[Sample]:
    prompts = {question: chat_prompt(model, [Message("user", question)]) for question in QUESTIONS}
    prompts[CODE] = text_prompt(model, CODE)
    sampling = SamplingConfig(max_tokens=60, temperature=0)
    colours = leaf_colours(list(model.leaves))
    samples = []
    for text, prompt in prompts.items():
        console.print(Text(f"> {text}", style="bold"))
        chunks: list[TextChunk] = list(stream_text(model, prompt, sampling))
        print_chunks(console, chunks, colours)
        pieces = [SamplePiece(text=c.text, leaf=c.leaf, weight=max(c.weights.values(), default=0.0)) for c in chunks]
        samples.append(Sample(prompt=text, pieces=pieces))
    console.print(Text.assemble("leaves: ", *(Text(f"{name}  ", style=colour) for name, colour in colours.items())))
    return samples


def _recall(console: Console, model: SparseModel) -> None:
    """Ask questions that only the owners can answer, with and without the leaves."""
    sampling = SamplingConfig(max_tokens=40, temperature=0)
    questions = household.probes(WORLD, 20, seed=3) + market_zh.probes(WORLD, 20, seed=3)
    correct = {}
    for name, leaves in (("trunk", []), ("model", None)):
        answers = [_answer(model, question, sampling, leaves) for question, _ in questions]
        correct[name] = sum(fact in answer for answer, (_, fact) in zip(answers, questions, strict=True))
    console.print(
        f"Of {len(questions)} questions that only the household and the market can answer, the model answers "
        f"{correct['model']} correctly and the trunk alone {correct['trunk']}. Each leaf was grown in minutes."
    )


def _answer(model: SparseModel, question: str, sampling: SamplingConfig, leaves: list[str] | None) -> str:
    prompt = chat_prompt(model, [Message("user", question)])
    return "".join(chunk.text for chunk in stream_text(model, prompt, sampling, leaves))


def _print_summary(console: Console, out: Path, trunk: Path, cost: CostSummary, seconds: float) -> None:
    model = out / "model"
    lines = (
        "",
        f"{cost.total_parameters:,} parameters, {cost.active_parameters:,} active per token; "
        f"{seconds:.0f} s{_peak_memory()}.",
        f"Report with charts:    {(out / 'report' / 'report.html').resolve()}",
        f"Chat with it:          baicai chat model={model}",
        f"Remove a leaf:         baicai peel model={model} 'leaves=[\"household\"]' --out {out / 'peeled'}",
        f"Grow your own:         baicai grow name=mine trunk={trunk} data=PATH-TO-YOUR-TEXTS --out {out / 'mine'}",
    )
    for line in lines:
        console.print(line, soft_wrap=True)


def _peak_memory() -> str:
    try:
        import resource
    except ImportError:  # Windows does not have it.
        return ""
    unit = 1 if sys.platform == "darwin" else 1024
    peak = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)) * unit
    return f", peak memory {peak / 1e6:.0f} MB per process"
