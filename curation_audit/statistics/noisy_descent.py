"""Noisy gradient descent to first order, along paths that it takes.

One step, from weights w with velocity v (both (p,)), adds a disturbance u of the gradient:

    v' = momentum * v + gradient(w) + u;   w' = w - learning_rate * v'

A record disturbs every step by its own gradient, noise every step afresh. What is released is the
mean of the last iterates, so that it moves by ``sum_t R_t u_t`` with one matrix ``R_t`` a step.
These matrices are found from the last step back (the adjoint of the recursion
``A' = (1 - r H) A - r g``, ``V' = (1 - r H) V (1 - r H)' + r^2 Q``), so that momentum and
averaging cost nothing more. Strong noise carries the weights to where the loss bends less than on
the path without noise, so that what is carried is averaged over some noisy paths. No theorem
bounds what first order leaves out.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Protocol, TypeAlias

import numpy as np

from curation_audit import checks
from curation_audit.types import Floats

Draws: TypeAlias = tuple[np.random.Generator, float]
"""Where a path's disturbances come from, and what they are multiplied by: 0, 1, or -1 for the
twin of a path from a generator of the same seed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Descent:
    """The constants of a run; what is released is the mean of the last ``averaged`` iterates."""

    steps: int
    learning_rate: float
    momentum: float = 0.0
    averaged: int = 1

    def __post_init__(self) -> None:
        """Check the ranges."""
        checks.positive(steps=self.steps, learning_rate=self.learning_rate, averaged=self.averaged)
        if self.averaged > self.steps:
            raise ValueError(f"averaged must be at most {self.steps}, got {self.averaged}.")
        if not 0 <= self.momentum < 1:
            raise ValueError(f"momentum must be in [0, 1), got {self.momentum}.")

    def share(self, iterate: int) -> float:
        """How much an iterate, counted from 0 for the start, is of what is released."""
        return 1 / self.averaged if iterate > self.steps - self.averaged else 0.0


@dataclass(frozen=True, slots=True)
class Around:
    """A step's gradient around some weights.

    ``hessian`` (p, p), symmetric, is how it bends, ``records`` (N, p) what each record adds to it,
    and ``sampled`` (p, p) the covariance that sampling of records gives it.
    """

    hessian: Floats
    records: Floats
    sampled: Floats


class Objective(Protocol):
    """What is descended, with records whose coins are not known held in part."""

    def gradient(self, weights: Floats) -> Floats:
        """At weights (p,), on average: (p,)."""
        ...

    def disturbance(self, weights: Floats, rng: np.random.Generator) -> Floats:
        """A draw of what noise and sampling add to it, (p,)."""
        ...

    def around(self, weights: Floats) -> Around:
        """What moves the gradient at weights (p,)."""
        ...


@dataclass(frozen=True, slots=True)
class Carried:
    """What reaches the released weights (p,).

    ``records`` (N, p): the shift when a record goes from out to in. ``white`` (p, p): the
    covariance where every step's gradient has independent noise of variance one along every
    coordinate. ``sampled`` (p, p): the covariance that sampling leaves.
    """

    released: Floats
    records: Floats
    white: Floats
    sampled: Floats

    def noise(self, deviation: float) -> Floats:
        """The covariance (p, p) of all but the coins, for noise of that standard deviation."""
        return deviation**2 * self.white + self.sampled

    @classmethod
    def mean(cls, of: "Sequence[Carried]") -> "Carried":
        """That of several paths.

        For the mean ``A' V^-1 A`` stays below the sum of ``|g|^2`` over the steps, as along every
        path (Cauchy & Schwarz): no adversary is promised more than the mechanism allows.
        """
        parts = ([getattr(one, field.name) for one in of] for field in fields(cls))
        return cls(*(np.mean(part, axis=0) for part in parts))


def carried(
    objective: Objective, start: Floats, descent: Descent, paths: Sequence[Draws]
) -> Carried:
    """What disturbances of every step do to what is released, from weights ``start`` (p,).

    On average over some ``paths``; twins keep what is released where it is on average.
    """
    found = (path_of(objective, start, descent, draws) for draws in paths)
    return Carried.mean([carried_along(objective, path, descent) for path in found])


def path_of(objective: Objective, start: Floats, descent: Descent, draws: Draws) -> Floats:
    """The iterates from ``start`` (p,), itself the first: (steps + 1, p)."""
    rng, sign = draws
    path, velocity = [np.asarray(start, dtype=np.float64)], np.zeros(len(start))
    for _ in range(descent.steps):
        gradient = objective.gradient(path[-1])
        if sign:
            gradient = gradient + sign * objective.disturbance(path[-1], rng)
        velocity = descent.momentum * velocity + gradient
        path.append(path[-1] - descent.learning_rate * velocity)
    return np.array(path)


def carried_along(objective: Objective, path: Floats, descent: Descent) -> Carried:
    """The same along one path (steps + 1, p)."""
    p = path.shape[1]
    white, sampled = np.zeros((p, p)), np.zeros((p, p))
    records: Floats | float = 0.0
    for response, around in _responses(objective, path, descent):
        records = records + around.records @ response.T
        white += response @ response.T
        sampled += response @ around.sampled @ response.T
    released = path[-descent.averaged :].mean(axis=0)
    return Carried(released, np.asarray(records), white, sampled)


def _responses(
    objective: Objective, path: Floats, descent: Descent
) -> Iterator[tuple[Floats, Around]]:
    """``R_t`` (p, p) and what is around the weights of step t, the last step first."""
    one = np.eye(path.shape[1])
    of_weights, of_velocity = descent.share(descent.steps) * one, 0 * one
    for step in reversed(range(descent.steps)):
        around = objective.around(path[step])
        response = of_velocity - descent.learning_rate * of_weights
        yield response, around
        of_velocity = descent.momentum * response
        of_weights = of_weights + response @ around.hessian + descent.share(step) * one
