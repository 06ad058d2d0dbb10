"""What can go wrong, as one tree.

BaicaiError
├── ConfigError      a recipe, a key or a value
├── DataError        a document, a corpus, a tokenizer or a shard
├── ArtefactError    a trunk, leaf, model or run that is missing, damaged or does not fit
└── MachineError     a full disk, a missing device or a package that is not installed

Each message is one line: what is wrong, where, and what to do. The command line prints it and exits with 2.
"""


class BaicaiError(Exception):
    """Root of every error that a user can cause and mend."""


class ConfigError(BaicaiError):
    """A recipe has an unknown key or a value that cannot be."""


class DataError(BaicaiError):
    """Text or tokens that cannot be read or are too few."""


class ArtefactError(BaicaiError):
    """An artefact that is missing, damaged, or made for something else."""


class MachineError(BaicaiError):
    """The machine lacks what the task needs."""
