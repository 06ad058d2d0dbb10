"""Keys of `baicai serve`."""

import dataclasses

import pytest

from baicai.config import read_recipe
from baicai.errors import ConfigError
from baicai.serving.config import ServeRecipe


@pytest.mark.parametrize(("old", "new"), ServeRecipe.RENAMED.items())
def test_old_keys_name_their_successor(old: str, new: str) -> None:
    assert new in {field.name for field in dataclasses.fields(ServeRecipe)}
    with pytest.raises(ConfigError) as caught:
        read_recipe(ServeRecipe, None, ["model=tiny", f"{old}=1"])
    assert f"'{old}'" in str(caught.value)
    assert f"'{new}'" in str(caught.value)
    assert "\n" not in str(caught.value)
