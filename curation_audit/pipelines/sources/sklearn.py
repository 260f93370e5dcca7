"""The small sets that come with scikit-learn."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, TypeAlias

import numpy as np

from curation_audit.checks import InputError, did_you_mean
from curation_audit.pipelines.sources.base import ChooseColumns, RawTable, keep_chosen
from curation_audit.types import Column

Part: TypeAlias = Literal["all", "private", "public", "test"]

NAMES: Final = ("breast_cancer", "digits", "iris", "wine")

# A public constant: every reader splits a set the same way.
_SPLIT_SEED = 20_260


@dataclass(frozen=True, slots=True, kw_only=True)
class SklearnSource:
    """A built-in set: its features, ``target`` (the class by name) and ``id``.

    ``part`` takes 40 % (private), 40 % (public) or 20 % (test) of a fixed shuffle, so that the
    three sets of a pipeline have no row in common.
    """

    name: str
    part: Part = "all"

    def read(self, base: Path, choose: ChooseColumns | None = None) -> RawTable:
        """See ``Source.read``."""
        where = f"scikit-learn {self.name}"
        if self.name not in NAMES:
            raise InputError(where, "is not a built-in set", did_you_mean(self.name, NAMES))
        return keep_chosen(RawTable(_columns(self.name, self.part), where), choose)


def _columns(name: str, part: Part) -> dict[str, Column]:
    from sklearn import datasets

    bunch = getattr(datasets, f"load_{name}")()
    rows = _rows(len(bunch.data), part)
    columns: dict[str, Column] = {"id": np.array([f"{name}-{row:04d}" for row in rows])}
    for i, feature in enumerate(bunch.feature_names):
        columns[feature_name(feature)] = bunch.data[rows, i]
    columns["target"] = np.array([str(c) for c in bunch.target_names])[bunch.target[rows]]
    return columns


def _rows(n: int, part: Part) -> Column:
    if part == "all":
        return np.arange(n)
    order = np.random.default_rng(_SPLIT_SEED).permutation(n)
    cuts = {"private": (0.0, 0.4), "public": (0.4, 0.8), "test": (0.8, 1.0)}[part]
    return np.sort(order[round(cuts[0] * n) : round(cuts[1] * n)])


def feature_name(name: str) -> str:
    """A column name without blanks.

    >>> feature_name("sepal length (cm)")
    'sepal_length_cm'
    """
    kept = "".join(c if c.isalnum() else " " for c in name)
    return "_".join(kept.split())
