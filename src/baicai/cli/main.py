"""The `baicai` command: its verbs, and the one place where errors become messages and exit codes."""

import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click
from click.shell_completion import get_completion_class

import baicai
from baicai.cli.arguments import JSON, OUT, print_facts, report_unchanged
from baicai.cli.data import data_group
from baicai.cli.verbs import Verb, build_command
from baicai.errors import BaicaiError, ConfigError

STAGES = (
    Verb("tokenizer", "baicai.leaves.train_tokenizer", "TokenizerRecipe", "make_tokenizer", "Train a tokenizer."),
    Verb("trunk", "baicai.leaves.train_trunk", "TrunkRecipe", "train_trunk", "Train a trunk on public text."),
    Verb("grow", "baicai.leaves.grow", "GrowRecipe", "grow_leaf", "Grow a leaf on your own text; the trunk is frozen."),
    Verb("join", "baicai.leaves.join", "JoinRecipe", "join_leaves", "Join leaves to their trunk in a lock file."),
    Verb("peel", "baicai.leaves.join", "PeelRecipe", "peel_leaves", "Remove leaves from a model, exactly."),
    Verb("calibrate", "baicai.leaves.calibrate", "CalibrateRecipe", "calibrate_model", "Tune a model's router scales."),
    Verb("evaluate", "baicai.leaves.evaluate", "EvaluateRecipe", "evaluate_model", "Evaluate a model on each domain."),
    Verb("distill", "baicai.distillation.distill", "DistillRecipe", "distill_model", "Distill a small student model."),
)
"""Verbs that make an artefact in a resumable run."""
DISTRIBUTED = {"trunk"}
"""Verbs that torchrun may start in several processes."""
CHECK = click.Option(["--check"], is_flag=True, help="Compare the export with the model in its own engine.")
FORMAT = click.Option(["--format"], type=click.Choice(["transformers", "gguf"]), help="Default: transformers.")
OTHER_VERBS = (
    Verb(
        "generate",
        "baicai.cli.chat",
        "GenerateRecipe",
        "generate_text",
        "Answer one question, or continue a text.",
        options=(JSON,),
    ),
    Verb("chat", "baicai.cli.chat", "ChatRecipe", "chat", "Chat with a model, coloured by leaf.", options=()),
    Verb(
        "import",
        "baicai.cli.convert",
        "ImportRecipe",
        "import_",
        "Import a Llama, Mistral, Qwen or SmolLM model as a trunk.\n\n"
        "SOURCE is a checkpoint folder, or ORG/NAME on the Hugging Face Hub.",
        "source",
    ),
    Verb(
        "export",
        "baicai.cli.convert",
        "ExportRecipe",
        "export",
        "Export a model to transformers or GGUF (llama.cpp).",
        "model",
        options=(OUT, CHECK, JSON),
        key_options=(FORMAT,),
    ),
    Verb(
        "serve",
        "baicai.cli.serve",
        "ServeRecipe",
        "serve_model",
        "Serve a model with an OpenAI-compatible API and a web page.",
        "model",
        options=(),
    ),
)
KEY_TEXT = "Create an API key and print it once."
ADD_KEY = Verb("add", "baicai.cli.keys", "KeyRecipe", "add", KEY_TEXT, "name", options=(JSON,))


def run_stage_verb(verb: Verb, words: Sequence[str], out: Path, as_json: bool) -> None:
    """Run a stage and print its artefact.

    Raises: ConfigError if torchrun started a verb that runs in one process only.
    """
    from baicai.cli.inspect import describe
    from baicai.training.distributed import run_stage_on_all_ranks

    if verb.name not in DISTRIBUTED and int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise ConfigError(f"{verb.name} runs in one process: start it without torchrun")
    was_run = run_stage_on_all_ranks(verb.load(verb.function), verb.read(words), out)
    if was_run is None:  # only process 0 reports
        return
    if not was_run:
        report_unchanged(out)
    print_facts(describe(out), as_json)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(baicai.__version__)
def cli() -> None:
    """Baicai: one large model grown from many small ones.

    A verb takes its settings from a recipe file (TOML), from KEY=VALUE words, or both; the words win. Run
    `baicai VERB --help` for the keys of a verb, and `baicai quickstart` for a first look.
    """


@click.group("keys")
def keys_group() -> None:
    """Manage API keys for `baicai serve`."""


@keys_group.command("list")
@click.option("--json", "as_json", is_flag=True, help=JSON.help)
def _list_keys(as_json: bool) -> None:
    """List API keys: name, scope and creation date."""
    from baicai.cli.keys import list_keys

    list_keys(as_json)


@keys_group.command("revoke")
@click.argument("name")
def _revoke_key(name: str) -> None:
    """Revoke an API key, effective immediately."""
    from baicai.serving.api_keys import revoke_key

    revoke_key(name)


@cli.command("inspect")
@click.argument("artefact")
@click.option("--json", "as_json", is_flag=True, help=JSON.help)
def _inspect(artefact: str, as_json: bool) -> None:
    """Verify an artefact and show its contents.

    ARTEFACT is a path or a hash. Shows sizes, cost, hashes, licences and lineage; a leaf is verified against its trunk.
    """
    from baicai.cli.inspect import look_up

    print_facts(look_up(artefact), as_json)


@cli.command("doctor")
@click.option("--json", "as_json", is_flag=True, help=JSON.help)
def _doctor(as_json: bool) -> None:
    """Check this machine for missing packages and resources."""
    from baicai.cli.doctor import doctor

    doctor(as_json)


@cli.command("quickstart")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("out/quickstart"),
    show_default=True,
    help="Write all artefacts to this folder.",
)
@click.option("--from-scratch", is_flag=True, help="Train the trunk instead of using the one in the package.")
def _quickstart(out: Path, from_scratch: bool) -> None:
    """Grow and join five small leaves, step by step.

    Takes seven to eleven minutes on two CPU cores.
    """
    from baicai.cli.quickstart import quickstart

    quickstart(out, from_scratch)


@cli.command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def _completion(shell: str) -> None:
    """Print a shell completion script.

    For bash, add `source <(baicai completion bash)` to ~/.bashrc.
    """
    completion_class = get_completion_class(shell)
    assert completion_class is not None
    click.echo(completion_class(cli, {}, "baicai", "_BAICAI_COMPLETE").source())


for _verb in STAGES:
    _command = build_command(_verb, run_stage_verb)
    _command.epilog = "Run the same command again to resume it where it stopped."
    cli.add_command(_command)
for _verb in OTHER_VERBS:
    cli.add_command(build_command(_verb))
keys_group.add_command(build_command(ADD_KEY))
cli.add_command(keys_group)
cli.add_command(data_group())


def main(run: Callable[..., Any] = cli.main) -> None:
    """Run the command line; an error that the user can fix is one line on stderr and exit code 2."""
    try:
        run(prog_name="baicai", standalone_mode=False)
    except BaicaiError as error:
        if os.environ.get("RANK", "0") != "0":
            time.sleep(3)  # process 0 usually fails with the same error; torchrun then ends the others silently
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
