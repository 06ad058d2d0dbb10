"""`baicai VERB recipe.toml key=value ... --out DIR`: every verb, and how errors are told."""

import importlib
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from click.shell_completion import get_completion_class

import baicai
from baicai.cli.arguments import JSON, OUT, RecipeArgument, read_arguments, show
from baicai.cli.data import data_group
from baicai.cli.keys import keys_group
from baicai.cli.serve import serve_command
from baicai.errors import BaicaiError, ConfigError

STAGES = {
    "tokenizer": ("baicai.leaves.train_tokenizer", "TokenizerRecipe", "make_tokenizer", "Make a tokenizer from text."),
    "trunk": ("baicai.leaves.train_trunk", "TrunkRecipe", "train_trunk", "Train a trunk on public text."),
    "grow": ("baicai.leaves.grow", "GrowRecipe", "grow_leaf", "Grow a leaf on your own text, the trunk frozen."),
    "join": (
        "baicai.leaves.join",
        "JoinRecipe",
        "join_leaves",
        "Join leaves to their trunk: write a lock file.",
    ),
    "peel": ("baicai.leaves.join", "PeelRecipe", "peel_leaves", "Remove leaves from a model, exactly."),
    "calibrate": (
        "baicai.leaves.calibrate",
        "CalibrateRecipe",
        "calibrate_model",
        "Tune a model's router scales.",
    ),
    "evaluate": ("baicai.leaves.evaluate", "EvaluateRecipe", "evaluate_model", "Measure a model, domain by domain."),
    "distill": (
        "baicai.distillation.distill",
        "DistillRecipe",
        "distill_model",
        "Make a small student that keeps what you want of a model.",
    ),
}
"""Verb: module, recipe class, stage function, help. Modules are loaded when their verb is used."""
TOGETHER = {"trunk"}
"""Verbs that torchrun may start on several processes."""


def _stage_command(verb: str, module: str, kind: str, function: str, text: str) -> click.Command:
    def run_stage(words: tuple[str, ...], out: Path, as_json: bool) -> None:
        from baicai.cli.inspect import describe
        from baicai.training.distributed import run_stage_on_all_ranks

        if verb not in TOGETHER and int(os.environ.get("WORLD_SIZE", "1")) > 1:
            raise ConfigError(f"{verb} runs in one process: start it without torchrun")
        loaded = importlib.import_module(module)
        config = read_arguments(getattr(loaded, kind), words)
        made = run_stage_on_all_ranks(getattr(loaded, function), config, out)
        if made is None:  # process 0 tells
            return
        if not made:
            click.echo(f"{out} is there already, made from this very recipe.", err=True)
        found = describe(out)
        if as_json:
            click.echo(json.dumps(found))
        else:
            show(found)

    return click.Command(
        verb,
        callback=run_stage,
        params=[RecipeArgument(module, kind), OUT, JSON],
        help=f"{text}\n\nRun it again with the same words to resume; what is done stays done.",
        short_help=text,
    )


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(baicai.__version__)
def cli() -> None:
    """Baicai: a large model grown from small ones."""


def _generate_command() -> click.Command:
    def run_generate(words: tuple[str, ...], as_json: bool) -> None:
        from baicai.cli.chat import GenerateRecipe, generate_text

        generate_text(read_arguments(GenerateRecipe, words), as_json)

    params = [RecipeArgument("baicai.cli.chat", "GenerateRecipe"), JSON]
    return click.Command(
        "generate", callback=run_generate, params=params, help="Continue a text, or answer one question."
    )


def _chat_command() -> click.Command:
    def run_chat(words: tuple[str, ...]) -> None:
        from baicai.cli.chat import ChatRecipe, chat

        chat(read_arguments(ChatRecipe, words))

    text = "Talk to a model; words are coloured by the leaf that gave them."
    return click.Command("chat", callback=run_chat, params=[RecipeArgument("baicai.cli.chat", "ChatRecipe")], help=text)


def _import_command() -> click.Command:
    def run_import(words: tuple[str, ...], out: Path, as_json: bool) -> None:
        from baicai.cli.convert import import_

        import_(words, out, as_json)

    text = "Make a trunk of a Llama, Mistral, Qwen or SmolLM checkpoint: a folder, or ORG/NAME on the hub."
    params = [RecipeArgument("baicai.convert.importer", "ImportRecipe", "PATH"), OUT, JSON]
    return click.Command("import", callback=run_import, params=params, help=text)


def _export_command() -> click.Command:
    def run_export(words: tuple[str, ...], out: Path, form: str | None, check: bool, as_json: bool) -> None:
        from baicai.cli.convert import export

        export([*words, *([f"format={form}"] if form else [])], out, check, as_json)

    params = [
        RecipeArgument("baicai.convert.exporter", "ExportRecipe", "MODEL"),
        click.Option(["--format", "form"], type=click.Choice(["transformers", "gguf"]), help="Default: transformers."),
        OUT,
        click.Option(["--check"], is_flag=True, help="Compare it with the model, in the engine that it is for."),
        JSON,
    ]
    text = "Write a model for transformers, or as a GGUF file for llama.cpp."
    return click.Command("export", callback=run_export, params=params, help=text)


@cli.command("inspect")
@click.argument("artefact")
@click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")
def _inspect(artefact: str, as_json: bool) -> None:
    """Say what an artefact is: sizes, cost, hashes, licences, lineage; a leaf is verified beside its trunk."""
    from baicai.cli.inspect import look_up

    found = look_up(artefact)
    if as_json:
        click.echo(json.dumps(found))
    else:
        show(found)


@cli.command("doctor")
@click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")
def _doctor(as_json: bool) -> None:
    """Look at the machine: what it has, and what is missing."""
    from baicai.cli.doctor import examine, print_findings

    if as_json:
        click.echo(json.dumps(examine()))
    else:
        print_findings(examine())


@cli.command("quickstart")
@click.option("--out", type=click.Path(path_type=Path), default=Path("out/quickstart"), show_default=True)
@click.option("--from-scratch", is_flag=True, help="Train the trunk too, instead of taking the one in the package.")
def _quickstart(out: Path, from_scratch: bool) -> None:
    """Grow five leaves, join them, and see that it works: seven to eleven minutes on two cores."""
    from baicai.cli.quickstart import quickstart

    quickstart(out, from_scratch)


@cli.command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def _completion(shell: str) -> None:
    """Print a completion script: add `source <(baicai completion bash)` to your shell's start file."""
    maker = get_completion_class(shell)
    assert maker is not None
    click.echo(maker(cli, {}, "baicai", "_BAICAI_COMPLETE").source())


for _verb, _parts in STAGES.items():
    cli.add_command(_stage_command(_verb, *_parts))
cli.add_command(_generate_command())
cli.add_command(_chat_command())
cli.add_command(_import_command())
cli.add_command(_export_command())
cli.add_command(data_group())
cli.add_command(keys_group())
cli.add_command(serve_command())


def main(run: Callable[..., Any] = cli.main) -> None:
    """Run the command line; an error a user can mend is one line and exit code 2."""
    try:
        run(prog_name="baicai", standalone_mode=False)
    except BaicaiError as error:
        if os.environ.get("RANK", "0") != "0":
            time.sleep(3)  # process 0 fails of the same, mostly, and torchrun then ends the others: it is told once
        click.echo(f"error: {error}", err=True)
        sys.exit(2)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except (KeyboardInterrupt, click.Abort):
        click.echo("stopped: run the same command again to resume", err=True)
        sys.exit(130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
