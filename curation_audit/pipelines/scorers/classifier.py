"""A private-against-pool classifier: the quality filters of DCLM, GPT-3 and many others."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Final, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import expit

from curation_audit import checks
from curation_audit.checks import SettingError
from curation_audit.observations import Linearisation
from curation_audit.pipelines.base import Family, FittedScorers, PrivateRows, Rows
from curation_audit.pipelines.rules.cut import tie_hashes
from curation_audit.pipelines.scorers.linear import LinearScorers, half_weights, linearisation
from curation_audit.results import Adjacency
from curation_audit.streams import ShadowStreams
from curation_audit.training.device import resolve_device, torch_dtype
from curation_audit.training.logistic import LogisticProblems, fit_logistic
from curation_audit.training.platt import fit_platt
from curation_audit.types import Features, Floats, Inclusion, Indices, Labels, Scores

FOLDS: Final = "folds"
"""The salt by whose hash rows are dealt into folds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Classifier:
    """Logistic regression of private rows (1) against pool rows (0).

    ``l2`` is the weight of ``|w|^2 / 2`` beside the summed cross-entropy (scikit-learn's
    ``1 / C``). The intercept is a column of ones and is penalised like the rest, so that the
    problem stays strictly convex; it shifts all scores alike.

    ``balance``: ``classes`` weighs the n rows by n over twice the size of their class, so that
    either class counts as half of them (scikit-learn's ``class_weight="balanced"``). ``score``:
    the ``logit``, the ``probability``, or the ``calibrated`` probability for rules that need a
    number from 0 to 1; attacks on linear scores need the logit. The order of logit and probability
    is the same up to rounding, and that of ``calibrated``, too, unless the classes cannot be told
    apart: its slope may then be 0 or below. ``background``: the class 0 is ``all`` of the pool, or
    so many of its rows by a keyed hash of their ids, the same for everyone.

    ``calibrated`` (Platt 1999, as scikit-learn's ``CalibratedClassifierCV(ensemble=False)``): rows
    are dealt into ``folds`` by a keyed hash of their ids, those of a unit into one; each row gets
    the logit of a fit without its fold; and a line through these logits is fitted (see
    ``training/platt.py``), by which the logits of the whole fit are mapped. Every fit has the row
    weights of the whole. All of it is done again for every shadow.
    """

    name: ClassVar[str] = "classifier"
    adjacency: ClassVar[Adjacency] = "add_remove"
    l2: float = 1.0
    balance: Literal["none", "classes"] = "none"
    score: Literal["logit", "probability", "calibrated"] = "logit"
    folds: int = 5
    background: Literal["all"] | int = "all"
    device: str = "auto"

    def __post_init__(self) -> None:
        """Check the penalty, the folds and the background."""
        checks.positive(l2=self.l2)
        if self.folds < 2:
            raise ValueError(f"folds must be at least 2, got {self.folds}.")
        check_background(self.background)

    @property
    def family(self) -> Family:
        """A probability is not linear."""
        return "linear" if self.score == "logit" else "other"

    def embed(self, features: Features, labels: Labels | None = None) -> Features:
        """The features and a column of ones."""
        return np.concatenate([features, np.ones_like(features[:, :1])], axis=1)

    def unembed(self, embedded: Features, length: float) -> Features:
        """All columns but the ones."""
        return embedded[:, :-1]

    def fit(
        self, private: PrivateRows, inclusion: Inclusion, pool: Rows, *, streams: ShadowStreams
    ) -> FittedScorers:
        """All S regressions on one shared design, with the inclusion as row weights."""
        held = private.row_inclusion(inclusion)
        among = background_indices(pool, self.background)
        background = pool.features[among]
        row_weights = self._row_weights(held, len(background))
        weights = self._weights(private, row_weights, background, private.features.dtype)
        if self.score == "calibrated":
            ids = np.array(pool.ids, dtype=object)[among]
            fold = np.concatenate([unit_hashes(private), tie_hashes(ids, FOLDS)]) % self.folds
            weights = self._calibrated(private, row_weights, background, fold, weights)
        linear = LinearScorers(weights, self.embed)
        return linear if self.score == "logit" else ProbabilityScorers(linear.score)

    def _weights(
        self, private: PrivateRows, row_weights: Floats, pool: Features, dtype: np.dtype
    ) -> Features:
        """Coefficients (S, p) for weights of all rows (S, private rows + pool rows)."""
        rows = np.concatenate([private.features, pool]).astype(dtype)
        design = torch.as_tensor(self.embed(rows), device=resolve_device(self.device))
        kind = torch_dtype(rows)

        def tensor(array: np.ndarray) -> torch.Tensor:
            return torch.as_tensor(array, dtype=kind, device=design.device)

        is_private = np.arange(rows.shape[0]) < len(private)
        problems = LogisticProblems(
            design=design,
            targets=tensor(is_private)[None, :, None],
            weights=tensor(row_weights),
            penalty=tensor(np.full(design.shape[1], self.l2)),
        )
        weights: Features = fit_logistic(problems)[:, :, 0].cpu().numpy()
        return weights

    def _calibrated(
        self,
        private: PrivateRows,
        row_weights: Floats,
        pool: Features,
        fold: Indices,
        weights: Features,
    ) -> Features:
        """Coefficients (S, p) of the calibrated logits, from those of the logits.

        Fitting a fold at a time keeps to the memory of the whole fit.
        """
        embedded = self.embed(np.concatenate([private.features, pool]))
        logits = np.empty(row_weights.shape)
        for k in np.unique(fold):
            without = self._weights(private, row_weights * (fold != k), pool, weights.dtype)
            logits[:, fold == k] = without @ embedded[fold == k].T
        line = fit_platt(logits, np.arange(len(embedded)) < len(private), row_weights)
        found = line.slope[:, None] * weights
        found[:, -1] += line.intercept
        calibrated: Features = found.astype(weights.dtype)
        return calibrated

    def _row_weights(self, held: Floats | Inclusion, n_pool: int) -> Floats:
        """Weights of all rows, float64 (S, private rows + ``n_pool``)."""
        everyone = np.ones((held.shape[0], n_pool))
        weights = np.concatenate([held, everyone], axis=1)
        if self.balance == "none":
            return weights
        n_held = held.sum(axis=1, keepdims=True)
        total = n_held + n_pool
        weights[:, : held.shape[1]] *= total / (2 * np.where(n_held > 0, n_held, 1))
        weights[:, held.shape[1] :] *= total / (2 * n_pool)
        return weights

    def linearise(self, private: PrivateRows, pool: Rows) -> Linearisation | None:
        """The regression linearised at its solution with candidates at half weight."""
        if self.score != "logit":
            return None
        weight, n = half_weights(private), len(private)
        background = background_rows(pool, self.background).astype(np.float64)
        float64 = np.dtype(np.float64)
        row_weights = self._row_weights(weight[None, :], len(background))
        reference = self._weights(private, row_weights, background, float64)[0]
        embedded = self.embed(np.concatenate([private.features.astype(float64), background]))
        probability = 1 / (1 + np.exp(-embedded @ reference))
        gradients = (probability - (np.arange(len(embedded)) < n))[:, None] * embedded
        curvature = row_weights[0] * probability * (1 - probability)
        n_coefficients = embedded.shape[1]
        return linearisation(
            private,
            reference,
            gradients=self._pulls(gradients, weight),
            hessian=(embedded.T * curvature) @ embedded + self.l2 * np.eye(n_coefficients),
            slopes=np.arange(n_coefficients) < n_coefficients - 1,
        )

    def _pulls(self, gradients: Floats, weight: Floats) -> Floats:
        """The derivative of the whole gradient by the weight of each private row, (rows, p).

        Where classes are balanced, a row moves the weights of both classes, too: of n private and
        m pool rows these are ``(n + m) / 2n`` and ``(n + m) / 2m``.
        """
        of_private, of_pool = gradients[: len(weight)], gradients[len(weight) :]
        if self.balance == "none":
            return of_private
        n, m = weight.sum(), len(of_pool)
        by_class = of_pool.sum(axis=0) / (2 * m) - m / (2 * n**2) * (weight @ of_private)
        pulls: Floats = (n + m) / (2 * n) * of_private + by_class
        return pulls


@dataclass(frozen=True, slots=True)
class ProbabilityScorers:
    """S classifiers by the logistic function of their logits."""

    logits: Callable[[Features, Labels | None], Scores]

    def score(self, features: Features, labels: Labels | None = None) -> Scores:
        """(rows, d) -> (S, rows), from 0 to 1."""
        probabilities: Scores = expit(self.logits(features, labels))
        return probabilities


def check_background(background: Literal["all"] | int) -> None:
    """Raise ``ValueError`` for a number of rows that is none."""
    if background != "all":
        checks.positive(background=background)


def background_rows(pool: Rows, background: Literal["all"] | int) -> Features:
    """The pool rows that stand against the private ones, (rows, d).

    Raises:
        SettingError: for more than there are.
    """
    return pool.features[background_indices(pool, background)]


def background_indices(pool: Rows, background: Literal["all"] | int) -> Indices | slice:
    """Which pool rows these are.

    Raises:
        SettingError: for more than there are.
    """
    if background == "all":
        return slice(None)
    if background > len(pool):
        raise SettingError(
            "curate.scorer.background",
            f"found {background}, but the pool has {len(pool)} rows",
            "ask for fewer, or for all",
        )
    ranked = np.argsort(tie_hashes(pool.ids, "background"), kind="stable")
    return np.sort(ranked[:background])


def unit_hashes(private: PrivateRows) -> NDArray[np.uint64]:
    """A hash of the unit of every private row (rows,): the least of those of its rows' ids.

    Not all units have a name here, and their numbers hang on the order of the rows.
    """
    hashes = np.full(private.n_units, np.iinfo(np.uint64).max, dtype=np.uint64)
    np.minimum.at(hashes, private.owners, tie_hashes(private.ids, FOLDS))
    of_rows: NDArray[np.uint64] = hashes[private.owners]
    return of_rows
