"""Principal components of the pool."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from curation_audit import checks
from curation_audit.checks import InputError, SettingError
from curation_audit.pipelines.data_sets import ReadSet, float64_blocks
from curation_audit.pipelines.features.base import FeatureMap, with_features

RELATIVE_RANK = 1e-10


@dataclass(frozen=True, slots=True, kw_only=True)
class Pca:
    """The ``components`` directions in which the pool varies most; ``whiten`` to variance one.

    Signs are such that the largest entry of a direction is positive. A direction in which the
    pool does not vary is not whitened: its variance is rounding.
    """

    name: ClassVar[str] = "pca"
    components: int
    whiten: bool = False

    def __post_init__(self) -> None:
        """Check the number."""
        checks.positive(components=self.components)

    def fit(self, pool: ReadSet) -> FeatureMap:
        """Mean and directions of the pool."""
        m, d = pool.features.shape
        if not d:
            hint = "put a step that makes features of texts before it, e.g. tfidf"
            raise InputError(pool.where, "pca finds no features", hint)
        if self.components > min(m, d):
            raise SettingError(
                "features.steps",
                f"found pca with {self.components} components of {d} features and {m} rows",
                f"expected at most {min(m, d)}",
            )
        mean = sum(block.sum(axis=0) for block in float64_blocks(pool.features)) / m
        scatter = sum((b - mean).T @ (b - mean) for b in float64_blocks(pool.features)) / m
        values, vectors = np.linalg.eigh(scatter)
        best = np.argsort(-values, kind="stable")[: self.components]
        axes = vectors[:, best]
        axes = axes * np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(self.components)])
        if self.whiten:
            varies = values[best] > RELATIVE_RANK * values.max()
            axes = axes / np.sqrt(np.where(varies, values[best], 1.0))

        def mapped(data: ReadSet) -> ReadSet:
            parts = [(block - mean) @ axes for block in float64_blocks(data.features)]
            return with_features(data, np.concatenate(parts), self.name)

        return mapped
