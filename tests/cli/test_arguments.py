"""The words of a command line."""

from pathlib import Path

import pytest

from baicai.cli.arguments import read_arguments
from baicai.config import recipe
from baicai.errors import ConfigError


@recipe
class Example:
    """A recipe with a main key."""

    model: str
    seed: int = 0


def test_a_bare_first_word_sets_the_first_key() -> None:
    assert read_arguments(Example, ["out/model", "seed=3"], "model") == Example(model="out/model", seed=3)
    assert read_arguments(Example, ["20261130"], "model") == Example(model="20261130"), "a hash may look like a number"


@pytest.mark.parametrize("first_key", ["", "model"])
def test_a_bare_first_word_ending_in_toml_is_the_recipe_file(tmp_path: Path, first_key: str) -> None:
    (tmp_path / "recipe.toml").write_text('model = "out/model"\nseed = 3\n')
    words = [str(tmp_path / "recipe.toml"), "seed=4"]
    assert read_arguments(Example, words, first_key) == Example(model="out/model", seed=4)


def test_without_a_first_key_a_bare_first_word_is_the_recipe_file() -> None:
    with pytest.raises(ConfigError, match="recipe out/model does not exist"):
        read_arguments(Example, ["out/model"])


def test_other_words_must_be_key_value_pairs() -> None:
    with pytest.raises(ConfigError, match="'seed' is not key=value"):
        read_arguments(Example, ["model=out/model", "seed"], "model")
