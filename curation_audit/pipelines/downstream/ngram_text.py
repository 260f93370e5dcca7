"""A bag of n-grams on the picked texts: what fastText-like classifiers come down to."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch

from curation_audit import checks
from curation_audit.observations import Selection
from curation_audit.pipelines.base import FittedModels, Rows
from curation_audit.pipelines.downstream.logistic import LogisticModels
from curation_audit.pipelines.features.hashed_ngrams import HashedNgrams
from curation_audit.pipelines.features.tokens import token_codes
from curation_audit.streams import ShadowStreams
from curation_audit.training.device import resolve_device, torch_dtype
from curation_audit.training.logistic import LogisticProblems, fit_logistic
from curation_audit.types import Features, Probabilities


@dataclass(frozen=True, slots=True, kw_only=True)
class NgramText:
    """L2-penalised logistic regression on hashed 1- to ``n``-grams of rows of tokens.

    A row's counts in ``buckets`` are scaled to length one; ``l2`` is as in ``logistic``.
    """

    name: ClassVar[str] = "ngram_text"
    deterministic: ClassVar[bool] = True
    n: int = 2
    buckets: int = 1024
    l2: float = 1.0
    device: str = "auto"

    def __post_init__(self) -> None:
        """Check the settings."""
        checks.positive(n=self.n, buckets=self.buckets, l2=self.l2)

    def fit(
        self, pool: Rows, selection: Selection, n_classes: int, *, streams: ShadowStreams
    ) -> FittedModels:
        """All S regressions on one design: the texts that anybody picked, weighed 0 or 1.

        Stacked designs, as for few features, would hold every text once per shadow.
        """
        if pool.labels is None:
            raise ValueError("a downstream model needs labels of the pool.")
        used = np.unique(selection.indices)
        rows = self.design(pool.features[used])
        place = resolve_device(self.device)
        kind = torch_dtype(rows)

        def tensor(array: np.ndarray) -> torch.Tensor:
            return torch.as_tensor(array, dtype=kind, device=place)

        targets = np.eye(n_classes)[pool.labels[used]]
        problems = LogisticProblems(
            design=tensor(rows),
            targets=tensor(targets[:, 1:] if n_classes == 2 else targets)[None],
            weights=tensor(selection.mask()[:, used]),
            penalty=tensor(np.full(rows.shape[1], self.l2)),
        )
        return NgramTextModels(self, LogisticModels(fit_logistic(problems).cpu().numpy()))

    def design(self, features: Features) -> Features:
        """Scaled counts and a column of ones, (rows, buckets + 1), in the dtype of the rows."""
        counts = self.counts(features)
        return np.concatenate([counts, np.ones_like(counts[:, :1])], axis=1)

    def counts(self, features: Features) -> Features:
        """Scaled counts, (rows, buckets)."""
        codes = token_codes(features, self.name)
        step = HashedNgrams(n=self.n, buckets=self.buckets, scale="unit")
        return step.of_tokens(codes).astype(features.dtype)


@dataclass(frozen=True, slots=True)
class NgramTextModels:
    """S regressions on counts."""

    settings: NgramText
    models: LogisticModels

    def predict_proba(self, features: Features) -> Probabilities:
        """(rows, L) -> float32 (S, rows, C)."""
        return self.models.predict_proba(self.settings.counts(features))
