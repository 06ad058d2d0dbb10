"""`baicai tokenizer`: train a tokenizer on a balanced sample of a trunk's domains."""

from baicai.artefact import atomic_folder
from baicai.config import Count, recipe
from baicai.data.readers import read_documents
from baicai.data.sources import Sources
from baicai.data.tokenizer import train_tokenizer
from baicai.run import Run


@recipe
class TokenizerRecipe:
    """Recipe of `baicai tokenizer`: a byte-level BPE tokenizer from a balanced sample of the sources."""

    data: Sources
    vocab_size: Count = 8192
    sample_bytes: Count = 20_000_000
    """Bytes of training text over all sources. Each contributes the same share, so that no language is neglected."""


def make_tokenizer(config: TokenizerRecipe, run: Run) -> None:
    """Train a tokenizer and write it to the run's artefact folder."""
    domains = {source.domain: read_documents(source.path, licence=source.licence) for source in config.data}
    tokenizer = train_tokenizer(domains, config.vocab_size, config.sample_bytes)
    with atomic_folder(run.out) as part:
        tokenizer.save(part)
