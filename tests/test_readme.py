"""The commands of the README and of the documentation run, in order, and the files they name exist."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from baicai.cli.main import cli
from baicai.config import read_recipe
from baicai.distillation.config import DistillRecipe
from baicai.leaves.train_tokenizer import TokenizerRecipe
from baicai.leaves.train_trunk import TrunkRecipe

ROOT = Path(__file__).parents[1]
READMES = ("README.md", "README.zh-CN.md")
PACKAGES = sorted(path.name for path in (ROOT / "src" / "baicai").iterdir() if (path / "__init__.py").exists())
RUNNABLE = ("convert", "distill", "public-text")
"""How-to pages with commands that need nothing but what the README's have made."""


def commands(text: str) -> list[str]:
    blocks = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
    return [line.partition(" #")[0].strip() for block in blocks for line in block.splitlines() if line.strip()]


@pytest.mark.parametrize("readme", READMES)
def test_make_targets_exist(readme: str) -> None:
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    called = [line.split()[1] for line in commands((ROOT / readme).read_text()) if line.startswith("make ")]
    assert called == ["quickstart", "test"]
    assert set(called) <= set(targets)


def test_both_languages_have_the_same_commands() -> None:
    english, chinese = (commands((ROOT / readme).read_text()) for readme in READMES)
    assert english == chinese


def test_the_commands_run_and_run_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("recipes", "docs"):
        (tmp_path / name).symlink_to(ROOT / name)
    pages = [ROOT / "README.md", *(ROOT / "docs" / "how-to" / f"{name}.md" for name in RUNNABLE)]
    lines = [line for page in pages for line in commands(page.read_text()) if line.startswith("baicai ")]
    assert len(lines) >= 20
    for line in lines:
        cli.main(shlex.split(line)[1:], prog_name="baicai", standalone_mode=False)
    assert (tmp_path / "out" / "walk" / "report" / "report.html").exists()
    capsys.readouterr()
    cli.main(shlex.split(lines[2])[1:], prog_name="baicai", standalone_mode=False)
    assert "made from this recipe" in capsys.readouterr().err


@pytest.mark.parametrize("readme", [*READMES, "CONTRIBUTING.md", "docs/formats.md", "docs/results.md"])
def test_named_files_exist(readme: str) -> None:
    text = (ROOT / readme).read_text()
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", text) if "://" not in link]
    paths = re.findall(r"`((?:src|tests|docs|bench|recipes)/[\w/.-]+)`", text)
    inside = re.findall(r"`((?:" + "|".join(PACKAGES) + r")/[\w/]+\.py)`", text)
    folder = (ROOT / readme).parent
    for path in [folder / link for link in links] + [ROOT / path for path in paths]:
        assert path.exists(), f"{readme} names {path}"
    for name in inside:
        assert (ROOT / "src" / "baicai" / name).exists(), f"{readme} names {name}"


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


def test_every_package_has_a_row_in_the_readmes() -> None:
    for readme in READMES:
        text = (ROOT / readme).read_text()
        assert [name for name in PACKAGES if f"`src/baicai/{name}`" not in text and name != "starter"] == []


def test_the_documentation_builds_without_warnings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("mkdocs", reason="pip install 'baicai[dev]' builds the documentation")
    monkeypatch.setenv("NO_MKDOCS_2_WARNING", "1")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, timeout=250)
    recipes = (tmp_path / "reference" / "recipes.html").read_text()
    for key in ("max_sequences", "kv_cache_tokens", "learning_rate", "topk_group", "public_share"):
        assert f"<code>{key}</code>" in recipes
    assert "baicai.open(" in (tmp_path / "reference" / "python.html").read_text()
