"""`baicai import` and `baicai export`."""

import json
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from baicai.leaves.model import open_model
from tests.cli.conftest import Command
from tests.conftest import Workshop
from tests.convert.checkpoints import byte_level, checkpoint

pytest.importorskip("transformers")


def test_a_checkpoint_is_imported(tmp_path: Path, command: Command) -> None:
    checkpoint(tmp_path / "theirs", "Qwen3")
    byte_level(tmp_path / "theirs", "qwen", None)
    words = ("import", tmp_path / "theirs", "replay_tokens=300", "--out", tmp_path / "trunk")
    imported = command(*words)
    assert (imported.code, imported.err) == (0, "")
    lines = dict(line.split(None, 1) for line in imported.out.splitlines())
    assert (lines["kind"], lines["hash"]) == ("trunk", open_model(tmp_path / "trunk").trunk.hash)
    assert "architecture Qwen3ForCausalLM" in lines["imported"]
    again = command(*words, "--json")
    assert again.err == f"{tmp_path}/trunk already exists and was made from this recipe; nothing to do.\n"
    assert json.loads(again.out)["public_sample"] is True
    assert command("inspect", tmp_path / "trunk").code == 0
    generated = command("generate", f"model={tmp_path}/trunk", "prompt=Hello", "sampling.max_tokens=3")
    assert (generated.code, generated.err) == (0, "")


def test_an_exported_model_is_checked_and_imported_again(workshop: Workshop, tmp_path: Path, command: Command) -> None:
    outcome = command(
        "export", workshop.path("model"), "--format", "transformers", "--out", tmp_path / "theirs", "--check"
    )
    assert (outcome.code, outcome.err) == (0, "")
    assert "same greedy text     200 of 200 prompts" in outcome.out
    assert "largest difference" in outcome.out
    facts = json.loads(
        command("export", workshop.path("model"), "format=transformers", "--out", tmp_path / "theirs", "--json").out
    )
    assert (facts["kind"], facts["format"]) == ("export", "transformers")
    assert "model.safetensors" in facts["files"]
    back = command("import", tmp_path / "theirs", "replay_tokens=0", "--out", tmp_path / "back", "--json")
    facts = json.loads(back.out)
    model = open_model(workshop.path("model"))
    assert facts["kind"] == "model"
    assert facts["leaves"] == {name: leaf.hash for name, leaf in model.leaves.items()}
    assert json.loads(command("inspect", tmp_path / "back", "--json").out)["hash"] == model.hash


def test_a_failed_check_is_an_error(workshop: Workshop, tmp_path: Path, command: Command) -> None:
    words = ("export", workshop.path("model"), "--out", tmp_path / "theirs")
    assert command(*words).code == 0
    tensors = load_file(tmp_path / "theirs" / "model.safetensors")
    tensors["model.norm.weight"] *= 1.1
    save_file(tensors, tmp_path / "theirs" / "model.safetensors", {"format": "pt"})
    outcome = command(*words, "--check", "--json")
    assert outcome.code == 2
    assert outcome.err.splitlines()[-1].startswith(f"error: {tmp_path}/theirs does not match its model: in 200 of ")
    assert json.loads(outcome.out)["check"]["problem"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("import", "/nowhere/at/all"), "error: /nowhere/at/all is not a folder: pass the folder of a checkpoint"),
        (("import",), "error: command line: key 'source' is missing"),
        (("import", "{fruit}"), "is not a checkpoint in transformers' format: config.json is missing"),
        (("import", "{trunk}"), "config.json: architecture none cannot be imported; supported: Llama"),
        (("import", "no.toml"), "error: recipe no.toml does not exist"),
        (("export", "/nowhere/at/all"), "error: /nowhere/at/all does not exist: give the path or the hash"),
        (("export", "{model}", "outype=f32"), "error: command line: unknown key 'outype': the nearest is 'outtype'"),
        (("export", "{model}", "--format", "onnx"), "'onnx' is not one of 'transformers', 'gguf'"),
    ],
)
def test_an_error_is_one_line(
    words: tuple[str, ...], message: str, workshop: Workshop, tmp_path: Path, command: Command
) -> None:
    paths = {name: workshop.path(name) for name in ("fruit", "trunk", "model")}
    outcome = command(*(word.format(**paths) for word in words), "--out", tmp_path / "out")
    assert outcome.code == 2
    assert message in outcome.err
    assert not (tmp_path / "out").exists()


def test_a_recipe_file_can_replace_the_first_word(workshop: Workshop, tmp_path: Path, command: Command) -> None:
    (tmp_path / "recipe.toml").write_text(f'model = "{workshop.path("model")}"\nmax_shard_bytes = 60000\n')
    assert command("export", tmp_path / "recipe.toml", "dtype=bfloat16", "--out", tmp_path / "theirs").code == 0
    assert (tmp_path / "theirs" / "model.safetensors.index.json").exists()
