"""The README's commands run, in order, and what it names is there."""

import re
import shlex
from pathlib import Path

import pytest

from baicai.cli.main import cli
from baicai.config import read_recipe
from baicai.distillation.config import DistillRecipe
from baicai.leaves.train_tokenizer import TokenizerRecipe
from baicai.leaves.train_trunk import TrunkRecipe

ROOT = Path(__file__).parents[1]
READMES = ("README.md", "README.zh-CN.md")


def commands(text: str) -> list[str]:
    blocks = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
    return [line.partition(" #")[0].strip() for block in blocks for line in block.splitlines() if line.strip()]


@pytest.mark.parametrize("readme", READMES)
def test_make_targets_exist(readme: str) -> None:
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    asked = [line.split()[1] for line in commands((ROOT / readme).read_text()) if line.startswith("make ")]
    assert asked == ["quickstart", "test"]
    assert set(asked) <= set(targets)


def test_the_two_languages_give_the_same_commands() -> None:
    english, chinese = (commands((ROOT / readme).read_text()) for readme in READMES)
    assert english == chinese


def test_the_commands_run_and_run_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("recipes", "docs"):
        (tmp_path / name).symlink_to(ROOT / name)
    lines = [line for line in commands((ROOT / "README.md").read_text()) if line.startswith("baicai ")]
    assert len(lines) >= 10
    for line in lines:
        cli.main(shlex.split(line)[1:], prog_name="baicai", standalone_mode=False)
    assert (tmp_path / "out" / "walk" / "report" / "report.html").exists()
    capsys.readouterr()
    cli.main(shlex.split(lines[2])[1:], prog_name="baicai", standalone_mode=False)
    assert "made from this very recipe" in capsys.readouterr().err


@pytest.mark.parametrize("readme", [*READMES, "CONTRIBUTING.md", "docs/formats.md"])
def test_the_files_named_are_there(readme: str) -> None:
    text = (ROOT / readme).read_text()
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", text) if "://" not in link]
    paths = re.findall(r"`((?:src|tests|docs|bench|recipes)/[\w/.-]+)`", text)
    inside = re.findall(r"`((?:model|data|training|evaluation|leaves|wholesale|cli)/\w+\.py)`", text)
    for place in [*links, *paths, *(f"src/baicai/{name}" for name in inside)]:
        assert (ROOT / place).exists(), f"{readme} names {place}"


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("recipes/starter/tokenizer.toml", TokenizerRecipe),
        ("recipes/starter/trunk.toml", TrunkRecipe),
        ("recipes/distill/phone.toml", DistillRecipe),
    ],
)
def test_shipped_recipes_are_valid(path: str, kind: type[TokenizerRecipe | TrunkRecipe | DistillRecipe]) -> None:
    assert read_recipe(kind, ROOT / path).data
