"""A private curation as a scikit-learn classifier of private rows against public background.

Needs scikit-learn 1.6 or later.
"""

import numbers
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final, get_args

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import Tags
from sklearn.utils.multiclass import check_classification_targets, type_of_target
from sklearn.utils.validation import check_is_fitted, validate_data

from curation_audit.checks import InputError
from curation_audit.curator import Curator
from curation_audit.pipelines.base import FittedScorers
from curation_audit.pipelines.data import MIN_CANDIDATES
from curation_audit.pipelines.protection.base import Budget, ScorerMechanism
from curation_audit.pipelines.protection.releasing import check_releasable
from curation_audit.pipelines.scorers.private_classifier import PrivateClassifier
from curation_audit.releases.release import Release
from curation_audit.results import Adjacency
from curation_audit.streams import Streams
from curation_audit.types import Features, Floats

NOT_FOR_RELEASE: Final = (
    "this fit is not for release: its noise comes from random_state, and whoever knows that takes "
    "it off again. Fit with random_state=None and a ledger for a release_"
)


class BadInput(InputError, ValueError):
    """Bad input, which scikit-learn expects to be a ``ValueError`` too."""


class PrivateScorer(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Scores of rows by a differentially private look at the private ones.

    In ``fit`` the rows of the second class, ``classes_[1]``, are private: each is one unit of its
    own (use ``Curator`` where rows belong together). The rows of the first class are the public
    background, which is not protected.

    **A real fit** has ``random_state=None`` and a ``ledger``. It is booked there before its noise
    is drawn by the operating system; the same data and settings give the same release again, and
    spend nothing. A private set that was changed since is refused: that it is meant is said by
    ``Curator.fit(..., new_version=True)`` on the same rows.

    In a real fit the labels must be 1 (or ``True``) for private rows and 0 for the background: to
    take the wrong side for the public one would give the private rows away.

    **A seeded fit** has an integer ``random_state``, books nothing and can be repeated. It is for
    audits and tests, and **not for release**: neither its scores nor its predictions are private
    towards whoever knows or guesses the seed.

    **Tuning is not accounted for.** ``GridSearchCV`` and its like fit many times on parts of the
    private rows and choose by held-out ones: the choice says something about them that no booking
    covers. Tune on public rows that stand in for the private ones, with an integer
    ``random_state``, then fit once for real. In a real fit cross-validation is refused after its
    first fold, which is spent: every fold is another private set.

    Steps before this one in a ``Pipeline`` see private rows as well: what they learn (means,
    components) is covered only if it was fitted on public rows before. Public means and scales
    are taken here anyway.

    Args:
        scorer: ``"classifier"``, ``"mean"`` or ``"nearest"``, as in ``Curator``.
        epsilon: what a fit may spend at ``delta``; must be given.
        delta: below one over the number of private rows; must be given.
        adjacency: which private sets are neighbours, ``"zero_out"``, ``"add_remove"`` or
            ``"replace_one"``; must be given, as an epsilon says nothing without it.
        ledger: the file that keeps the budget of the private set; needed for a real fit.
        mechanism: the private form of the scorer, by default its natural one.
        random_state: ``None`` for a real fit, or an integer for one that is not for release.

    Attributes:
        classes_: the two labels, background first.
        threshold_: the score from which on a row is predicted to be like private ones; public. For
            a classifier it is 0, where the two sides weigh alike; for the others the median score
            of the background rows. No private row is looked at for it.
        release_: the ``Release`` of a real fit; a seeded one has none.
        n_features_in_: d.
        feature_names_in_: the names of columns, where ``X`` had some.
    """

    def __init__(
        self,
        *,
        scorer: str = "classifier",
        epsilon: float | None = None,
        delta: float | None = None,
        adjacency: Adjacency | None = None,
        ledger: Any = None,
        mechanism: str | ScorerMechanism | None = None,
        random_state: int | None = None,
    ) -> None:
        self.scorer = scorer
        self.epsilon = epsilon
        self.delta = delta
        self.adjacency = adjacency
        self.ledger = ledger
        self.mechanism = mechanism
        self.random_state = random_state

    def fit(self, X: Any, y: Any) -> "PrivateScorer":
        """Look at the private rows, X (rows, d) with y == ``classes_[1]``; the others are public.

        Raises:
            BadInput: an ``InputError`` and ``ValueError``, for what can be put right; then nothing
                was spent.
        """
        X, y = validate_data(self, X, y, dtype=np.float64)
        with _told_as_value_errors():
            budget = self._budget()
            is_private = self._is_private(y)
            if self.random_state is None:
                self._check_labels()
            if is_private.sum() < MIN_CANDIDATES:
                problem = f"too few rows are private (n_samples={len(y)}, n_features={X.shape[1]})"
                raise InputError("y", problem, f"expected {MIN_CANDIDATES} or more")
            private, background = self._rows(X[is_private]), self._rows(X[~is_private])
            if self.random_state is None:
                self._fit_for_real(private, budget, background)
            else:
                self._fit_seeded(private, budget, background)
        self.threshold_ = 0.0
        if not self._is_classifier:
            self.threshold_ = float(np.median(self._scores(X[~is_private])))
        return self

    def decision_function(self, X: Any) -> Floats:
        """Scores less ``threshold_``, (rows, d) -> float64 (rows,); higher is more like private."""
        check_is_fitted(self)
        rows = validate_data(self, X, dtype=np.float64, reset=False)
        return self._scores(rows) - self.threshold_

    def predict(self, X: Any) -> np.ndarray:
        """``classes_[1]`` where the score is above the public ``threshold_``, (rows,)."""
        above = self.decision_function(X) > 0
        predicted: np.ndarray = self.classes_[above.astype(int)]
        return predicted

    @property
    def release_(self) -> Release:
        """The release of a real fit.

        Raises:
            AttributeError: of a seeded fit, which is not for release.
        """
        check_is_fitted(self)
        if not isinstance(self._fitted, Release):
            raise AttributeError(NOT_FOR_RELEASE)
        return self._fitted

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_class = False
        # noise that hides any one of few rows, at a small epsilon, hides what they share as well
        tags.classifier_tags.poor_score = True
        tags.non_deterministic = self.random_state is None
        return tags

    def _budget(self) -> Budget:
        """What was asked for, after a look at all settings that have no default."""
        if self.epsilon is None:
            raise InputError("epsilon", "is missing", "say how much a fit may spend")
        if self.delta is None:
            raise InputError("delta", "is missing", "give a number below one over the private rows")
        if self.adjacency is None:
            words = ", ".join(get_args(Adjacency))
            raise InputError("adjacency", "is missing", f"state which sets are neighbours: {words}")
        if self.random_state is None and self.ledger is None:
            hint = "name the file that keeps the budget; an integer random_state is for audits"
            raise InputError("ledger", "is missing", hint)
        for name in ("epsilon", "delta"):
            value = getattr(self, name)
            if not isinstance(value, numbers.Real) or isinstance(value, bool):
                raise InputError(name, f"found {value!r}", "expected a number")
        return Budget(epsilon=float(self.epsilon), delta=float(self.delta))

    def _is_private(self, y: Any) -> np.ndarray:
        """Which rows are private, bool (rows,)."""
        check_classification_targets(y)
        kind = type_of_target(y, input_name="y", raise_unknown=True)
        if kind != "binary":
            problem = f"Only binary classification is supported. The type of the target is {kind}."
            raise ValueError(problem)
        self.classes_ = np.unique(y)
        if len(self.classes_) < 2:
            hint = "expected two: public background and, sorted behind it, private rows"
            raise InputError("y", "holds one class", hint)
        private: np.ndarray = y == self.classes_[1]
        return private

    def _check_labels(self) -> None:
        """Which side is private must not hang on the order of words."""
        if self.classes_.tolist() not in ([0, 1], [False, True]):
            problem = f"found the labels {self.classes_.tolist()}"
            raise InputError("y", problem, "expected 1 for private rows and 0 for the background")

    def _rows(self, rows: Features) -> Any:
        """The rows with the names of their columns, so that a release can read tables."""
        names = [str(name) for name in getattr(self, "feature_names_in_", ())]
        if not names or len({*names}) < len(names):
            return rows
        return dict(zip(names, rows.T, strict=True))

    def _curator(self, seed: int) -> Curator:
        words: dict[str, Any] = {"scorer": self.scorer, "adjacency": self.adjacency}
        return Curator(ledger=self.ledger or "", mechanism=self.mechanism, seed=seed, **words)

    def _fit_for_real(self, private: Any, budget: Budget, background: Any) -> None:
        release = self._curator(0).fit(private, budget=budget, background=background)
        self._fitted: Release | _Seeded = release
        self._is_classifier = release.intercept

    def _fit_seeded(self, private: Any, budget: Budget, background: Any) -> None:
        seed = self.random_state
        if not isinstance(seed, numbers.Integral) or isinstance(seed, bool) or seed < 0:
            hint = "expected None for a real fit, or an integer from 0 on"
            raise InputError("random_state", f"found {seed!r}", hint)
        made, data = self._curator(int(seed)).mechanism_on(
            private, budget=budget, background=background
        )
        check_releasable(made)  # noise on a selection alone would leave these scores bare
        everyone = np.ones((1, data.private.n_candidates), dtype=bool)
        streams = Streams(int(seed)).for_shadows("scikit-learn", (0,))
        fitted = made.scorer.fit(data.private, everyone, data.pool, streams=streams)
        if data.shift is None or data.scale is None:
            raise ValueError("the scaling of the features must be known.")
        self._fitted = _Seeded(fitted, data.shift, data.scale)
        self._is_classifier = isinstance(made.scorer, PrivateClassifier)

    def _scores(self, rows: Features) -> Floats:
        return self._fitted.score(rows)


class _Seeded:
    """A scorer with noise that its seed repeats: it can score, and be kept, but not be saved."""

    def __init__(self, fitted: FittedScorers, shift: Floats, scale: Floats) -> None:
        self.fitted, self.shift, self.scale = fitted, shift, scale

    def score(self, rows: Features) -> Floats:
        """(rows, d) -> float64 (rows,)."""
        scores = self.fitted.score((rows - self.shift) / self.scale)[0]
        return np.asarray(scores, dtype=np.float64)


@contextmanager
def _told_as_value_errors() -> Iterator[None]:
    try:
        yield
    except InputError as error:
        raise BadInput(error.where, error.problem, error.hint) from None
