"""The exception tree.

BaicaiError
├── ConfigError      an invalid recipe, key or value
├── DataError        an unusable document, corpus, tokenizer or shard
├── ArtefactError    a trunk, leaf, model or run that is missing, damaged or incompatible
└── MachineError     a full disk, a missing device or a package that is not installed

Each message is one line that says what is wrong, where, and what to do. The command line prints it and exits with 2.
"""


class BaicaiError(Exception):
    """Base class of every error that a user can cause and fix."""


class ConfigError(BaicaiError):
    """A recipe has an unknown key or an invalid value."""


class DataError(BaicaiError):
    """Text or tokens cannot be read, or there are too few of them."""


class ArtefactError(BaicaiError):
    """An artefact is missing, damaged, or made for something else."""


class MachineError(BaicaiError):
    """The machine lacks something that the task needs."""
