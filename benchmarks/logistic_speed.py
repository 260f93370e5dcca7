"""256 logistic regressions on halves, and their scores of all rows, against scikit-learn's loop.

    python -m benchmarks.logistic_speed [--repeats 5]

Ratios in one run; scikit-learn with its default settings (and float64, where ours has float32) is
timed on 16 of them. Penalties are 1: with hardly any, most problems fall back on a line search and
take about as long as scikit-learn's. Both have one BLAS thread: with default threads one fit takes
up to 25 times as long, and is no measure. Errors are relative distances of coefficients to
scikit-learn's at a tolerance of 1e-12, the largest of 8.
"""

import argparse
import statistics
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from sklearn.datasets import load_breast_cancer, load_digits, make_classification
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits
from torch import Tensor

from benchmarks.training_speed import timed_in_turns
from curation_audit.training.logistic import LogisticProblems, fit_logistic
from curation_audit.types import Floats, Labels, Mask


def regressions(name: str) -> tuple[Floats, Labels]:
    """Rows and labels."""
    if name == "n = 10,000, d = 128":
        found = make_classification(10_000, 128, n_informative=64, n_redundant=32, random_state=0)
    elif name == "n = 10,000, d = 128, independent features":
        rng = np.random.default_rng(0)
        rows = rng.standard_normal((10_000, 128))
        noise = rng.standard_normal(10_000)
        found = rows, (rows @ rng.standard_normal(128) / 4 + noise > 0).astype(int)
    elif name == "breast cancer":
        rows, labels = load_breast_cancer(return_X_y=True)
        found = StandardScaler().fit_transform(rows), labels
    else:
        rows, labels = load_digits(return_X_y=True)
        found = rows / 16, labels
    return found


def every_problem(repeats: int, few: int = 16) -> None:
    """256 regressions with a penalty of 1, an intercept's too."""
    print("| problem | tolerance | ms | times as fast as scikit-learn | error | scikit-learn's |")
    print("|---|---|---|---|---|---|")
    for name in (
        "n = 10,000, d = 128",
        "n = 10,000, d = 128, independent features",
        "breast cancer",
        "digits, 10 classes",
    ):
        rows, labels = regressions(name)
        design = np.concatenate([rows, np.ones_like(rows[:, :1])], axis=1)
        held = np.random.default_rng(1).random((256, len(rows))) < 0.5
        compare(name, design, labels, held, repeats, few)


def compare(name: str, design: Floats, labels: Labels, held: Mask, repeats: int, few: int) -> None:
    """One line for each tolerance."""
    exact = by_scikit_learn(design, labels, held[:8], tol=1e-12, max_iter=10_000)
    for tolerance in (1e-3, 1e-4, 1e-5):
        ways: dict[str, tuple[Callable[[], object], float]] = {
            "ours": (lambda t=tolerance: at_once(design, labels, held, t), 1),
            "theirs": (lambda: by_scikit_learn(design, labels, held[:few]), 256 / few),
        }
        at_once(design, labels, held, tolerance)
        times = timed_in_turns(ways, repeats)
        ratios = [b / a for a, b in zip(times["ours"], times["theirs"], strict=True)]
        error = off(at_once(design, labels, held, tolerance)[:8], exact)
        theirs = off(by_scikit_learn(design, labels, held[:8]), exact)
        print(
            f"| {name} | {tolerance:g} | {1000 * statistics.median(times['ours']):.3g} | "
            f"{statistics.median(ratios):.3g} ({min(ratios):.3g} to {max(ratios):.3g}) | "
            f"{error:.1e} | {theirs:.1e} |",
            flush=True,
        )


def at_once(design: Floats, labels: Labels, held: Mask, tolerance: float) -> Floats:
    """Coefficients (S, C, p) and, as others do, the scores of all rows."""
    n_classes = int(labels.max()) + 1
    rows = torch.tensor(design, dtype=torch.float32)
    targets = torch.nn.functional.one_hot(torch.from_numpy(labels), n_classes).float()
    found = fit_logistic(
        LogisticProblems(
            design=rows,
            targets=(targets[:, 1:] if n_classes == 2 else targets)[None],
            weights=torch.from_numpy(held).float(),
            penalty=torch.ones(design.shape[1]),
        ),
        tolerance,
    )
    _scores: Tensor = rows @ found.permute(1, 0, 2).flatten(1)
    return found.permute(0, 2, 1).double().numpy()


def by_scikit_learn(design: Floats, labels: Labels, held: Mask, **settings: Any) -> Floats:
    """One after another, (S, C, p)."""
    found = []
    for one in held:
        model = LogisticRegression(fit_intercept=False, **settings).fit(design[one], labels[one])
        model.decision_function(design)
        found.append(model.coef_)
    return np.array(found)


def off(found: Floats, exact: Floats) -> float:
    """The largest relative distance of coefficients; of classes, up to what all share."""
    if exact.shape[1] > 1:
        found, exact = (one - one.mean(axis=1, keepdims=True) for one in (found, exact))
    distances = np.linalg.norm(found - exact, axis=(1, 2)) / np.linalg.norm(exact, axis=(1, 2))
    return float(distances.max())


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    # that it does not converge with default settings is part of what is compared
    warnings.simplefilter("ignore", ConvergenceWarning)
    with threadpool_limits(1):
        every_problem(asked.repeats)


if __name__ == "__main__":
    main()
