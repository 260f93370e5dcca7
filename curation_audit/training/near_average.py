"""S logistic regressions on one design: from the average problem to each by quasi-Newton steps.

Problems that differ in who is held have solutions near one another. The problem of average weights
is solved first; its Hessian then preconditions all of them, and a few L-BFGS steps (Nocedal &
Wright 2006, algorithm 7.4) take every problem to its own solution. A step is two matrix products
for all problems together, on blocks of rows that stay in cache. No loss is computed: whoever does
not come nearer with full steps is left to a solver with a line search.
"""

from dataclasses import dataclass, replace
from typing import Final

import torch
from torch import Tensor

NUMBERS_PER_BLOCK: Final = 2**18  # of logits, which then stay in cache
HISTORY: Final = 6  # steps that a direction remembers; more cost more than they save
MOST_STEPS: Final = 60
NEWTON_STEPS: Final = 8  # at most, for the average problem
ENOUGH_NEWTON: Final = 0.05  # relative size of the last of them
DIVERGED: Final = 4.0  # times the least direction so far: going astray
STUCK_BELOW: Final = 10.0  # times the tolerance: where a stop or a jump is rounding's
PATIENCE: Final = 6  # steps without a smaller direction
LIKE_AVERAGE: Final = 2.0  # factor of the average weight within which a problem is like it
WORTH_A_COPY: Final = 0.5  # share still going at which the others are dropped
MOST_COEFFICIENTS_OF_FULL_HESSIAN: Final = 1024


@dataclass(frozen=True, slots=True)
class SharedProblems:
    """S problems on one design, columns last: one matrix product serves all.

    Shapes: ``design`` (n, p), ``targets`` (n, C), ``weights`` (n, S), ``penalty`` (p,).
    """

    design: Tensor
    targets: Tensor
    weights: Tensor
    penalty: Tensor

    def of(self, who: Tensor) -> "SharedProblems":
        """Some of the problems, bool (S,)."""
        return replace(self, weights=self.weights[:, who])

    def gradient(self, coefficients: Tensor) -> Tensor:
        """Of all objectives, (p, C, S) -> (p, C, S)."""
        p, n_classes, n_problems = coefficients.shape
        flat = coefficients.reshape(p, n_classes * n_problems)
        found = self.penalty[:, None] * flat
        step = max(64, NUMBERS_PER_BLOCK // max(1, flat.shape[1]))
        if self.design.device.type != "cpu":
            step = len(self.design)
        for at in range(0, len(self.design), step):
            rows = slice(at, at + step)
            part = (self.design[rows] @ flat).view(-1, n_classes, n_problems)
            likely = part.sigmoid_() if n_classes == 1 else torch.softmax(part, dim=1)
            likely -= self.targets[rows, :, None]
            likely *= self.weights[rows, None]
            found.addmm_(self.design[rows].T, likely.view(-1, n_classes * n_problems))
        return found.view(p, n_classes, n_problems)

    def hessian(self, coefficients: Tensor) -> Tensor:
        """Of one problem, coefficients (p, C, 1): (C p, C p), or a block (C, p, p) a class."""
        p, n_classes, _ = coefficients.shape
        logits = self.design @ coefficients[:, :, 0]
        ridge = torch.diag(self.penalty)
        if n_classes == 1:
            likely = torch.sigmoid(logits)
            curved = likely * (1 - likely) * self.weights
            return (self.design * curved).T @ self.design + ridge
        likely = torch.softmax(logits, dim=1)
        if n_classes * p > MOST_COEFFICIENTS_OF_FULL_HESSIAN:
            curved = likely * (1 - likely) * self.weights
            blocks = [(self.design * one[:, None]).T @ self.design + ridge for one in curved.T]
            return torch.stack(blocks)
        # sum_i w_i (diag(q_i) - q_i q_i') x x_i x_i', class by class
        spread = (likely * self.weights.sqrt())[:, :, None] * self.design[:, None]
        spread = spread.reshape(-1, n_classes * p)
        found = -(spread.T @ spread)
        for c in range(n_classes):
            own = slice(c * p, (c + 1) * p)
            curved = likely[:, c, None] * self.weights
            found[own, own] += (self.design * curved).T @ self.design + ridge
        return found


@dataclass(frozen=True, slots=True)
class Near:
    """How far the steps took every problem: coefficients (p, C, S) and who arrived, bool (S,)."""

    coefficients: Tensor
    arrived: Tensor


def from_average(problems: SharedProblems, tolerance: float) -> Near:
    """Take every problem to its solution.

    Args:
        problems: which differ in weights alone.
        tolerance: a problem has arrived where the preconditioned gradient is no larger, relative
            to the largest coefficient; or where that is small and has stopped to fall, so that
            the precision is used up.
    """
    n_problems = problems.weights.shape[1]
    mean = problems.weights.mean(dim=1, keepdim=True)
    start, factor = _solved_roughly(replace(problems, weights=mean))
    coefficients = start.repeat(1, 1, n_problems)
    arrived = torch.zeros(n_problems, dtype=torch.bool, device=start.device)
    numbers = torch.arange(n_problems, device=start.device)
    # of the columns that are still computed; whoever holds far less or more than the average has
    # another Hessian, by which directions would have to be measured
    total, typical = problems.weights.sum(dim=0), mean.sum()
    going = (total >= typical / LIKE_AVERAGE) & (total <= typical * LIKE_AVERAGE)
    steps = _Steps.start(problems, coefficients)
    for _ in range(MOST_STEPS):
        direction, size = steps.direction(factor)
        steps = steps.seen(size)
        nearest = going & (size <= steps.least)
        coefficients[:, :, numbers[nearest]] = steps.at[:, :, nearest]
        astray = ~(size <= DIVERGED * steps.least)
        # near a solution, going astray is what rounding does
        used_up = (steps.least <= STUCK_BELOW * tolerance) & (astray | (steps.since >= PATIENCE))
        done = going & ((steps.least <= tolerance) | used_up)
        arrived[numbers[done]] = True
        going = going & ~done & ~astray
        n_going = int(going.sum())
        if n_going == 0:
            break
        if n_going <= WORTH_A_COPY * len(going):
            steps, direction = steps.of(going), direction[:, :, going]
            numbers, going = numbers[going], going[going]
        steps = steps.moved(-direction)
    return Near(coefficients, arrived)


def _solved_roughly(average: SharedProblems) -> tuple[Tensor, Tensor]:
    """The average problem by Newton's method, (p, C, 1), and a factor of its Hessian there."""
    p, n_classes = average.design.shape[1], average.targets.shape[1]
    at = average.design.new_zeros((p, n_classes, 1))
    factor = _factored(average.hessian(at))
    for _ in range(NEWTON_STEPS):
        move = _solve(factor, average.gradient(at))
        at = at - move
        factor = _factored(average.hessian(at))
        if float(move.abs().max()) <= ENOUGH_NEWTON * (1 + float(at.abs().max())):
            break
    return at, factor


def _factored(hessian: Tensor) -> Tensor:
    """Cholesky; what is not definite for rounding gives numbers that no problem arrives by."""
    factor: Tensor = torch.linalg.cholesky_ex(hessian)[0]
    return factor


def _solve(factor: Tensor, gradient: Tensor) -> Tensor:
    """The inverse of the average Hessian on (p, C, S)."""
    p, n_classes, n_problems = gradient.shape
    by_class = gradient.transpose(0, 1)
    if factor.ndim == 3:
        solved = torch.cholesky_solve(by_class, factor)
    else:
        stacked = by_class.reshape(n_classes * p, n_problems)
        solved = torch.cholesky_solve(stacked, factor).view(n_classes, p, n_problems)
    # the classes' coefficients sum to zero at the solution, where only the penalty holds them
    return (solved if n_classes == 1 else solved - solved.mean(dim=0)).transpose(0, 1)


@dataclass(frozen=True, slots=True)
class _Pair:
    """A step, how the gradient changed by it, (p, C, S), and one over their product, (S,)."""

    move: Tensor
    change: Tensor
    rho: Tensor

    @classmethod
    def of_step(cls, move: Tensor, change: Tensor) -> "_Pair":
        """What has no curvature counts as no step."""
        curvature = (move * change).sum(dim=(0, 1))
        return cls(move, change, torch.where(curvature > 0, curvature.reciprocal(), 0))

    def of(self, who: Tensor) -> "_Pair":
        """Some of the problems, bool (S,)."""
        return _Pair(self.move[..., who], self.change[..., who], self.rho[who])


@dataclass(frozen=True, slots=True)
class _Steps:
    """Where problems stand, (p, C, S), and what their last steps changed.

    ``least`` (S,) is the size of the least direction, ``since`` int64 (S,) how many steps ago.
    """

    problems: SharedProblems
    at: Tensor
    gradient: Tensor
    least: Tensor
    since: Tensor
    history: tuple[_Pair, ...] = ()

    @classmethod
    def start(cls, problems: SharedProblems, at: Tensor) -> "_Steps":
        """Without a step."""
        least = torch.full_like(at[0, 0], torch.inf)
        since = torch.zeros(len(least), dtype=torch.int64, device=at.device)
        return cls(problems, at, problems.gradient(at), least, since)

    def seen(self, size: Tensor) -> "_Steps":
        """With the sizes of the directions there, (S,)."""
        since = torch.where(size < self.least, 0, self.since + 1)
        return replace(self, least=torch.minimum(self.least, size), since=since)

    def direction(self, factor: Tensor) -> tuple[Tensor, Tensor]:
        """The inverse Hessian's guess times the gradient, and its size relative to each, (S,)."""
        q, alphas = self.gradient.clone(), []
        for pair in reversed(self.history):
            alphas.append((pair.move * q).sum(dim=(0, 1)).mul_(pair.rho))
            q.addcmul_(alphas[-1], pair.change, value=-1)
        found = _solve(factor, q)
        for pair, alpha in zip(self.history, reversed(alphas), strict=True):
            beta = (pair.change * found).sum(dim=(0, 1)).mul_(pair.rho)
            found.addcmul_(alpha - beta, pair.move)
        return found, found.abs().amax(dim=(0, 1)) / (1 + self.at.abs().amax(dim=(0, 1)))

    def moved(self, by: Tensor) -> "_Steps":
        """One step further."""
        at = self.at + by
        gradient = self.problems.gradient(at)
        history = (*self.history[-HISTORY + 1 :], _Pair.of_step(by, gradient - self.gradient))
        return replace(self, at=at, gradient=gradient, history=history)

    def of(self, who: Tensor) -> "_Steps":
        """Some of the problems, bool (S,)."""
        return _Steps(
            self.problems.of(who),
            self.at[..., who],
            self.gradient[..., who],
            self.least[who],
            self.since[who],
            tuple(pair.of(who) for pair in self.history),
        )
