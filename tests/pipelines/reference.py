"""The whole curation, plain and slow: one shadow at a time, one row at a time.

Nothing here is batched and nothing is shared with the package. Private rows carry the number of
their unit, -1 for rows that every shadow holds. ``inclusion`` is bool (S, N).
"""

import itertools
import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression

ALWAYS = -1


def held_rows(included: Sequence[bool], unit: Sequence[int]) -> list[int]:
    """The private rows that one shadow holds."""
    return [row for row, u in enumerate(unit) if u == ALWAYS or included[u]]


def inner(a: Sequence[float], b: Sequence[float]) -> float:
    return math.fsum(float(x) * float(y) for x, y in zip(a, b, strict=True))


def unit_length(row: Sequence[float]) -> list[float]:
    length = math.sqrt(inner(row, row))
    return [float(x) / length if length else 0.0 for x in row]


def nearest(private: np.ndarray, pool: np.ndarray) -> list[float]:
    """The largest cosine with any private row, -1 without one."""
    mine = [unit_length(row) for row in private]
    return [max([inner(unit_length(x), t) for t in mine], default=-1.0) for x in pool]


def mean_similarity(private: np.ndarray, pool: np.ndarray, cosine: bool = True) -> list[float]:
    """The mean similarity with the private rows, 0 without one."""
    if not len(private):
        return [0.0] * len(pool)
    scaled: Callable[[Sequence[float]], Sequence[float]] = unit_length if cosine else list
    return [math.fsum(inner(scaled(x), scaled(t)) for t in private) / len(private) for x in pool]


def private_against_pool(private: np.ndarray, pool: np.ndarray, l2: float) -> list[float]:
    """The logit of a logistic regression of private rows against the pool."""
    rows = np.array([[*row, 1.0] for row in [*private, *pool]], dtype=np.float64)
    labels = np.array([1] * len(private) + [0] * len(pool))
    weights = regression(rows, labels, 2, l2)[:, 0]
    return [inner([*row, 1.0], weights) for row in np.asarray(pool, dtype=np.float64)]


def regression(rows: np.ndarray, labels: np.ndarray, n_classes: int, l2: float) -> np.ndarray:
    """Coefficients (p, 1) for two classes, else (p, C), the intercept penalised like the rest."""
    n_columns = 1 if n_classes == 2 else n_classes
    found = np.zeros((rows.shape[1], n_columns))
    present = sorted(set(labels.tolist()))
    if len(present) == n_classes:
        model = LogisticRegression(
            C=1 / l2, fit_intercept=False, solver="newton-cholesky", tol=1e-14, max_iter=1000
        )
        return np.asarray(model.fit(rows, labels).coef_.T)
    # scikit-learn wants every class there: descend by Newton's method instead
    targets = np.eye(n_classes)[labels][:, -n_columns:]
    for _ in range(100):
        logits = rows @ found
        if n_columns == 1:
            p = 1 / (1 + np.exp(-logits))
        else:
            p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        gradient = rows.T @ (p - targets) + l2 * found
        size = found.size
        hessian = l2 * np.eye(size)
        for x, q in zip(rows, p, strict=True):
            middle = np.diag(q) - np.outer(q, q) if n_columns > 1 else np.diag(q * (1 - q))
            hessian += np.kron(np.outer(x, x), middle)
        found = found - np.linalg.solve(hessian, gradient.ravel()).reshape(found.shape)
    return found


def top_k(scores: Sequence[float], tie_order: Sequence[int], k: int) -> list[int]:
    """The k best rows; of equal scores the one with the lower rank."""
    ranked = sorted(range(len(scores)), key=lambda row: (-scores[row], tie_order[row]))
    return sorted(ranked[:k])


def top_fraction(scores: Sequence[float], tie_order: Sequence[int], fraction: float) -> list[int]:
    return top_k(scores, tie_order, max(1, round(fraction * len(scores))))


def threshold(scores: Sequence[float], minimum: float) -> list[int]:
    return [row for row, score in enumerate(scores) if score >= minimum]


def between(scores: Sequence[float], low: float, high: float) -> list[int]:
    return [row for row, score in enumerate(scores) if low <= score <= high]


def token_budget(
    scores: Sequence[float], tie_order: Sequence[int], sizes: Sequence[int], budget: int
) -> list[int]:
    """Best rows first, until one does not fit."""
    kept: list[int] = []
    for row in sorted(range(len(scores)), key=lambda row: (-scores[row], tie_order[row])):
        if sum(sizes[i] for i in kept) + sizes[row] > budget:
            break
        kept.append(row)
    return sorted(kept)


def per_group(
    scores: Sequence[float], tie_order: Sequence[int], groups: Sequence[str], quotas: dict[str, int]
) -> list[int]:
    """The best rows of every group by itself."""
    kept: list[int] = []
    for name, quota in quotas.items():
        own = [row for row, group in enumerate(groups) if group == name]
        best = top_k([scores[row] for row in own], [tie_order[row] for row in own], quota)
        kept += [own[i] for i in best]
    return sorted(kept)


def gumbel_top_k(
    scores: Sequence[float],
    tie_order: Sequence[int],
    noise: Sequence[float],
    k: int,
    temperature: float,
) -> list[int]:
    """The k largest of scores over the temperature plus noise, which goes by the rank of a row."""
    noisy = [score / temperature + noise[tie_order[row]] for row, score in enumerate(scores)]
    return top_k(noisy, tie_order, k)


def pareto(
    scores: Sequence[float], tie_order: Sequence[int], drawn: Sequence[float], alpha: float
) -> list[int]:
    """A draw from 1 on with tail ``x^-alpha`` beyond ``2 - score``, one by the rank of each row."""
    return [
        row for row, score in enumerate(scores) if drawn[tie_order[row]] ** (-1 / alpha) > 2 - score
    ]


def logistic_model(
    rows: np.ndarray, labels: np.ndarray, n_classes: int, l2: float, asked: np.ndarray
) -> np.ndarray:
    """Class probabilities (asked rows, C) of a regression on the picked rows."""
    with_one = np.array([[*row, 1.0] for row in rows]).reshape(len(rows), asked.shape[1] + 1)
    weights = regression(with_one, labels, n_classes, l2)
    found = []
    for row in asked:
        logits = [inner([*row, 1.0], column) for column in weights.T]
        odds = [math.exp(z) for z in ([0.0, *logits] if n_classes == 2 else logits)]
        found.append([o / math.fsum(odds) for o in odds])
    return np.array(found)


def mlp_model(
    rows: np.ndarray,
    labels: np.ndarray,
    n_classes: int,
    asked: np.ndarray,
    *,
    initial: np.random.Generator,
    order: np.random.Generator,
    hidden: Sequence[int],
    epochs: int,
    batch_size: int,
    learning_rate: float,
    momentum: float,
    weight_decay: float,
) -> np.ndarray:
    """Class probabilities (asked rows, C) of one network under autograd and ``torch.optim.SGD``.

    Weights are He-normal in layer order from ``initial``; each epoch takes the rows by the ranks
    of uniform numbers from ``order``.
    """
    widths = [asked.shape[1], *hidden, n_classes]
    network = torch.nn.Sequential()
    for i, (n_in, n_out) in enumerate(itertools.pairwise(widths)):
        layer = torch.nn.Linear(n_in, n_out, dtype=torch.float64)
        weight = initial.standard_normal((n_in, n_out)) * math.sqrt(2 / n_in)
        layer.weight.data = torch.as_tensor(weight.T.copy())
        layer.bias.data.zero_()
        network.append(layer)
        if i + 2 < len(widths):
            network.append(torch.nn.ReLU())
    train_module(
        network,
        rows,
        labels,
        order.random((epochs, len(rows))),
        batch_size=batch_size,
        optimiser=lambda parameters: torch.optim.SGD(
            parameters, lr=learning_rate, momentum=momentum, weight_decay=weight_decay
        ),
    )
    return module_says(network, asked)


def train_module(
    network: torch.nn.Module,
    rows: np.ndarray,
    labels: np.ndarray,
    draws: np.ndarray,
    *,
    batch_size: int,
    optimiser: Callable[..., torch.optim.Optimizer],
    schedule: Callable[..., torch.optim.lr_scheduler.LRScheduler] | None = None,
    after_epoch: Callable[[], bool] = lambda: True,
    smallest_batch: int = 1,
) -> None:
    """Train one network under autograd and torch's own optimiser and schedule, in place.

    Each epoch takes the rows by the ranks of its uniform numbers ``draws`` (epochs, rows), and is
    the last if ``after_epoch()`` says so by False. Batches of fewer rows are left out.
    """
    update = optimiser(network.parameters())
    rates = None if schedule is None else schedule(update)
    features, classes = torch.as_tensor(rows, dtype=torch.float64), torch.as_tensor(labels)
    for drawn in draws:
        ranked = sorted(range(len(rows)), key=lambda row: drawn[row])
        network.train()
        for start in range(0, len(rows), batch_size):
            batch = ranked[start : start + batch_size]
            if len(batch) < smallest_batch:
                continue
            update.zero_grad()
            torch.nn.functional.cross_entropy(network(features[batch]), classes[batch]).backward()
            update.step()
        if rates is not None:
            rates.step()
        if not after_epoch():
            return


def module_says(network: torch.nn.Module, asked: np.ndarray) -> np.ndarray:
    """Class probabilities (asked rows, C) of one network."""
    network.eval()
    with torch.no_grad():
        logits = network(torch.tensor(asked, dtype=torch.float64))
        return torch.softmax(logits, dim=1).numpy()
