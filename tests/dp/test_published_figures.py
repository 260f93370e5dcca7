"""Published noise levels, and the table of known answers where the shared folder is there."""

import json
import math
import os
from pathlib import Path

import numpy as np
import pytest

from curation_audit.dp.calibration import EpsilonTarget, mu_for
from curation_audit.dp.claims import EpsilonDeltaClaim, GaussianClaim
from curation_audit.dp.events import Gaussian, PoissonGaussian, dp_event
from curation_audit.dp.gaussian_sum import GaussianSum
from curation_audit.dp.ledger import Ledger
from curation_audit.dp.top_k_budget import gumbel_scale
from curation_audit.releases.public_maps import VotesMap
from curation_audit.statistics.gdp import epsilon_of_mu
from curation_audit.statistics.zcdp import epsilon_of_rho, rho_of_epsilon

ROOT = Path(__file__).parents[2]
DATA = Path(os.environ.get("CURATION_AUDIT_DATA", ROOT.parent / "shared" / "data"))
TABLE = DATA.parent / "reference" / "known_answers.json"


@pytest.mark.parametrize(
    ("n", "sigmas"),
    [
        (1_900_000, (15.34, 8.03, 4.24)),  # Yelp
        (8_396, (11.60, 6.22, 3.38)),  # OpenReview
        (75_316, (13.26, 7.01, 3.75)),  # PubMed
    ],
)
def test_augmented_private_evolution(n, sigmas):
    """Ten rounds of votes of length one, delta 1 / (n ln n), epsilon 1, 2 and 4 (Aug-PE)."""
    delta = 1 / (n * math.log(n))
    for sigma, epsilon in zip(sigmas, (1, 2, 4), strict=True):
        rounds = tuple(Gaussian(1 / sigma, f"round {t}") for t in range(10))
        found = Ledger("add_remove", "row", rounds).guarantee().epsilon_at(delta)
        assert found == pytest.approx(epsilon, abs=0.015)


@pytest.mark.parametrize(
    ("votes", "removed", "replaced"), [(1, 4.22, 5.97), (10, 13.36, 18.89), (50, 29.87, 42.25)]
)
def test_noise_of_votes_of_nearest_neighbours(votes, removed, replaced):
    """At epsilon 1, delta 1e-6, per whole vote: ours are votes over sqrt(votes)."""
    mu = mu_for(EpsilonTarget(1.0, 1e-6))
    for adjacency, wanted in (("add_remove", removed), ("replace_one", replaced)):
        of = GaussianSum(clip=1.0, mu=mu, adjacency=adjacency, nonnegative=True)
        assert of.sigma * math.sqrt(votes) == pytest.approx(wanted, abs=0.006)


def test_ten_disjoint_votes_move_the_histogram_by_the_root_of_twenty():
    centroids = np.eye(40)
    public = VotesMap(centroids, np.ones(40, dtype=np.int64), votes=10)
    low, high = np.arange(40, 0, -1.0), np.arange(1, 41.0)
    votes = public.contribution(np.stack([low, high])) * math.sqrt(10)
    np.testing.assert_allclose(votes.sum(axis=1), 10)
    assert {*np.unique(votes.round(9))} == {0, 1}
    assert np.linalg.norm(votes[0] - votes[1]) == pytest.approx(math.sqrt(20))


@pytest.mark.parametrize(
    ("n", "delta", "blanked", "replaced"),
    [(10**3, 1e-5, 0.0037306, 0.0074613), (10**4, 1e-6, 4.2247e-4, 8.4494e-4)],
)
def test_noise_of_a_mean_of_rows_of_length_one(n, delta, blanked, replaced):
    mu = mu_for(EpsilonTarget(1.0, delta))
    for adjacency, wanted in (("zero_out", blanked), ("replace_one", replaced)):
        of = GaussianSum(clip=1.0, mu=mu, adjacency=adjacency, denominator=n)
        assert of.noise == pytest.approx(wanted, rel=1e-4)


# --- the shared table


@pytest.fixture(scope="module")
def table():
    if not TABLE.exists():
        pytest.skip("the shared table of known answers is not there")
    found = json.loads(TABLE.read_text())
    assert all(len(rows) >= 3 for rows in found.values())
    return found


def test_gaussians(table):
    for row in table["analytic_gaussian"]:
        sigma = 1 / mu_for(EpsilonTarget(row["eps"], row["delta"]))
        assert sigma == pytest.approx(row["sigma_over_delta2"], rel=1e-6)
    for row in table["gdp_eps"]:
        assert epsilon_of_mu(row["mu"], row["delta"]) == pytest.approx(row["eps"], rel=1e-7)


def test_zcdp(table):
    for row in table["zcdp_eps_cks"]:
        assert epsilon_of_rho(row["rho"], row["delta"]) == pytest.approx(row["eps"], rel=1e-6)
    for row in table["zcdp_rho"]:
        assert rho_of_epsilon(row["eps"], row["delta"]) == pytest.approx(row["rho"], rel=1e-6)
    for row in table["gumbel_scale"]:
        rho = rho_of_epsilon(row["eps"], row["delta"])
        assert gumbel_scale(row["k"], row["range_R"], rho) == pytest.approx(row["b"], rel=1e-6)


def test_rates(table):
    for row in table["tpr_gdp"]:
        claim = GaussianClaim(mu=row["mu"], adjacency="add_remove")
        np.testing.assert_allclose(claim.tpr(np.array(row["alpha"])), row["tpr"], rtol=1e-7)
        assert claim.advantage() == pytest.approx(row["advantage"])
    for row in table["tpr_eps_delta"]:
        pair = EpsilonDeltaClaim(epsilon=row["eps"], delta=row["delta"], adjacency="add_remove")
        np.testing.assert_allclose(pair.tpr(np.array(row["alpha"])), row["tpr"], rtol=1e-7)
        assert pair.advantage() == pytest.approx(row["advantage"])


def test_renyi_accounts_of_dp_sgd(table):
    """Those by privacy loss distributions are in ``test_composed``."""
    from dp_accounting.rdp import RdpAccountant

    for row in table["dpsgd"]:
        event = PoissonGaussian(row["sigma"], row["q"], row["T"], "steps")
        accountant = RdpAccountant().compose(dp_event(event, "add_remove"))
        assert accountant.get_epsilon(row["delta"]) == pytest.approx(
            row["rdp_add_remove"], rel=1e-5
        )
