"""Numbers of theorems, formulas and small examples, against what this installation computes."""

import math
from typing import Final

import numpy as np

from curation_audit.doctor.base import Check, Outcome, agrees
from curation_audit.dp import claims
from curation_audit.statistics import auc, bounds, ceilings, gdp
from curation_audit.statistics.paired import PairedEvidence
from curation_audit.streams import Streams

DELTA, CONFIDENCE = 1e-5, 0.95


def gdp_epsilon() -> Outcome:
    """Balle & Wang 2018, theorem 8; values of dp-accounting's analytic Gaussian mechanism."""
    found = [gdp.epsilon_of_mu(mu, DELTA) for mu in (0.25, 1.0, 3.0)]
    found.append(gdp.mu_of_epsilon(4.0, DELTA))
    return agrees([0.926342, 4.377178, 16.675494, 0.924931], found, 1e-6)


def attack_ceilings() -> Outcome:
    """TPR at 1 % FPR and advantage: of mu = 1 (closed form), and of (1, 1e-5) (Kairouz 2015)."""
    at = np.array([0.01])
    found = [
        float(ceilings.gdp_tpr(at, 1.0)[0]),
        ceilings.gdp_advantage(1.0),
        float(ceilings.epsilon_delta_tpr(at, 1.0, DELTA)[0]),
        ceilings.epsilon_delta_advantage(1.0, DELTA),
    ]
    return agrees([0.092362, 0.382925, 0.027193, 0.462123], found, 1e-6)


def clopper_pearson() -> Outcome:
    """Nasr et al. 2021: 500 of 1000 against none, 700 against 300; and mu of the first."""
    found = [
        bounds.clopper_pearson_epsilon(500, 1000, 0, 1000, DELTA, CONFIDENCE),
        bounds.clopper_pearson_epsilon(700, 1000, 300, 1000, DELTA, CONFIDENCE),
        bounds.clopper_pearson_mu(500, 1000, 0, 1000, CONFIDENCE),
    ]
    return agrees([4.84614, 0.710606, 2.60099], found, 1e-5)


def one_run() -> Outcome:
    """Steinke, Nasr & Jagielski 2023: as another implementation of their algorithm has it."""
    found = [
        bounds.one_run_epsilon(m, r, v, DELTA, CONFIDENCE)
        for m, r, v in ((1000, 1000, 600), (1000, 100, 90), (1000, 100, 100))
    ]
    return agrees([0.297227, 1.626143, 3.465376], found, 1e-5)


def f_dp_one_run() -> Outcome:
    """Mahloujifar, Melis & Chaudhuri 2024: as another implementation of it."""
    found = [
        bounds.f_dp_one_run_epsilon(m, r, v, DELTA, CONFIDENCE)
        for m, r, v in ((1000, 1000, 600), (1000, 100, 90))
    ]
    return agrees([0.58354, 2.456405], found, 1e-4)


def joint_beta() -> Outcome:
    """Zanella-Beguelin et al. 2023; an estimate. By another quadrature, over log FPR."""
    found = [
        bounds.joint_beta_estimate(500, 1000, 0, 1000, DELTA, CONFIDENCE),
        bounds.joint_beta_estimate(700, 1000, 300, 1000, DELTA, CONFIDENCE),
    ]
    return agrees([5.561882, 0.779493], found, 1e-5)


def pair_mean() -> Outcome:
    """A perfect attack on 64 pairs and on 5, and what (1, .03) lets it reach.

    E bets of at most .75 / a that all win turn 1 into ``(.25 + .75 / a)^E``, which must reach
    1 / alpha = 20. With 5 pairs the wealth against one half is ``1.75^5 = 16.4`` at most, so
    nothing is shown. The third: ``1 - (1 - delta)^2 / (1 + e^epsilon)`` (Kairouz et al. 2015).
    """
    most = 0.75 / (20 ** (1 / 64) - 0.25)
    found = [
        bounds.pair_mean_lower(np.ones(64), CONFIDENCE),
        bounds.pair_mean_lower(np.ones(5), CONFIDENCE),
        bounds.share_of_epsilon(1.0, 0.03),
    ]
    return agrees([most, 0.5, 1 - 0.97**2 / (1 + math.e)], found, 1e-3)


def auc_by_hand() -> Outcome:
    """Two pairs and two candidates: members (1 3), (2 5); outsiders (0 4), (2 1).

    Members win 1.5, 3, 2.5 and 4 of 4 comparisons: 11 of 16. Placements of both sides, less twice
    the mean, sum to -3/8 in one pair and 3/8 in the other, so the variance is
    ``2 (3/8 / 4)^2 2 / 2 = 9/256`` (DeLong's, with pairs as clusters).
    """
    paired = PairedEvidence(np.array([[1.0, 3.0], [2.0, 5.0]]), np.array([[0.0, 4.0], [2.0, 1.0]]))
    found = auc.clustered_auc(paired)
    return agrees([11 / 16, 9 / 256], [found.auc, found.variance_by_pair], 1e-12)


def random_streams() -> Outcome:
    """The first numbers of a stream, bit for bit: audits repeat only if numpy still draws them."""
    rng = Streams(3).generator("inclusion", 5)
    found = (
        rng.integers(0, 2**63, 2).tolist(),
        rng.integers(0, 2, 16, dtype=np.uint8).tolist(),
        [value.hex() for value in rng.standard_normal(2).tolist()],
        rng.permutation(6).tolist(),
    )
    kinds = ("64-bit integers", "coins", "normal numbers", "permutations")
    other = [kind for kind, a, b in zip(kinds, found, FIRST_DRAWS, strict=True) if a != b]
    return Outcome(
        "the recorded draws", f"others: {', '.join(other)}" if other else "the same", not other
    )


def dp_accounting_profile() -> Outcome:
    """DP-SGD, q = .01, sigma = 1, 1000 steps: epsilon at 1e-5, advantage, TPR at 1 % FPR."""
    claim = claims.DpSgdClaim(
        noise_multiplier=1.0, sampling_rate=0.01, steps=1000, adjacency="add_remove"
    )
    found = [claim.epsilon_at(DELTA), claim.advantage(), float(claim.tpr(np.array([0.01]))[0])]
    return agrees([1.82824, 0.161018, 0.0291], found, 1e-4)


def dp_accounting_replace_one() -> Outcome:
    """One Gaussian of sigma 1 under replace-one is 2-GDP: epsilon 9.9973 at 1e-5.

    dp-accounting's Renyi accountant ignores the adjacency and says 4.7285. Nothing here uses it;
    a change upstream means that what is said about the accountants must be looked at again.
    """
    from dp_accounting import GaussianDpEvent, NeighboringRelation
    from dp_accounting.rdp import RdpAccountant

    claim = claims.DpSgdClaim(
        noise_multiplier=1.0, sampling_rate=1.0, steps=1, adjacency="replace_one"
    )
    renyi = RdpAccountant(neighboring_relation=NeighboringRelation.REPLACE_ONE)
    by_renyi = float(renyi.compose(GaussianDpEvent(1.0)).get_epsilon(DELTA))
    return agrees([9.9973, 4.7285], [claim.epsilon_at(DELTA), by_renyi], 1e-4)


FIRST_DRAWS: Final = (
    [2875983338798381676, 4729721957991703538],
    [1, 0, 1, 0, 0, 1, 0, 1, 0, 0, 0, 1, 0, 1, 0, 1],
    ["-0x1.3285b7c992c37p-2", "-0x1.52d34866f7ee9p-1"],
    [2, 1, 0, 5, 3, 4],
)

KNOWN_ANSWERS: Final = (
    Check("known answers", "epsilon of mu, and mu of epsilon", gdp_epsilon),
    Check("known answers", "ceilings from a claim", attack_ceilings),
    Check("known answers", "Clopper-Pearson", clopper_pearson),
    Check("known answers", "one run", one_run),
    Check("known answers", "one run, f-DP", f_dp_one_run),
    Check("known answers", "joint beta (estimate)", joint_beta),
    Check("known answers", "pair mean", pair_mean),
    Check("known answers", "AUC and its variance, by hand", auc_by_hand),
    Check("known answers", "random streams", random_streams),
    Check("known answers", "accountant: DP-SGD", dp_accounting_profile),
    Check("known answers", "accountant: replace-one", dp_accounting_replace_one),
)
