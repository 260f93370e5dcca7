"""The k rows with the largest scores, picked under noise.

Positions come back in the order drawn, largest noisy score first. ``k`` is fixed and public. A
mechanism protects what the *scores* give away, as much as ``top_k_budget`` says and no more: rows
that are picked by a private scorer need no noise at all, and noise on a low-dimensional statistic
usually costs far less.

Noise is float64 whatever the scores are: a float32 Gumbel ends near 16, and rows further below
would never be picked. It is research grade all the same. The sum of score and noise is rounded,
noise below about 1e-16 of a score's size is lost in it, and numpy's generators are not
cryptographic; only positions may leave, never noisy scores.

S shadows, m pool rows, k picked rows; a scale has the unit of the scores.
"""

from collections.abc import Callable, Sequence

import numpy as np

from curation_audit.checks import positive
from curation_audit.types import Floats, Indices, Scores

SMALLEST_EXPONENTIAL = 2.0**-54
"""Stands for an exponential draw of exactly 0, whose logarithm is no number; chance 2^-53."""


def gumbel_top_k(scores: Scores, k: int, scale: float, rng: np.random.Generator) -> Indices:
    """Gumbel noise on every score at once, then the k largest, (m,) -> (k,).

    The distribution of ``k`` rounds of the exponential mechanism without replacement
    (Plackett-Luce), in one draw (Durfee & Rogers 2019, lemma 4.2 and corollary 4.1).

    Raises:
        ValueError: for scores that are not finite, k outside 1..m or a scale that is not positive.
    """
    picked: Indices = gumbel_top_k_batch(_one_shadow(scores), k, scale, [rng])[0]
    return picked


def gaussian_top_k(scores: Scores, k: int, sigma: float, rng: np.random.Generator) -> Indices:
    """Gaussian noise of standard deviation ``sigma`` on every score, then the k largest.

    ``Delta_2 / sigma``-GDP whatever k is, with ``Delta_2`` the L2 sensitivity of the whole score
    vector (Dong, Roth & Su 2022). Shapes and errors as in ``gumbel_top_k``.
    """
    picked: Indices = gaussian_top_k_batch(_one_shadow(scores), k, sigma, [rng])[0]
    return picked


def exponential_top_k(scores: Scores, k: int, scale: float, rng: np.random.Generator) -> Indices:
    """``k`` rounds of the exponential mechanism, with fresh noise for the rows left, O(k m).

    A round picks row i with probability proportional to ``exp(score_i / scale)`` (McSherry &
    Talwar 2007). The distribution is that of ``gumbel_top_k``; meant for small k. Shapes and
    errors as there.
    """
    return _peel(scores, k, scale, rng, _fill_gumbel)


def permute_and_flip_top_k(
    scores: Scores, k: int, scale: float, rng: np.random.Generator
) -> Indices:
    """``k`` rounds of permute-and-flip, with fresh noise for the rows left, O(k m).

    Permute-and-flip (McKenna & Sheldon 2020) goes through the rows in random order and accepts row
    i with probability ``exp((score_i - best) / scale)``. Each round is done as the largest score
    under exponential noise of that scale, which is the same mechanism (Ding et al. 2021). Meant
    for small k. Shapes and errors as in ``gumbel_top_k``.
    """
    return _peel(scores, k, scale, rng, _fill_exponential)


def gumbel_top_k_batch(
    scores: Scores, k: int, scale: float, generators: Sequence[np.random.Generator]
) -> Indices:
    """``gumbel_top_k`` of every shadow with a generator of its own, (S, m) -> (S, k)."""
    check_k(k, scores.shape[-1])
    return largest(gumbel_scores(scores, scale, generators), k)


def gaussian_top_k_batch(
    scores: Scores, k: int, sigma: float, generators: Sequence[np.random.Generator]
) -> Indices:
    """``gaussian_top_k`` of every shadow with a generator of its own, (S, m) -> (S, k)."""
    check_k(k, scores.shape[-1])
    return largest(gaussian_scores(scores, sigma, generators), k)


def gumbel_scores(
    scores: Scores, scale: float, generators: Sequence[np.random.Generator]
) -> Floats:
    """Scores with Gumbel noise of ``scale``, (S, m) -> (S, m) float64; shadow s uses generator s.

    Raises:
        ValueError: for scores that are not finite or not (S, m), another number of generators
            than S, or a scale that is not positive.
    """
    positive(scale=scale)
    return _with_noise(scores, scale, generators, _fill_gumbel)


def gaussian_scores(
    scores: Scores, sigma: float, generators: Sequence[np.random.Generator]
) -> Floats:
    """Scores with Gaussian noise of standard deviation ``sigma``; the rest as ``gumbel_scores``."""
    positive(sigma=sigma)
    return _with_noise(scores, sigma, generators, _fill_normal)


def largest(noisy: Floats, k: int) -> Indices:
    """The positions of the k largest of every row, largest first, (S, m) -> (S, k)."""
    m = noisy.shape[1]
    best = np.argpartition(noisy, m - k, axis=1)[:, m - k :]
    order = np.argsort(-np.take_along_axis(noisy, best, axis=1), axis=1, kind="stable")
    return np.take_along_axis(best, order, axis=1).astype(np.int64, copy=False)


def finite_float64(scores: Scores) -> Floats:
    """The scores in float64, before any noise.

    Raises:
        ValueError: if one is not finite.
    """
    converted = np.asarray(scores, dtype=np.float64)
    finite = np.isfinite(converted)
    if not finite.all():
        raise ValueError(
            f"scores: found {int((~finite).sum())} of {finite.size} that are not finite, "
            "expected finite numbers."
        )
    return converted


def check_k(k: int, n_pool: int) -> None:
    """Raise ``ValueError`` unless k is in 1..m."""
    if not 1 <= k <= n_pool:
        raise ValueError(f"found k = {k}, expected 1 to {n_pool}, the rows of the pool.")


_Fill = Callable[[Floats, np.random.Generator], None]
"""Overwrites a (m,) float64 array with noise of scale 1."""


def _fill_exponential(row: Floats, rng: np.random.Generator) -> None:
    rng.standard_exponential(out=row)


def _fill_gumbel(row: Floats, rng: np.random.Generator) -> None:
    # minus the logarithm of an exponential is Gumbel; a third of the time of numpy's own
    rng.standard_exponential(out=row)
    np.maximum(row, SMALLEST_EXPONENTIAL, out=row)
    np.log(row, out=row)
    np.negative(row, out=row)


def _fill_normal(row: Floats, rng: np.random.Generator) -> None:
    rng.standard_normal(out=row)


def _with_noise(
    scores: Scores, scale: float, generators: Sequence[np.random.Generator], fill: _Fill
) -> Floats:
    if scores.ndim != 2 or scores.shape[0] != len(generators):
        raise ValueError(
            f"found scores {scores.shape} and {len(generators)} generators, "
            "expected (S, m) and one generator per shadow."
        )
    clean = finite_float64(scores)
    noisy = np.empty(clean.shape)
    for row, rng in zip(noisy, generators, strict=True):
        fill(row, rng)
    noisy *= scale
    noisy += clean
    return noisy


def _peel(scores: Scores, k: int, scale: float, rng: np.random.Generator, fill: _Fill) -> Indices:
    positive(scale=scale)
    left = finite_float64(_one_shadow(scores))[0].copy()
    check_k(k, left.size)
    picked, noise = np.empty(k, dtype=np.int64), np.empty(left.size)
    for i in range(k):
        fill(noise, rng)
        picked[i] = np.argmax(left + scale * noise)
        left[picked[i]] = -np.inf
    return picked


def _one_shadow(scores: Scores) -> Scores:
    if scores.ndim != 1:
        raise ValueError(f"found scores {scores.shape}, expected (m,).")
    return scores[None]
