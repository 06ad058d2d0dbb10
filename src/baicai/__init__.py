"""Baicai: one large model grown from many small ones.

Example:
    >>> import baicai
    >>> baicai.grow("recipes/walkthrough/grow.toml", name="home", data="texts/home", out="out/home")
    >>> baicai.join(trunk="out/trunk", leaves=["out/home"], out="out/model")
    >>> model = baicai.open("out/model")
    >>> model.chat("What is in the fridge?")
    >>> model.without("home").perplexity("There is milk in the fridge.")

Names are imported when they are first used, so that `import baicai` takes milliseconds.
"""

import importlib

__version__ = "0.1.0"

_EXPORTS = {
    "baicai.errors": ("ArtefactError", "BaicaiError", "ConfigError", "DataError", "MachineError"),
    "baicai.api.model": ("Model", "open"),
    "baicai.api.stages": (
        "calibrate",
        "distill",
        "evaluate",
        "export_model",
        "gather",
        "grow",
        "import_trunk",
        "join",
        "peel",
        "publish",
        "pull",
        "train_tokenizer",
        "train_trunk",
    ),
}
_MODULES = {name: module for module, names in _EXPORTS.items() for name in names}
__all__ = ["__version__", *sorted(_MODULES)]


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module 'baicai' has no attribute '{name}'")
    value = getattr(importlib.import_module(_MODULES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
