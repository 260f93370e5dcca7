"""What noisy top-k costs, how much noise a budget buys, and what Gaussian noise would have cost.

Notation: ``k`` picks, fixed and public; ``score_range`` R, the range distance of the score vector
(``range_distance``); ``scale`` b of Gumbel or exponential noise. R, b and the sensitivities have
the unit of the scores; epsilon is in nats. All of it is per adjacency: the sensitivities must be
those of the adjacency that is claimed.
"""

import math
from dataclasses import dataclass
from typing import Final, Literal

from curation_audit.checks import in_open_unit, positive
from curation_audit.statistics.gdp import mu_of_epsilon
from curation_audit.statistics.zcdp import epsilon_of_rho, rho_of_epsilon

GUMBEL_STD: Final = math.pi / math.sqrt(6)
"""Standard deviation of Gumbel noise of scale 1: 1.2825."""
RULE_MONOTONE: Final = 0.65
RULE_GENERAL: Final = 1.3
"""Rule of thumb: Gaussian noise is smaller where Delta_2 / Delta_inf is below this times sqrt k. By
zCDP; the exact factor, monotone, is .69 at epsilon 1 and .68 at 8 (delta 1e-6)."""


def range_distance(delta_inf: float, *, monotone: bool) -> float:
    """R, the largest ``|(s_i - s'_i) - (s_j - s'_j)|`` over rows i, j and neighbours s, s'.

    Each difference is at most ``delta_inf``, so R is at most twice that; where all differences of
    a pair have one sign they lie within ``delta_inf`` of each other (Dong, Durfee & Rogers 2020,
    "bounded range"). Monotone: adding a record moves no score down (or none up), in the add/remove
    or zero-out adjacency. Under replace-one, or with signed contributions, scores are not monotone.
    """
    positive(delta_inf=delta_inf)
    return delta_inf if monotone else 2 * delta_inf


def round_epsilon(score_range: float, scale: float) -> float:
    """``R / b``: pure epsilon of one round.

    Of the exponential mechanism (McSherry & Talwar 2007) and of permute-and-flip (McKenna &
    Sheldon 2020), whose loss is that of a Laplace mechanism at the worst.
    """
    positive(score_range=score_range, scale=scale)
    return score_range / scale


def pure_epsilon(k: int, score_range: float, scale: float) -> float:
    """``k R / b``: pure epsilon of k rounds, by adding up.

    Holds for one-shot Gumbel noise too, which is k rounds of the exponential mechanism in one draw
    (Durfee & Rogers 2019, corollary 4.1). It is attained; the unordered picks cost no less.
    """
    positive(k=k)
    return k * round_epsilon(score_range, scale)


def pure_scale(k: int, score_range: float, epsilon: float) -> float:
    """``k R / epsilon``: the scale at which k rounds are epsilon-DP, of either mechanism."""
    positive(k=k, score_range=score_range, epsilon=epsilon)
    return k * score_range / epsilon


def gumbel_rho(k: int, score_range: float, scale: float) -> float:
    """``k R^2 / (8 b^2)``: rho of Gumbel noise or of k rounds of the exponential mechanism.

    A round has bounded range ``R / b`` (its loss varies by no more than that, between any two
    outcomes), so it is ``(R / b)^2 / 8``-zCDP (Cesar & Rogers 2021); zCDP adds up. The
    number of candidate rows does not enter.
    """
    positive(k=k)
    return k * round_epsilon(score_range, scale) ** 2 / 8


def gumbel_scale(k: int, score_range: float, rho: float) -> float:
    """``R sqrt(k / (8 rho))``: the scale at which Gumbel top-k is rho-zCDP."""
    positive(k=k, score_range=score_range, rho=rho)
    return score_range * math.sqrt(k / (8 * rho))


def permute_and_flip_rho(k: int, score_range: float, scale: float) -> float:
    """``k R^2 / (2 b^2)``: rho of k rounds of permute-and-flip.

    It has no bounded range, so a round is zCDP only as anything of pure epsilon is, by
    ``epsilon^2 / 2`` (Bun & Steinke 2016, proposition 1.4): four times what ``gumbel_rho`` says.
    """
    positive(k=k)
    return k * round_epsilon(score_range, scale) ** 2 / 2


@dataclass(frozen=True, slots=True, kw_only=True)
class GumbelNoise:
    """Gumbel noise on every score that keeps k picks within (epsilon, delta).

    ``accounting`` says by which argument: ``zcdp``, or ``pure``, which allows less noise for a few
    picks and does not use delta.
    """

    k: int
    score_range: float
    epsilon: float
    delta: float
    scale: float
    accounting: Literal["zcdp", "pure"]

    @property
    def rho(self) -> float:
        """Of zCDP, whichever argument set the scale."""
        return gumbel_rho(self.k, self.score_range, self.scale)

    @property
    def std(self) -> float:
        """Standard deviation of the noise on a score."""
        return GUMBEL_STD * self.scale


def gumbel_noise(k: int, score_range: float, epsilon: float, delta: float) -> GumbelNoise:
    """The least Gumbel noise for the budget, by the better of the two accountings.

    Raises:
        ValueError: for k, R or epsilon not above zero, or delta outside (0, 1).
    """
    positive(epsilon=epsilon)
    in_open_unit(delta=delta)
    zcdp = gumbel_scale(k, score_range, rho_of_epsilon(epsilon, delta))
    pure = pure_scale(k, score_range, epsilon)
    return GumbelNoise(
        k=k,
        score_range=score_range,
        epsilon=epsilon,
        delta=delta,
        scale=min(zcdp, pure),
        accounting="zcdp" if zcdp < pure else "pure",
    )


def gumbel_epsilon(k: int, score_range: float, scale: float, delta: float) -> float:
    """Epsilon of Gumbel top-k at delta: the smaller of zCDP's and the pure one."""
    by_zcdp = epsilon_of_rho(gumbel_rho(k, score_range, scale), delta)
    return min(by_zcdp, pure_epsilon(k, score_range, scale))


@dataclass(frozen=True, slots=True, kw_only=True)
class GaussianAlternative:
    """Gaussian noise on the score vector at the budget of the Gumbel noise.

    ``l2_sensitivity`` and ``sigma``: None where no L2 bound on the whole vector is known.
    ``break_even_l2``: the L2 sensitivity at which both noises have one standard deviation.
    ``rule_l2``: the same by the rule of thumb, 0.65 sqrt(k) Delta_inf (monotone) or 1.3.
    """

    gumbel: GumbelNoise
    delta_inf: float
    l2_sensitivity: float | None
    sigma: float | None
    break_even_l2: float
    rule_l2: float

    @property
    def smaller(self) -> Literal["gumbel", "gaussian"] | None:
        """Which noise has the smaller standard deviation; None where that hangs on Delta_2."""
        if self.break_even_l2 <= self.delta_inf:  # no vector has Delta_2 below Delta_inf
            return "gumbel"
        if self.sigma is None:
            return None
        return "gaussian" if self.sigma < self.gumbel.std else "gumbel"

    @property
    def text(self) -> str:
        """The comparison in one line."""
        noise = self.gumbel
        told = (
            f"at epsilon {noise.epsilon:g}, delta {noise.delta:g}, k = {noise.k}, Gumbel noise has "
            f"standard deviation {noise.std:.4g}"
        )
        limit = f"Delta_2 = {self.break_even_l2:.4g} (rule of thumb: {self.rule_l2:.4g})"
        if self.sigma is not None:
            return (
                f"{told}, Gaussian noise on the scores {self.sigma:.4g} (Delta_2 = "
                f"{self.l2_sensitivity:.4g}): {self.smaller} noise is smaller; they are equal at "
                f"{limit}."
            )
        if self.smaller == "gumbel":
            return f"{told}; Gaussian noise is larger whatever the L2 sensitivity of the scores."
        return (
            f"{told}; Gaussian noise needs a bounded L2 sensitivity Delta_2 of the whole score "
            f"vector, and is smaller below {limit}."
        )


def gaussian_alternative(
    *,
    k: int,
    delta_inf: float,
    monotone: bool,
    l2_sensitivity: float | None,
    epsilon: float,
    delta: float,
) -> GaussianAlternative:
    """What Gaussian noise on the score vector costs where Gumbel noise was asked for.

    ``sigma = Delta_2 / mu`` with mu-GDP at (epsilon, delta), exact and for any k, against the
    standard deviation of ``gumbel_noise``. Standard deviations are kind to Gumbel noise: far from
    the threshold its tail is the heavier one.

    Args:
        k: picks.
        delta_inf: largest change of one score between neighbours.
        monotone: see ``range_distance``.
        l2_sensitivity: largest L2 change of the whole vector; None where it is not known.
        epsilon: above 0.
        delta: in (0, 1).

    Raises:
        ValueError: for an argument out of range, or an L2 sensitivity below ``delta_inf``.
    """
    gumbel = gumbel_noise(k, range_distance(delta_inf, monotone=monotone), epsilon, delta)
    if l2_sensitivity is not None and not delta_inf <= l2_sensitivity < math.inf:
        raise ValueError(
            f"l2_sensitivity: found {l2_sensitivity}, expected a finite number of at least "
            f"delta_inf = {delta_inf}."
        )
    mu = mu_of_epsilon(epsilon, delta)
    return GaussianAlternative(
        gumbel=gumbel,
        delta_inf=delta_inf,
        l2_sensitivity=l2_sensitivity,
        sigma=None if l2_sensitivity is None else l2_sensitivity / mu,
        break_even_l2=gumbel.std * mu,
        rule_l2=(RULE_MONOTONE if monotone else RULE_GENERAL) * math.sqrt(k) * delta_inf,
    )
