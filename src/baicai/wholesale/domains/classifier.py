"""Domain classifier: TF-IDF and one linear layer, trained on labelled documents or on clusters of unlabelled ones.

Terms are words and, in scripts written without spaces, single characters and pairs. Both kinds of training end in the
same files:

terms.json          the terms, in the order of the columns
model.safetensors   idf_T, weights_DT, bias_D, float32
card.json           settings, domain names, version and evaluation

Shape suffixes: N documents, T terms, D domains.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
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
Settings = Mapping[str, float]
Report = Mapping[str, float | Mapping[str, float]]
"""Numbers about the training, such as accuracy, or the size of each cluster."""
CARD = "card.json"
MAX_CHARACTERS = 4000
"""Length of the beginning of a text that is used."""
MAX_TERMS = 2**16
MIN_DOCUMENTS = 3
"""Minimum number of documents that contain a term, so that no individual's words enter a model."""
INVERSE_PENALTY = 10.0
COMPONENTS = 100
SHARPNESS = 10.0
"""Factor of the squared distances in the logits of clusters."""
NAME_TERMS = 3
SOLO = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3041-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
)
"""Scripts without spaces: Thai, Lao, Myanmar, Khmer, kana, ideographs."""
MARKS = "\u0300-\u036f\u0591-\u05c7\u064b-\u065f\u0900-\u0963\u0971-\u0dff"
"""Combining marks: accents, Hebrew and Arabic points, Indic vowel signs."""
TERM = re.compile(f"(?P<solo>[{SOLO}]+)|(?![{SOLO}])[^\\W\\d_](?:(?![{SOLO}])[\\w{MARKS}])+")


@dataclass(frozen=True)
class DomainModel:
    """A trained model in memory."""

    settings: Settings
    """Training settings. The same settings and documents give the same model."""
    domains: list[str]
    terms: list[str]
    idf_T: Floats
    weights_DT: Floats
    bias_D: Floats

    @cached_property
    def hash(self) -> str:
        """SHA-256 of settings, domains, terms and tensors."""
        return value_hash([self.settings, self.domains, self.terms, tensors_hash(self._tensors())])

    def scores(self, texts: Sequence[str]) -> Floats:
        """Return the domain probabilities [N, D] of texts."""
        return _softmax(self._vectorizer.transform(texts) @ self.weights_DT.T + self.bias_D)

    def save(self, folder: Path, version: int, trained: str, report: Report) -> None:
        """Write the model to a new folder, atomically.

        Args:
            folder: the folder, named after the hash of the model.
            version: number of the model in its warehouse.
            trained: date and time of the training, ISO 8601.
            report: results of the training for the card.
        """
        with atomic_folder(folder) as part:
            write_tensors(part / "model.safetensors", self._tensors())
            write_json(part / "terms.json", {"terms": self.terms})
            card = {"settings": self.settings, "domains": self.domains, "hash": self.hash}
            write_json(part / CARD, card | {"version": version, "made": trained, "report": report})

    def _tensors(self) -> dict[str, torch.Tensor]:
        arrays = {"idf_T": self.idf_T, "weights_DT": self.weights_DT, "bias_D": self.bias_D}
        return {name: torch.from_numpy(array) for name, array in arrays.items()}

    @cached_property
    def _vectorizer(self) -> Any:
        vectorizer = _new_vectorizer(vocabulary=self.terms)
        vectorizer.idf_ = self.idf_T
        return vectorizer


def open_domain_model(folder: Path) -> DomainModel:
    """Open and verify the model in a folder that is named after its hash.

    Raises: ArtefactError if it is damaged.
    """
    card, tensors = read_json(folder / CARD), read_tensors(folder / "model.safetensors")
    try:
        arrays = [tensors[name].numpy() for name in ("idf_T", "weights_DT", "bias_D")]
        model = DomainModel(card["settings"], card["domains"], read_json(folder / "terms.json")["terms"], *arrays)
        is_intact = model.hash == folder.name
    except (KeyError, TypeError):
        is_intact = False
    if not is_intact:
        raise ArtefactError(f"{folder} does not match its hash: remove it and run baicai data domains again")
    return model


def terms_of(text: str) -> list[str]:
    """Return the terms of the first `MAX_CHARACTERS` characters of a text."""
    terms: list[str] = []
    for match in TERM.finditer(text[:MAX_CHARACTERS].lower()):
        word = match[0]
        if match["solo"]:
            terms += word
            terms += map("".join, pairwise(word))
        else:
            terms.append(word)
    return terms


def train_on_labels(texts: Iterable[str], names: Sequence[str], settings: Settings) -> DomainModel:
    """Train a model on labelled documents of at least two domains."""
    vectorizer, tfidf_NT = _fit_tfidf(texts)
    from sklearn.linear_model import LogisticRegression

    regression = LogisticRegression(C=INVERSE_PENALTY, max_iter=1000).fit(tfidf_NT, list(names))
    weights_DT, bias_D = regression.coef_, regression.intercept_
    if len(bias_D) == 1:  # for two classes scikit-learn stores only the weights of the second
        weights_DT, bias_D = np.concatenate([0 * weights_DT, weights_DT]), np.concatenate([0 * bias_D, bias_D])
    return _build(vectorizer, weights_DT, bias_D, [str(name) for name in regression.classes_], settings)


def train_on_clusters(texts: Iterable[str], count: int, seed: int, settings: Settings) -> tuple[DomainModel, list[int]]:
    """Train a model on clusters of nearly equal size, named after their terms. Returns the model and the cluster sizes.

    Up to a term shared by all centres, the squared distance of a projection to a centre is linear in its TF-IDF.
    Source of the pipeline: Gururangan et al., Scaling Expert Language Models with Unsupervised Domain Discovery, 2023.
    """
    vectorizer, tfidf_NT = _fit_tfidf(texts)
    from sklearn.decomposition import TruncatedSVD

    components = min(COMPONENTS, *tfidf_NT.shape)
    svd = TruncatedSVD(components, random_state=seed)
    clusters = cluster(svd.fit_transform(tfidf_NT), count, seed)
    weights_DT = 2 * SHARPNESS * clusters.centres_KS @ svd.components_
    bias_D = -SHARPNESS * ((clusters.centres_KS**2).sum(1) + clusters.prices_K)
    means_DT = np.stack([np.asarray(tfidf_NT[clusters.owners_N == number].mean(0)).ravel() for number in range(count)])
    names = _cluster_names(means_DT, vectorizer.get_feature_names_out())
    sizes = np.bincount(clusters.owners_N, minlength=count).tolist()
    return _build(vectorizer, weights_DT, bias_D, names, settings), sizes


def _cluster_names(means_DT: NDArray[Any], terms: Sequence[str]) -> list[str]:
    """Name each cluster after terms that are frequent in it and rare in others."""
    shares_DT = means_DT / np.maximum(means_DT.sum(0), np.finfo(np.float32).tiny)
    scores_DT = means_DT * shares_DT**2
    names: list[str] = []
    for scores_T in scores_DT:
        selected: list[str] = []
        for index in np.argsort(-scores_T, kind="stable"):
            if not any(terms[index] in term or term in terms[index] for term in selected):
                selected.append(str(terms[index]))
            if len(selected) == NAME_TERMS:
                break
        name = "-".join(selected)
        names.append(f"{name}-{len(names)}" if name in names else name)
    return names


def _fit_tfidf(texts: Iterable[str]) -> tuple[Any, Any]:
    vectorizer = _new_vectorizer(min_df=MIN_DOCUMENTS, max_features=MAX_TERMS)
    try:
        return vectorizer, vectorizer.fit_transform(texts)
    except ValueError:  # the error that scikit-learn raises if no terms remain
        raise DataError(
            f"domains: no term occurs in {MIN_DOCUMENTS} of the training documents: gather more documents"
        ) from None


def _new_vectorizer(**settings: Any) -> Any:
    try:
        from sklearn.feature_extraction.text import TfidfVectorizer
    except ModuleNotFoundError:
        raise MachineError("scikit-learn is not installed: pip install 'baicai[domains]'") from None
    return TfidfVectorizer(analyzer=terms_of, sublinear_tf=True, dtype=np.float32, **settings)


def _build(
    vectorizer: Any, weights_DT: NDArray[Any], bias_D: NDArray[Any], domains: list[str], settings: Settings
) -> DomainModel:
    arrays = [np.ascontiguousarray(array, np.float32) for array in (vectorizer.idf_, weights_DT, bias_D)]
    return DomainModel(settings, domains, [str(term) for term in vectorizer.get_feature_names_out()], *arrays)


def _softmax(logits_ND: NDArray[Any]) -> Floats:
    exponentials_ND = np.exp(logits_ND - logits_ND.max(1, keepdims=True))
    shares: Floats = (exponentials_ND / exponentials_ND.sum(1, keepdims=True)).astype(np.float32)
    return shares
