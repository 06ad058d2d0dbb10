"""What tells domains: TF-IDF and one linear layer, learnt from named documents or from clusters of unnamed ones.

Terms are words, and of scripts that are written without spaces characters and pairs of them. Both ways of learning end
in the same files:

terms.json          the terms, in the order of the columns
model.safetensors   idf_T, weights_DT, bias_D, float32
card.json           settings, names of domains, version, and how good it is

Shape suffixes: N documents, T terms, D domains, S axes.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from baicai.artefact import (
    atomic_folder,
    read_json,
    read_tensors,
    tensors_hash,
    value_hash,
    write_json,
    write_tensors,
)
from baicai.errors import ArtefactError, DataError, MachineError
from baicai.wholesale.domains.balanced_kmeans import cluster

Floats = NDArray[np.float32]
CARD = "card.json"
CHARACTERS = 4000
"""What of a text, from its beginning, is looked at."""
MAX_TERMS = 2**16
MIN_DOCUMENTS = 3
"""A term is one that so many documents have: nobody's own words get into a model."""
INVERSE_PENALTY = 10.0
AXES = 100
SHARPNESS = 10.0
"""Of scores of clusters: what squared distances are multiplied by."""
NAME_TERMS = 3
SOLO = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3041-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
)
"""Scripts without spaces: Thai, Lao, Myanmar, Khmer, kana, ideographs."""
MARKS = "\u0300-\u036f\u0591-\u05c7\u064b-\u065f\u0900-\u0963\u0971-\u0dff"
"""What stands above or below letters and is none by itself: accents, Hebrew and Arabic points, Indian vowels."""
TERM = re.compile(f"(?P<solo>[{SOLO}]+)|(?![{SOLO}])[^\\W\\d_](?:(?![{SOLO}])[\\w{MARKS}])+")


@dataclass(frozen=True)
class DomainModel:
    """A model in memory."""

    settings: dict[str, Any]
    """What it was made by: the same settings and documents give the same model."""
    domains: list[str]
    terms: list[str]
    idf_T: Floats
    weights_DT: Floats
    bias_D: Floats

    @cached_property
    def hash(self) -> str:
        """The sha256 of all that it says."""
        return value_hash([self.settings, self.domains, self.terms, tensors_hash(self._tensors())])

    def scores(self, texts: Sequence[str]) -> Floats:
        """Return the probabilities [N, D] of the domains of texts."""
        return _softmax(self._vectorizer.transform(texts) @ self.weights_DT.T + self.bias_D)

    def save(self, folder: Path, card: dict[str, Any]) -> None:
        """Write the folder at once; the card gets what a reader needs beside what it says."""
        with atomic_folder(folder) as part:
            write_tensors(part / "model.safetensors", self._tensors())
            write_json(part / "terms.json", {"terms": self.terms})
            write_json(part / CARD, {"settings": self.settings, "domains": self.domains, **card})

    def _tensors(self) -> dict[str, torch.Tensor]:
        arrays = {"idf_T": self.idf_T, "weights_DT": self.weights_DT, "bias_D": self.bias_D}
        return {name: torch.from_numpy(array) for name, array in arrays.items()}

    @cached_property
    def _vectorizer(self) -> Any:
        vectorizer = _new_vectorizer(vocabulary=self.terms)
        vectorizer.idf_ = self.idf_T
        return vectorizer


def open_domain_model(folder: Path) -> DomainModel:
    """Return the model in a folder that is named after its hash.

    Raises: ArtefactError if it is damaged.
    """
    card, tensors = read_json(folder / CARD), read_tensors(folder / "model.safetensors")
    try:
        arrays = [tensors[name].numpy() for name in ("idf_T", "weights_DT", "bias_D")]
        model = DomainModel(card["settings"], card["domains"], read_json(folder / "terms.json")["terms"], *arrays)
        whole = model.hash == folder.name
    except (KeyError, TypeError):
        whole = False
    if not whole:
        raise ArtefactError(f"{folder} does not match its hash: remove it and run baicai data domains again")
    return model


def terms_of(text: str) -> list[str]:
    """Return the terms of a text's beginning."""
    found: list[str] = []
    for match in TERM.finditer(text[:CHARACTERS].lower()):
        run = match[0]
        if match["solo"]:
            found += run
            found += map("".join, pairwise(run))
        else:
            found.append(run)
    return found


def train_on_labels(texts: Iterable[str], names: Sequence[str], settings: dict[str, Any]) -> DomainModel:
    """Return a model of documents whose domains are known: two domains or more."""
    vectorizer, tfidf_NT = _vectors(texts)
    from sklearn.linear_model import LogisticRegression

    line = LogisticRegression(C=INVERSE_PENALTY, max_iter=1000).fit(tfidf_NT, list(names))
    weights_DT, bias_D = line.coef_, line.intercept_
    if len(bias_D) == 1:  # of two domains scikit-learn keeps how much more the second is than the first
        weights_DT, bias_D = np.concatenate([0 * weights_DT, weights_DT]), np.concatenate([0 * bias_D, bias_D])
    return _model(vectorizer, weights_DT, bias_D, [str(name) for name in line.classes_], settings)


def train_on_clusters(
    texts: Iterable[str], count: int, seed: int, settings: dict[str, Any]
) -> tuple[DomainModel, list[int]]:
    """Return a model of clusters of nearly equal size, named after their terms, and how many documents each has.

    A projection's squared distance to a centre is, but for what all centres share, linear in its TF-IDF.
    Source of the pipeline: Gururangan et al., Scaling Expert Language Models with Unsupervised Domain Discovery, 2023.
    """
    vectorizer, tfidf_NT = _vectors(texts)
    from sklearn.decomposition import TruncatedSVD

    axes = min(AXES, *tfidf_NT.shape)
    svd = TruncatedSVD(axes, random_state=seed)
    found = cluster(svd.fit_transform(tfidf_NT), count, seed)
    weights_DT = 2 * SHARPNESS * found.centres_KS @ svd.components_
    bias_D = -SHARPNESS * ((found.centres_KS**2).sum(1) + found.prices_K)
    means_DT = np.stack([np.asarray(tfidf_NT[found.owners_N == number].mean(0)).ravel() for number in range(count)])
    names = _names(means_DT, vectorizer.get_feature_names_out())
    sizes = np.bincount(found.owners_N, minlength=count).tolist()
    return _model(vectorizer, weights_DT, bias_D, names, settings), sizes


def _names(means_DT: NDArray[Any], terms: Sequence[str]) -> list[str]:
    """Return names made of terms that are frequent in a cluster and that it shares with few others."""
    shares_DT = means_DT / np.maximum(means_DT.sum(0), np.finfo(np.float32).tiny)
    telling_DT = means_DT * shares_DT**2
    names: list[str] = []
    for telling_T in telling_DT:
        chosen: list[str] = []
        for place in np.argsort(-telling_T, kind="stable"):
            if not any(terms[place] in term or term in terms[place] for term in chosen):
                chosen.append(str(terms[place]))
            if len(chosen) == NAME_TERMS:
                break
        name = "-".join(chosen)
        names.append(f"{name}-{len(names)}" if name in names else name)
    return names


def _vectors(texts: Iterable[str]) -> tuple[Any, Any]:
    vectorizer = _new_vectorizer(min_df=MIN_DOCUMENTS, max_features=MAX_TERMS)
    try:
        return vectorizer, vectorizer.fit_transform(texts)
    except ValueError:  # scikit-learn's only word for no terms
        raise DataError(
            f"domains: no word is in {MIN_DOCUMENTS} documents that could be learnt from: gather more"
        ) from None


def _new_vectorizer(**settings: Any) -> Any:
    try:
        from sklearn.feature_extraction.text import TfidfVectorizer
    except ModuleNotFoundError:
        raise MachineError("scikit-learn is not installed: pip install 'baicai[domains]'") from None
    return TfidfVectorizer(analyzer=terms_of, sublinear_tf=True, dtype=np.float32, **settings)


def _model(
    vectorizer: Any, weights_DT: NDArray[Any], bias_D: NDArray[Any], domains: list[str], settings: dict[str, Any]
) -> DomainModel:
    arrays = [np.ascontiguousarray(array, np.float32) for array in (vectorizer.idf_, weights_DT, bias_D)]
    return DomainModel(settings, domains, [str(term) for term in vectorizer.get_feature_names_out()], *arrays)


def _softmax(logits_ND: NDArray[Any]) -> Floats:
    powers_ND = np.exp(logits_ND - logits_ND.max(1, keepdims=True))
    shares: Floats = (powers_ND / powers_ND.sum(1, keepdims=True)).astype(np.float32)
    return shares
