"""`import` and `export`, as a user runs them."""

import json
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from baicai.leaves.model import open_model
from tests.cli.conftest import Command
from tests.conftest import Workshop
from tests.convert.checkpoints import byte_level, checkpoint

pytest.importorskip("transformers")


def test_a_checkpoint_comes_in(tmp_path: Path, command: Command) -> None:
    checkpoint(tmp_path / "theirs", "Qwen3")
    byte_level(tmp_path / "theirs", "qwen", None)
    words = ("import", tmp_path / "theirs", "replay_tokens=300", "--out", tmp_path / "trunk")
    made = command(*words)
    assert (made.code, made.err) == (0, "")
    lines = dict(line.split(None, 1) for line in made.out.splitlines())
    assert (lines["kind"], lines["hash"]) == ("trunk", open_model(tmp_path / "trunk").trunk.hash)
    assert "architecture Qwen3ForCausalLM" in lines["imported"]
    again = command(*words, "--json")
    assert again.err == f"{tmp_path}/trunk is there already, made from this very recipe.\n"
    assert json.loads(again.out)["public_sample"] is True
    assert command("inspect", tmp_path / "trunk").code == 0
    said = command("generate", f"model={tmp_path}/trunk", "prompt=Hello", "sampling.max_tokens=3")
    assert (said.code, said.err) == (0, "")


def test_a_model_leaves_is_checked_and_comes_back(workshop: Workshop, tmp_path: Path, command: Command) -> None:
    told = command(
        "export", workshop.path("model"), "--format", "transformers", "--out", tmp_path / "theirs", "--check"
    )
    assert (told.code, told.err) == (0, "")
    assert "same greedy text     200 of 200 prompts" in told.out
    assert "largest difference" in told.out
    found = json.loads(
        command("export", workshop.path("model"), "format=transformers", "--out", tmp_path / "theirs", "--json").out
    )
    assert (found["kind"], found["format"]) == ("export", "transformers")
    assert "model.safetensors" in found["files"]
    back = command("import", tmp_path / "theirs", "replay_tokens=0", "--out", tmp_path / "back", "--json")
    made = json.loads(back.out)
    model = open_model(workshop.path("model"))
    assert made["kind"] == "model"
    assert made["leaves"] == {name: leaf.hash for name, leaf in model.leaves.items()}
    assert json.loads(command("inspect", tmp_path / "back", "--json").out)["hash"] == model.hash


def test_a_check_that_fails_is_an_error(workshop: Workshop, tmp_path: Path, command: Command) -> None:
    words = ("export", workshop.path("model"), "--out", tmp_path / "theirs")
    assert command(*words).code == 0
    tensors = load_file(tmp_path / "theirs" / "model.safetensors")
    tensors["model.norm.weight"] *= 1.1
    save_file(tensors, tmp_path / "theirs" / "model.safetensors", {"format": "pt"})
    told = command(*words, "--check", "--json")
    assert told.code == 2
    assert told.err.splitlines()[-1].startswith(
        f"error: {tmp_path}/theirs does not say what the model says: in 200 of "
    )
    assert json.loads(told.out)["check"]["problem"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("import", "/nowhere/at/all"), "error: /nowhere/at/all is no folder: give that of a checkpoint, or its name"),
        (("import",), "error: command line: key 'source' is missing"),
        (("import", "{fruit}"), "is no checkpoint in transformers' format: config.json is missing"),
        (("import", "{trunk}"), "config.json: architecture none cannot be imported: give one of Llama"),
        (("import", "no.toml"), "error: recipe no.toml does not exist"),
        (("export", "/nowhere/at/all"), "error: /nowhere/at/all does not exist: give the path or the hash"),
        (("export", "{model}", "outype=f32"), "error: command line: unknown key 'outype': the nearest is 'outtype'"),
        (("export", "{model}", "--format", "onnx"), "'onnx' is not one of 'transformers', 'gguf'"),
    ],
)
def test_what_is_wrong_is_one_line(
    words: tuple[str, ...], message: str, workshop: Workshop, tmp_path: Path, command: Command
) -> None:
    places = {name: workshop.path(name) for name in ("fruit", "trunk", "model")}
    told = command(*(word.format(**places) for word in words), "--out", tmp_path / "out")
    assert told.code == 2
    assert message in told.err
    assert not (tmp_path / "out").exists()


def test_a_recipe_file_may_say_it_all(workshop: Workshop, tmp_path: Path, command: Command) -> None:
    (tmp_path / "recipe.toml").write_text(f'model = "{workshop.path("model")}"\nmax_shard_bytes = 60000\n')
    assert command("export", tmp_path / "recipe.toml", "dtype=bfloat16", "--out", tmp_path / "theirs").code == 0
    assert (tmp_path / "theirs" / "model.safetensors.index.json").exists()
