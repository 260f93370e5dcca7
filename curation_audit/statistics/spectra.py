"""Spectra of gradients, under exact names: the literature uses "effective rank" for all of them.

The eigenvalues l of the records' Gram matrix ``G G'``, with a record's gradient in each row of G.
None of these numbers is a privacy measure. Only the numerical rank (without noise) and
``effective_dimension`` (with it) enter a formula of what leaks; the others describe a shape.
They are functions of private rows, and as private as these.
"""

from dataclasses import dataclass

import numpy as np

from curation_audit import checks
from curation_audit.types import Floats

NUMERICAL = 1e-6
"""Of the largest eigenvalue: what is above it counts as a direction."""


@dataclass(frozen=True, slots=True)
class Spectrum:
    """Eigenvalues (r,), falling, none negative."""

    eigenvalues: Floats

    @classmethod
    def of_gradients(cls, gradients: Floats) -> "Spectrum":
        """Of records' gradients (N, p); from the smaller of both Gram matrices, in float64."""
        exact = np.asarray(gradients, dtype=np.float64)
        _check_finite(exact)
        return cls.of_gram(exact @ exact.T if len(exact) < exact.shape[1] else exact.T @ exact)

    @classmethod
    def of_gram(cls, gram: Floats) -> "Spectrum":
        """Of their products, ``G G'`` (N, N) or ``G' G`` (p, p)."""
        _check_finite(gram)
        return cls(np.maximum(np.linalg.eigvalsh(gram)[::-1], 0))

    @property
    def largest(self) -> float:
        """The largest eigenvalue; 0 where there is none."""
        return float(self.eigenvalues.max(initial=0))

    @property
    def numerical_rank(self) -> int:
        """How many eigenvalues exceed ``NUMERICAL`` times the largest; 0 where all are 0."""
        return int((self.eigenvalues > NUMERICAL * self.largest).sum())

    @property
    def hard_rank(self) -> float:
        """The participation ratio ``(sum l)^2 / sum l^2`` (Jha & Reagen, arXiv:2510.00537)."""
        return _ratio(self.eigenvalues.sum() ** 2, (self.eigenvalues**2).sum())

    @property
    def soft_rank(self) -> float:
        """The Shannon rank: e to the entropy of ``l / sum l`` (Roy & Vetterli 2007)."""
        total = self.eigenvalues.sum()
        if not total > 0:
            return 0.0
        shares = self.eigenvalues[self.eigenvalues > 0] / total
        return float(np.exp(-(shares * np.log(shares)).sum()))

    @property
    def stable_rank(self) -> float:
        """``sum l / largest l``: of G the squared Frobenius over the squared operator norm."""
        return _ratio(self.eigenvalues.sum(), self.largest)

    def effective_dimension(self, ridge: float) -> float:
        """``sum l / (l + ridge)``: in how many directions records show beside that much noise."""
        checks.positive(ridge=ridge)
        return float((self.eigenvalues / (self.eigenvalues + ridge)).sum())


def _check_finite(gradients: Floats) -> None:
    if gradients.ndim != 2 or not np.isfinite(gradients).all():
        raise ValueError("gradients must be a finite matrix (records, numbers).")


def _ratio(numerator: float, denominator: float) -> float:
    return float(numerator / denominator) if denominator > 0 else 0.0
