"""S logistic regressions at once: batched L-BFGS with a Hessian preconditioner.

Each problem s minimises, over coefficients ``w`` (p, C),

    sum_i weights[s, i] * cross_entropy(design_i @ w, targets[s, i]) + 1/2 sum(penalty * w**2)

which is strictly convex for a positive penalty, so every solver ends at the same place. Binary
problems have C = 1 and a sigmoid, others a softmax. A design (n, p) is shared by all problems,
one (S, n, p) is stacked.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-12}
HISTORY = 10
ITERATIONS_PER_ROUND = 12
MAX_ROUNDS = 25
MAX_HALVINGS = 25
# a round that lowers the loss by no more than this share of it has used the precision up
LEAST_GAIN = {torch.float32: 2e-6, torch.float64: 0.0}


@dataclass(frozen=True, slots=True)
class LogisticProblems:
    """S weighted, L2-penalised logistic regressions.

    Shapes: ``design`` (n, p) or (S, n, p); ``targets`` (S or 1, n, C) in [0, 1]; ``weights``
    (S, n), 0 leaves a row out; ``penalty`` (p,), positive.
    """

    design: Tensor
    targets: Tensor
    weights: Tensor
    penalty: Tensor

    @property
    def shared(self) -> bool:
        """Whether all problems have one design."""
        return self.design.ndim == 2

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
        if logits.shape[2] == 1:
            normaliser = torch.nn.functional.softplus(logits[..., 0])
        else:
            normaliser = torch.logsumexp(logits, dim=2)
        fit = self.weights * (normaliser - (self.targets * logits).sum(dim=2))
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
        hessian = torch.stack(blocks, dim=1) + torch.diag(self.penalty)
        factor: Tensor = torch.linalg.cholesky(hessian)
        return factor


def fit_logistic(problems: LogisticProblems) -> Tensor:
    """Solve all problems: coefficients (S, p, C).

    A problem is done when its preconditioned gradient is below 1e-5 (float32) or 1e-12 (float64)
    of the coefficients, or when a whole round of iterations no longer lowered its loss: then the
    precision is used up. It is left alone from then on, so that its result does not depend on
    the others.
    """
    n_problems = problems.weights.shape[0]
    n_coefficients, n_columns = problems.design.shape[-1], problems.targets.shape[2]
    coefficients = problems.design.new_zeros((n_problems, n_coefficients, n_columns))
    active = torch.ones(n_problems, dtype=torch.bool, device=coefficients.device)
    for _ in range(MAX_ROUNDS):
        coefficients, gain, active = _lbfgs_round(problems, coefficients, active)
        active = active & (gain > LEAST_GAIN[gain.dtype])
        if not active.any():
            break
    return coefficients


def _lbfgs_round(
    problems: LogisticProblems, start: Tensor, active: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Some iterations under one preconditioner.

    The coefficients, by which share of itself each loss fell (S,), and what is still active.
    """
    x, logits = start, problems.logits(start)
    loss, gradient = problems.loss(logits, x), problems.gradient(logits, x)
    loss_before = loss
    factor = problems.preconditioner(logits)
    steps: list[Tensor] = []
    changes: list[Tensor] = []
    for _ in range(ITERATIONS_PER_ROUND):
        direction = -_two_loop(gradient, steps, changes, factor)
        size = direction.abs().amax(dim=(1, 2))
        active = active & (size > TOLERANCE[x.dtype] * (1 + x.abs().amax(dim=(1, 2))))
        if not active.any():
            break
        length = _step_length(problems, x, logits, loss, gradient, direction, active)
        active = active & (length > 0)
        step = length[:, None, None] * direction
        x = x + step
        logits = problems.logits(x)
        loss, previous, gradient = problems.loss(logits, x), gradient, problems.gradient(logits, x)
        steps, changes = (
            [*steps[-HISTORY + 1 :], step],
            [
                *changes[-HISTORY + 1 :],
                gradient - previous,
            ],
        )
    return x, (loss_before - loss) / loss.abs().clamp(min=1), active


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
    if factor.shape[0] > 1:
        columns = vectors.permute(0, 2, 1)[..., None]
        return torch.cholesky_solve(columns, factor)[..., 0].permute(0, 2, 1)
    # one factor for all problems: S right-hand sides of one triangular solve
    columns = vectors.permute(2, 1, 0)
    return torch.cholesky_solve(columns, factor[0]).permute(2, 1, 0)
