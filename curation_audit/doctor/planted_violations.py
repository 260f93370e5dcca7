"""Private curations that break their claim on purpose, and correct twins.

Each is simulated over pairs of shadows, attacked by who knows everything but the coin, and held
against its claim as an audit does it: the claim is refuted where a *lower limit* lies above what
it allows. Every violation must be refuted, no twin may be. Limits hold at 99.9 %: the twins of the
sums leak all that their claim allows, and refuting one by bad luck would discredit the rest.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np

from curation_audit.checks import SettingError
from curation_audit.doctor.base import Check, Outcome
from curation_audit.dp import claims
from curation_audit.dp.claims import Claim, EpsilonDeltaClaim, GaussianClaim
from curation_audit.game import paired_inclusion
from curation_audit.results import Adjacency
from curation_audit.statistics import PairedEvidence, bounds
from curation_audit.streams import Streams
from curation_audit.types import Evidence, Floats, Inclusion

CONFIDENCE = 0.999
N_PICKED, N_PAIRS = 100, 128
N_UNITS, DIMENSION = 60, 64
Noise: TypeAlias = Callable[[np.random.Generator, tuple[int, int]], Floats]
ONE_GDP: Final = GaussianClaim(mu=1.0, adjacency="add_remove")


@dataclass(frozen=True, slots=True)
class Trial:
    """A claim, and lower limits of what shadows show: each beside what the claim allows."""

    shown: tuple[float, ...]
    allowed: tuple[float, ...]

    @property
    def refuted(self) -> bool:
        """Whether every limit lies above what is allowed."""
        return all(low > most for low, most in zip(self.shown, self.allowed, strict=True))

    @property
    def stands(self) -> bool:
        """Whether none does."""
        return not any(low > most for low, most in zip(self.shown, self.allowed, strict=True))

    def __str__(self) -> str:
        pairs = zip(self.shown, self.allowed, strict=True)
        return ", ".join(f"{a:.3f} {'>' if a > b else '<='} {b:.3f}" for a, b in pairs)


def judged(violations: Sequence[Trial], twins: Sequence[Trial]) -> Outcome:
    """Every violation refuted and every twin left standing."""
    found = "; ".join([*map(str, violations), *(f"twin {one}" for one in twins)])
    passed = all(one.refuted for one in violations) and all(one.stands for one in twins)
    return Outcome("limit > claim; twin: limit <= claim", found, passed)


def pair_mean_trial(claim: Claim, evidence: Evidence, inclusion: Inclusion) -> Trial:
    """The claim against the pair-mean limit: how often the right row of a pair is named."""
    claims.check_comparable(claim, "add_remove")
    paired = PairedEvidence.split(evidence, inclusion)
    shares = bounds.pair_shares(paired.members, paired.outsiders)
    return Trial((bounds.pair_mean_lower(shares, CONFIDENCE),), (claim.pair_share(),))


def one_candidate_trial(claim: Claim, evidence: Evidence, inclusion: Inclusion) -> Trial:
    """The same, and Clopper-Pearson limits of TPR and FPR against the claim's ROC curve.

    The threshold comes from the first half of the pairs, the limits from the second.
    """
    half = N_PAIRS // 2
    paired = PairedEvidence.split(evidence, inclusion)
    fit, fresh = paired.pairs(slice(0, half)), paired.pairs(slice(half, None))
    cut = (fit.members.mean() + fit.outsiders.mean()) / 2
    tp, fp = int((fresh.members > cut).sum()), int((fresh.outsiders > cut).sum())
    low, high = bounds.rate_limits(tp, half, fp, half, CONFIDENCE)
    share = pair_mean_trial(claim, evidence, inclusion)
    ceiling = float(claim.tpr(np.array([high]))[0])
    return Trial((*share.shown, low), (*share.allowed, ceiling))


# --- one candidate moves many scores, and who sees the picks counts its rows among them ---------


def picks_trial(claim: Claim, seed: int, noise: Noise, shift: Floats) -> Trial:
    """A claim about the picks against what they show."""
    return one_candidate_trial(claim, *picks_game(seed, noise, shift))


def picks_game(
    seed: int, noise: Noise, shift: Floats, n_pairs: int = N_PAIRS
) -> tuple[Evidence, Inclusion]:
    """Scores are noise, plus ``shift`` (m,) with the candidate in; the best 100 are picked.

    The evidence, (S, 1), is how many of the picked rows are rows that the candidate raises.
    """
    streams = Streams(seed)
    inclusion = paired_inclusion(2 * n_pairs, 1, streams)
    scores = noise(streams.generator("noise"), (2 * n_pairs, len(shift)))
    scores[inclusion[:, 0]] += shift
    picked = np.argpartition(-scores, N_PICKED, axis=1)[:, :N_PICKED]
    return (shift[picked] > 0).sum(axis=1, keepdims=True).astype(np.float64), inclusion


def gaussian(scale: float) -> Noise:
    """Normal noise of that standard deviation."""
    return lambda rng, shape: scale * rng.standard_normal(shape)


def gumbel(scale: float) -> Noise:
    """Gumbel noise of that scale."""
    return lambda rng, shape: rng.gumbel(scale=scale, size=shape)


def laplace(scale: float) -> Noise:
    """Laplace noise of that scale."""
    return lambda rng, shape: rng.laplace(scale=scale, size=shape)


def shifted(n_pool: int, rest: float) -> Floats:
    """Plus 1 for the first 100 rows, ``rest`` for the others."""
    return np.where(np.arange(n_pool) < N_PICKED, 1.0, rest)


def noise_for_one_score() -> Outcome:
    """Gaussian noise for the largest change of a score where 100 of 10,000 scores change.

    Delta-infinity is 1, Delta-2 is 10: sigma 1 is 10-GDP and claims 1; sigma 10 is right.
    """
    shift = shifted(10_000, 0.0)
    return judged(
        [picks_trial(ONE_GDP, 301, gaussian(1.0), shift)],
        [picks_trial(ONE_GDP, 301, gaussian(10.0), shift)],
    )


def top_k_for_one_maximum() -> Outcome:
    """100 picks charged as one noisy maximum: epsilon 1 for scores that move by +-1, range 2.

    Gumbel or Laplace noise of scale 2 is right for the first pick. For all of them, as 100
    exponential mechanisms (rho-zCDP with rho = 100 (2 / b)^2 / 8), b must be 45.3 for the claim
    (1, 1e-6), and b = 10 is rho = 1/2, which is (4.728, 1e-5).
    """
    shift = shifted(1000, -1.0)
    pure = EpsilonDeltaClaim(epsilon=1.0, delta=0.0, adjacency="add_remove")
    right = EpsilonDeltaClaim(epsilon=1.0, delta=1e-6, adjacency="add_remove")
    half = EpsilonDeltaClaim(epsilon=4.7284, delta=1e-5, adjacency="add_remove")
    return judged(
        [
            picks_trial(pure, 302, gumbel(2.0), shift),
            picks_trial(pure, 303, laplace(2.0), shift),
        ],
        [
            picks_trial(right, 302, gumbel(45.3088), shift),
            picks_trial(half, 302, gumbel(10.0), shift),
        ],
    )


# --- a Gaussian sum, attacked by who knows all coins but the candidate's --------------------------


def sum_trial(seed: int, noise: Noise, rows_per_unit: int = 1) -> Trial:
    """The sum of the unit-length rows of the units that are in, plus noise, claimed 1-GDP.

    A unit's rows are one and the same, so that it moves the sum by their number.
    """
    streams = Streams(seed)
    directions = streams.generator("rows").standard_normal((N_UNITS, DIMENSION))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    units = rows_per_unit * directions
    inclusion = paired_inclusion(2 * N_PAIRS, N_UNITS, streams)
    drawn = noise(streams.generator("noise"), (2 * N_PAIRS, DIMENSION))
    released = inclusion @ units + drawn
    # what the others put in is known and taken off; what remains is projected on the candidate
    without_own = inclusion @ (units @ directions.T) - rows_per_unit * inclusion
    return pair_mean_trial(ONE_GDP, released @ directions.T - without_own, inclusion)


def halved_noise() -> Outcome:
    """Half of the noise that was claimed: 2-GDP for 1. The twin is 1-GDP to the point."""
    return judged([sum_trial(304, gaussian(0.5))], [sum_trial(304, gaussian(1.0))])


def repeated_noise() -> Outcome:
    """The same noise in both shadows of every pair; and, from a fixed seed, in every shadow."""

    def in_pairs(rng: np.random.Generator, shape: tuple[int, int]) -> Floats:
        return np.repeat(rng.standard_normal((shape[0] // 2, shape[1])), 2, axis=0)

    def everywhere(rng: np.random.Generator, shape: tuple[int, int]) -> Floats:
        return np.repeat(rng.standard_normal((1, shape[1])), shape[0], axis=0)

    return judged(
        [sum_trial(305, in_pairs), sum_trial(305, everywhere)], [sum_trial(305, gaussian(1.0))]
    )


def unit_of_ten_rows() -> Outcome:
    """A claim for a row where a person has ten: 10-GDP for 1. The twin has ten times the noise."""
    return judged(
        [sum_trial(306, gaussian(1.0), rows_per_unit=10)],
        [sum_trial(306, gaussian(10.0), rows_per_unit=10)],
    )


# --- a claim of another adjacency -----------------------------------------------------------------


def forgotten_factor_two() -> Outcome:
    """Replacing a row moves a sum twice as far as removing it: such a claim is not tested here.

    A game of coins says nothing of replace-one, so the comparison must be refused, and the same
    claim about adding or removing a row must not be.
    """
    answers = [_answer(adjacency) for adjacency in ("replace_one", "zero_out", "add_remove")]
    expected = "replace-one and zero-out refused, add/remove compared"
    found = ", ".join(answers)
    return Outcome(expected, found, answers == ["refused", "refused", "compared"])


def _answer(adjacency: Adjacency) -> str:
    try:
        claims.check_comparable(GaussianClaim(mu=1.0, adjacency=adjacency), "add_remove")
    except SettingError:
        return "refused"
    return "compared"


def _check(name: str, run: Callable[[], Outcome]) -> Check:
    return Check("planted violations", name, run)


PLANTED_VIOLATIONS: Final = (
    _check("noise for one score, not for all that change", noise_for_one_score),
    _check("top 100 charged as one maximum", top_k_for_one_maximum),
    _check("noise half as large as claimed", halved_noise),
    _check("the same noise twice", repeated_noise),
    _check("a claim for rows, ten to a person", unit_of_ten_rows),
    _check("a claim of another adjacency", forgotten_factor_two),
)
