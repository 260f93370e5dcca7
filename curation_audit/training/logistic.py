"""S logistic regressions at once.

Each problem s minimises, over coefficients ``w`` (p, C),

    sum_i weights[s, i] * cross_entropy(design_i @ w, targets[s, i]) + 1/2 sum(penalty * w**2)

which is strictly convex for a positive penalty, so every solver ends at the same place. Binary
problems have C = 1 and a sigmoid, others a softmax. A design (n, p) is shared by all problems,
one (S, n, p) is stacked.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from curation_audit.training.near_average import (
    MOST_COEFFICIENTS_OF_FULL_HESSIAN,
    SharedProblems,
    from_average,
)

TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-12}
HISTORY = 10
ITERATIONS_PER_ROUND = 12
MAX_ROUNDS = 25
MAX_HALVINGS = 25
# Most problems end within the cheap rounds; a full Hessian helps those that do not, where it fits.
CHEAP_ROUNDS = 2
# a round that lowers the loss by no more than this share of it has used the precision up
LEAST_GAIN = {torch.float32: 2e-6, torch.float64: 0.0}


@dataclass(frozen=True, slots=True)
class LogisticProblems:
    """S weighted, L2-penalised logistic regressions.

    Shapes: ``design`` (n, p) or (S, n, p); ``targets`` (S or 1, n, C) in [0, 1], for C > 1 with
    rows that sum to 1; ``weights`` (S, n), 0 leaves a row out; ``penalty`` (p,), positive.
    """

    design: Tensor
    targets: Tensor
    weights: Tensor
    penalty: Tensor

    @property
    def shared(self) -> bool:
        """Whether all problems have one design."""
        return self.design.ndim == 2

    def of(self, who: Tensor) -> "LogisticProblems":
        """Some of the problems, bool (S,)."""
        design = self.design if self.shared else self.design[who]
        targets = self.targets if len(self.targets) == 1 else self.targets[who]
        return LogisticProblems(design, targets, self.weights[who], self.penalty)

    def logits(self, coefficients: Tensor) -> Tensor:
        """(S, p, C) -> (S, n, C)."""
        if not self.shared:
            return self.design @ coefficients
        n_problems, p, n_columns = coefficients.shape
        flat = self.design @ coefficients.permute(1, 0, 2).reshape(p, n_problems * n_columns)
        return flat.reshape(-1, n_problems, n_columns).permute(1, 0, 2)

    def pull_back(self, residuals: Tensor) -> Tensor:
        """The transpose of ``logits``: (S, n, C) -> (S, p, C)."""
        if not self.shared:
            return self.design.transpose(1, 2) @ residuals
        n_problems, n, n_columns = residuals.shape
        flat = self.design.T @ residuals.permute(1, 0, 2).reshape(n, n_problems * n_columns)
        return flat.reshape(-1, n_problems, n_columns).permute(1, 0, 2)

    def probabilities(self, logits: Tensor) -> Tensor:
        """(S, n, C) -> (S, n, C)."""
        return torch.sigmoid(logits) if logits.shape[2] == 1 else torch.softmax(logits, dim=2)

    def loss(self, logits: Tensor, coefficients: Tensor) -> Tensor:
        """The objective of every problem, (S,)."""
        # of a row that is sure and right the loss is small, and must not be a difference of two
        if logits.shape[2] == 1:
            z, t = logits[..., 0], self.targets[..., 0]
            softplus = torch.nn.functional.softplus
            each = torch.where(t > 0.5, softplus(-z) + (1 - t) * z, softplus(z) - t * z)
        else:
            own = (self.targets * logits).sum(dim=2, keepdim=True)
            each = torch.logsumexp(logits - own, dim=2)
        fit = self.weights * each
        ridge = 0.5 * (self.penalty[:, None] * coefficients.square()).sum(dim=(1, 2))
        return fit.sum(dim=1) + ridge

    def gradient(self, logits: Tensor, coefficients: Tensor) -> Tensor:
        """The gradient of every problem, (S, p, C)."""
        residuals = self.weights[..., None] * (self.probabilities(logits) - self.targets)
        return self.pull_back(residuals) + self.penalty[:, None] * coefficients

    def preconditioner(self, logits: Tensor) -> Tensor:
        """Cholesky factors of the Hessian's blocks of one class each, (S or 1, C, p, p).

        A shared design gets one factor from the average problem: the problems differ little.
        """
        p = self.probabilities(logits)
        curvature = self.weights[..., None] * p * (1 - p)
        if self.shared:
            curvature = curvature.mean(dim=0, keepdim=True)
        design = self.design if not self.shared else self.design[None]
        blocks = [
            (design * curvature[:, :, c, None]).transpose(1, 2) @ design
            for c in range(curvature.shape[2])
        ]
        return _factor(torch.stack(blocks, dim=1) + torch.diag(self.penalty))

    def full_preconditioner(self, logits: Tensor, active: Tensor) -> Tensor:
        """Cholesky factors of whole Hessians, (S, 1, C p, C p); the identity where not active."""
        n_columns, n_coefficients = logits.shape[2], self.design.shape[-1]
        size = n_columns * n_coefficients
        hessians = torch.eye(size, dtype=logits.dtype, device=logits.device).repeat(
            logits.shape[0], 1, 1
        )
        p = self.probabilities(logits)
        ridge = torch.diag(self.penalty.repeat(n_columns))
        for s in active.nonzero()[:, 0].tolist():
            design = self.design if self.shared else self.design[s]
            for c in range(n_columns):
                # of every block on its own: a difference of sums would drown in its rounding
                curvature = -p[s, :, c, None] * p[s]
                curvature[:, c] = p[s, :, c] * (1 - p[s, :, c])
                weighted = (self.weights[s, :, None] * curvature)[:, :, None] * design[:, None]
                block = slice(c * n_coefficients, (c + 1) * n_coefficients)
                hessians[s, block] = design.T @ weighted.reshape(-1, size)
            hessians[s] += ridge
        return _factor(hessians[:, None])


def _factor(hessian: Tensor) -> Tensor:
    """Cholesky factors; where rounding made a matrix indefinite, of one with a larger diagonal."""
    diagonal = hessian.diagonal(dim1=-2, dim2=-1)
    jitter = torch.zeros_like(diagonal[..., :1])
    factor: Tensor
    while True:
        factor, info = torch.linalg.cholesky_ex(hessian + torch.diag_embed(jitter * diagonal))
        failed = info[..., None] > 0
        if not failed.any() or jitter.max() > 1:
            return factor
        least = diagonal.shape[-1] * torch.finfo(hessian.dtype).eps
        jitter = torch.where(failed, (100 * jitter).clamp(min=least), jitter)


def fit_logistic(problems: LogisticProblems, tolerance: float | None = None) -> Tensor:
    """Solve all problems: coefficients (S, p, C).

    Args:
        problems: the regressions. On one design with the same targets, where problems differ in
            weights alone and hold about as much as one another, most are solved together, from
            the average one; what does not arrive that way, and all others, by L-BFGS with a line
            search.
        tolerance: the size of the last preconditioned gradient relative to the coefficients; 1e-5
            (float32) or 1e-12 (float64) if not given.

    The accuracy is reached as far as rounding lets it, and given up where steps gain no more: of
    classes that can be separated, with next to no penalty, coefficients are less sure than that.
    A problem that has converged is left alone, so that others do not change its result beyond its
    accuracy.
    """
    if tolerance is None:
        tolerance = TOLERANCE[problems.design.dtype]
    n_problems = problems.weights.shape[0]
    n_coefficients, n_columns = problems.design.shape[-1], problems.targets.shape[2]
    coefficients = problems.design.new_zeros((n_problems, n_coefficients, n_columns))
    left = torch.ones(n_problems, dtype=torch.bool, device=coefficients.device)
    if problems.shared and len(problems.targets) == 1:
        near = from_average(
            SharedProblems(
                problems.design,
                problems.targets[0],
                problems.weights.T.contiguous(),
                problems.penalty,
            ),
            tolerance,
        )
        coefficients = near.coefficients.permute(2, 0, 1).contiguous()
        left = ~near.arrived
    if left.any():
        rest = problems.of(left)
        start = _better_start(rest, coefficients[left])
        coefficients[left] = _by_line_search(rest, start, tolerance)
    return coefficients


def _better_start(problems: LogisticProblems, guess: Tensor) -> Tensor:
    """The guess (S, p, C) where its loss is less than that of zero."""
    zero = torch.zeros_like(guess)
    guess = torch.where(guess.isfinite().flatten(1).all(dim=1)[:, None, None], guess, zero)
    better = problems.loss(problems.logits(guess), guess) < problems.loss(
        problems.logits(zero), zero
    )
    return torch.where(better[:, None, None], guess, zero)


def _by_line_search(problems: LogisticProblems, start: Tensor, tolerance: float) -> Tensor:
    """Solve all problems from where they start, coefficients (S, p, C)."""
    coefficients = start
    n_coefficients, n_columns = start.shape[1:]
    active = torch.ones(len(start), dtype=torch.bool, device=start.device)
    # with one column the cheap blocks are whole Hessians already
    fits = 1 < n_columns <= MOST_COEFFICIENTS_OF_FULL_HESSIAN / n_coefficients
    for i in range(MAX_ROUNDS):
        full = fits and i >= CHEAP_ROUNDS
        coefficients, gain, active = _lbfgs_round(problems, coefficients, active, full, tolerance)
        active = active & (gain > LEAST_GAIN[gain.dtype])
        if not active.any():
            break
    return coefficients


def _lbfgs_round(
    problems: LogisticProblems, start: Tensor, active: Tensor, full: bool, tolerance: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Some iterations under one preconditioner.

    The coefficients, by which share of itself each loss fell (S,), and what has not converged.
    """
    x, logits = start, problems.logits(start)
    loss, gradient = problems.loss(logits, x), problems.gradient(logits, x)
    loss_before = loss
    factor = (
        problems.full_preconditioner(logits, active) if full else problems.preconditioner(logits)
    )
    steps: list[Tensor] = []
    changes: list[Tensor] = []
    moving = active
    for _ in range(ITERATIONS_PER_ROUND):
        direction = -_two_loop(gradient, steps, changes, factor)
        size = direction.abs().amax(dim=(1, 2))
        large = size > tolerance * (1 + x.abs().amax(dim=(1, 2)))
        active, moving = active & large, moving & large
        if not moving.any():
            break
        length = _step_length(problems, x, logits, loss, gradient, direction, moving)
        moving = moving & (length > 0)
        if not steps:
            # without a history the direction is sound: what cannot move has used up the precision
            active = moving
        step = length[:, None, None] * direction
        x = x + step
        logits = problems.logits(x)
        loss, previous, gradient = problems.loss(logits, x), gradient, problems.gradient(logits, x)
        steps = [*steps[-HISTORY + 1 :], step]
        changes = [*changes[-HISTORY + 1 :], gradient - previous]
    least = torch.finfo(loss.dtype).tiny
    return x, (loss_before - loss) / loss.abs().clamp(min=least), active


def _step_length(
    problems: LogisticProblems,
    x: Tensor,
    logits: Tensor,
    loss: Tensor,
    gradient: Tensor,
    direction: Tensor,
    active: Tensor,
) -> Tensor:
    """Backtracking to sufficient decrease, (S,); 0 where the precision is used up.

    Logits are linear along the direction, so that a trial costs no matrix product.
    """
    along = problems.logits(direction)
    slope = (gradient * direction).sum(dim=(1, 2))
    slack = 8 * torch.finfo(loss.dtype).eps * loss.abs()
    length = active.to(loss.dtype)
    for _ in range(MAX_HALVINGS):
        t = length[:, None, None]
        trial = problems.loss(logits + t * along, x + t * direction)
        short = trial > loss + 1e-4 * length * slope + slack
        if not short.any():
            return length
        length = torch.where(short, length / 2, length)
    return torch.where(short, torch.zeros_like(length), length)


def _two_loop(
    gradient: Tensor, steps: list[Tensor], changes: list[Tensor], factor: Tensor
) -> Tensor:
    """The L-BFGS approximation of inverse Hessian times gradient (Nocedal & Wright, alg. 7.4)."""
    q, alphas, rhos = gradient, [], []
    for step, change in zip(reversed(steps), reversed(changes), strict=True):
        curvature = (step * change).sum(dim=(1, 2))
        rho = torch.where(curvature > 0, 1 / curvature, torch.zeros_like(curvature))
        alpha = rho * (step * q).sum(dim=(1, 2))
        q = q - alpha[:, None, None] * change
        alphas.append(alpha)
        rhos.append(rho)
    r = _solve(factor, q)
    for step, change, alpha, rho in zip(
        steps, changes, reversed(alphas), reversed(rhos), strict=True
    ):
        beta = rho * (change * r).sum(dim=(1, 2))
        r = r + (alpha - beta)[:, None, None] * step
    return r


def _solve(factor: Tensor, vectors: Tensor) -> Tensor:
    """Apply the inverse of the preconditioner to (S, p, C)."""
    n_problems, p, n_columns = vectors.shape
    if factor.shape == (n_problems, 1, p * n_columns, p * n_columns):
        columns = vectors.permute(0, 2, 1).reshape(n_problems, 1, p * n_columns, 1)
        solved = torch.cholesky_solve(columns, factor).reshape(n_problems, n_columns, p)
        solved = solved.permute(0, 2, 1)
    elif factor.shape[0] > 1:
        columns = vectors.permute(0, 2, 1)[..., None]
        solved = torch.cholesky_solve(columns, factor)[..., 0].permute(0, 2, 1)
    else:
        # one factor for all problems: S right-hand sides of one triangular solve
        solved = torch.cholesky_solve(vectors.permute(2, 1, 0), factor[0]).permute(2, 1, 0)
    # the classes' coefficients sum to zero at the solution, where only the penalty holds them
    return solved if n_columns == 1 else solved - solved.mean(dim=2, keepdim=True)
