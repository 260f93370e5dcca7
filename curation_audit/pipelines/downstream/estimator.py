"""A scikit-learn classifier, one clone per shadow.

Estimators have no shadow axis, so this adapter loops, over several processes if asked to.
"""

import functools
import inspect
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final, TypeAlias

import numpy as np
from sklearn.base import clone, is_regressor
from sklearn.utils.discovery import all_estimators

from curation_audit import checks
from curation_audit.checks import InputError, SettingError, did_you_mean
from curation_audit.observations import Selection
from curation_audit.pipelines.base import FittedModels, Rows
from curation_audit.pipelines.downstream.logistic import softmax
from curation_audit.pipelines.of_users import each, load_offered, origin_of
from curation_audit.streams import ShadowStreams
from curation_audit.types import Features, Labels, Probabilities

GROUP: Final = "curation_audit.estimators"
METHODS: Final = ("predict_proba", "decision_function")
# an instance, a factory of them, or a name: scikit-learn's own or that of an entry point
EstimatorSource: TypeAlias = Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimator:
    """A scikit-learn classifier or pipeline; everything in it is fitted per shadow on its picks.

    ``estimator`` is the name of a classifier of scikit-learn, that of an entry point of
    ``curation_audit.estimators``, or in Python an instance or a factory without arguments;
    ``settings`` go to a class or factory, or are set on an instance. Every ``random_state`` is set
    per shadow from its stream. ``workers`` processes share the shadows; their number changes no
    result.

    Probabilities are those of ``predict_proba``; without it, the sigmoid or softmax of
    ``decision_function``; without either, 1 for the class of ``predict``. A class that a shadow
    never saw gets 0; a shadow that saw one class always says that class, one without any row
    that all classes are alike: neither fits an estimator.
    """

    name: ClassVar[str] = "estimator"
    estimator: EstimatorSource
    settings: Mapping[str, Any] = field(default_factory=dict)
    workers: int = 1

    def __post_init__(self) -> None:
        """Check that there is such a classifier, and that it takes the settings."""
        checks.positive(workers=self.workers)
        made = self.make()
        if not (hasattr(made, "fit") and hasattr(made, "get_params")) or is_regressor(made):
            found = f"found {type(made).__name__}"
            raise SettingError("train.estimator", found, "expected a scikit-learn classifier")

    @property
    def deterministic(self) -> bool:
        """Whether it has no ``random_state``."""
        return not random_states(self.make())

    def make(self) -> Any:
        """An estimator that is not fitted."""
        source = self.estimator
        if isinstance(source, str):
            known = classifiers()
            source = known.get(source) or load_offered(GROUP, source, "train.estimator", [*known])
        if hasattr(source, "get_params") and not inspect.isclass(source):
            return _made(lambda **settings: clone(source).set_params(**settings), self.settings)
        if not callable(source):
            raise SettingError(
                "train.estimator", f"found {type(source).__name__}", "expected a classifier"
            )
        return _made(source, self.settings)

    def describe(self) -> dict[str, Any]:
        """What stored results are told apart by; the number of workers changes none."""
        made = self.make()
        with np.printoptions(threshold=sys.maxsize):
            parameters = {
                key: origin_of(value) if _is_part(value) else repr(value)
                for key, value in sorted(made.get_params(deep=True).items())
            }
        if isinstance(self.estimator, str):
            named: dict[str, Any] = {"estimator": self.estimator, "settings": dict(self.settings)}
        else:
            named = {"estimator": type(made).__name__}
        return {**named, "parameters": parameters, **origin_of(type(made))}

    def fit(
        self, pool: Rows, selection: Selection, n_classes: int, *, streams: ShadowStreams
    ) -> FittedModels:
        """One clone after the other, or several at a time."""
        if pool.labels is None:
            raise ValueError("a downstream model needs labels of the pool.")
        made = self.make()
        calls = []
        for mask, rng in zip(selection.mask(), streams.generators("estimator"), strict=True):
            calls.append((_seeded(made, rng), pool.features[mask], pool.labels[mask]))
        return EstimatorModels(each(fit_one, calls, self.workers), n_classes, self.workers)


@functools.cache
def classifiers() -> dict[str, type]:
    """scikit-learn's own, by name."""
    return dict(all_estimators(type_filter="classifier"))


def _is_part(value: Any) -> bool:
    """Whether a parameter is an estimator or a function, which have no telling ``repr``."""
    return hasattr(value, "get_params") or callable(value)


def _made(make: Callable[..., Any], settings: Mapping[str, Any]) -> Any:
    """What a factory gives; settings that it does not take are told by name."""
    if inspect.isclass(make):
        known = list(inspect.signature(make).parameters)
        for key in settings:
            if key not in known:
                path = f"train.settings.{key}"
                raise SettingError(path, f"unknown setting {key!r}", did_you_mean(key, known))
    try:
        return make(**settings)
    except Exception as error:  # a stranger's factory may fail in any way
        raise SettingError(
            "train.settings",
            f"making the estimator raised {type(error).__name__}",
            "check estimator and settings",
        ) from None


def random_states(estimator: Any) -> list[str]:
    """The parameters that seed an estimator and its parts, sorted."""
    names = estimator.get_params(deep=True)
    return sorted(n for n in names if n == "random_state" or n.endswith("__random_state"))


def _seeded(estimator: Any, rng: np.random.Generator) -> Any:
    seeds = {name: int(rng.integers(2**31)) for name in random_states(estimator)}
    return clone(estimator).set_params(**seeds)


@dataclass(frozen=True, slots=True)
class OneClass:
    """A shadow that saw one class, or with ``None`` no row at all."""

    label: int | None


def fit_one(estimator: Any, rows: Features, labels: Labels) -> Any:
    """Fit one estimator, or see that there is nothing to tell apart.

    Raises:
        InputError: if it fails, without its text, which may quote rows.
    """
    classes = np.unique(labels)
    if len(classes) < 2:
        return OneClass(int(classes[0]) if len(classes) else None)
    try:
        return estimator.fit(rows, labels)
    except Exception as error:  # a stranger's estimator may fail in any way
        raise _failed(estimator, "fit", error, len(rows)) from None


def _failed(estimator: Any, method: str, error: Exception, n_rows: int) -> InputError:
    return InputError(
        f"train estimator {type(estimator).__name__}",
        f"{method} raised {type(error).__name__} for {n_rows} rows",
        "call it by itself to see why",
    )


@dataclass(frozen=True, slots=True)
class EstimatorModels:
    """S fitted estimators."""

    estimators: list[Any]
    n_classes: int
    workers: int

    def predict_proba(self, features: Features) -> Probabilities:
        """(rows, d) -> float32 (S, rows, C)."""
        calls = [(one, features, self.n_classes) for one in self.estimators]
        return np.stack(each(ask_one, calls, self.workers))


def ask_one(estimator: Any, features: Features, n_classes: int) -> Probabilities:
    """Class probabilities of one estimator, float32 (rows, C).

    Raises:
        InputError: if it fails, or gives something else than one number per class that it saw.
    """
    found = np.zeros((len(features), n_classes), dtype=np.float32)
    if isinstance(estimator, OneClass):
        label = slice(None) if estimator.label is None else estimator.label
        found[:, label] = 1 / n_classes if estimator.label is None else 1
        return found
    if not len(features):
        return found
    method = next((name for name in METHODS if hasattr(estimator, name)), "predict")
    try:
        classes = np.asarray(estimator.classes_)
        said = np.asarray(getattr(estimator, method)(features))
    except Exception as error:  # as above
        raise _failed(estimator, method, error, len(features)) from None
    shares = shares_of(said, method, classes)
    if shares.shape != (len(features), len(classes)):
        raise InputError(
            f"train estimator {type(estimator).__name__}",
            f"{method} gave an array of shape {said.shape}",
            f"expected one row for each of {len(features)}, and {len(classes)} classes",
        )
    found[:, classes] = shares
    return found


def shares_of(said: np.ndarray, method: str, classes: np.ndarray) -> np.ndarray:
    """What a method said as shares of the classes that were seen, (rows, classes)."""
    if method == "predict" and said.ndim == 1:
        return np.asarray(said[:, None] == classes)
    if method == "decision_function":  # of two classes it is one number, for the second
        two = said.ndim == 1
        return softmax(np.stack([np.zeros_like(said), said], axis=1) if two else said)
    return said
