"""The seam of a feature step: a public map of rows, fitted on the pool alone.

Steps are applied in the order of ``features.steps``; ``standardise`` comes last. Whatever is fitted
on private rows is no step but part of a scorer, which is fitted again for every shadow.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import ClassVar, Protocol, TypeAlias

from curation_audit.checks import InputError
from curation_audit.pipelines.data_sets import ReadSet
from curation_audit.types import Features

FeatureMap: TypeAlias = Callable[[ReadSet], ReadSet]


class FeatureStep(Protocol):
    """Settings of a step. Implementations are frozen dataclasses whose fields are public."""

    name: ClassVar[str]

    def fit(self, pool: ReadSet) -> FeatureMap:
        """The map of the rows of any set, from what the pool says.

        Raises:
            InputError: where the pool has not what the step reads.
        """
        ...


def with_features(data: ReadSet, features: Features, name: str) -> ReadSet:
    """The set with other features (rows, p), called ``name[0]`` to ``name[p - 1]``."""
    names = tuple(f"{name}[{i}]" for i in range(features.shape[1]))
    return replace(data, features=features, feature_names=names, from_vectors=True, columns=())


def fit_steps(steps: Sequence[FeatureStep], pool: ReadSet) -> tuple[ReadSet, FeatureMap]:
    """The pool after all steps, each fitted on the pool as it stands then, and the map of others.

    Raises:
        InputError: from a step, or where texts are named that no step reads.
    """
    maps: list[FeatureMap] = []
    for step in steps:
        maps.append(step.fit(pool))
        pool = maps[-1](pool)
    if not pool.features.shape[1]:
        hint = "add a step, e.g. features: {steps: [{kind: hashed_ngrams}]}"
        raise InputError(pool.where, "has a column of texts and no features", hint)

    def mapped(data: ReadSet) -> ReadSet:
        for one in maps:
            data = one(data)
        return data

    return pool, mapped
