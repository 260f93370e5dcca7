"""Every check of the self-test fails when what it checks is broken."""

import sys
from collections import namedtuple

import numpy as np
import pytest
from scipy import special, stats

from curation_audit.attacks.lira import Lira
from curation_audit.attacks.trace import Trace
from curation_audit.auditing import evidence
from curation_audit.doctor import CHECKS, null_calibration, planted_violations, this_machine
from curation_audit.doctor.base import Check, agrees, perform
from curation_audit.dp import calibration, claims, composed, gaussian_sum, ledger, top_k_budget
from curation_audit.pipelines.rules import cut
from curation_audit.statistics import auc, bounds, ceilings, gdp, zcdp
from curation_audit.statistics.bounds import clopper_pearson as cp
from curation_audit.statistics.bounds import joint_beta, one_run, pair_mean
from curation_audit.streams import Streams
from curation_audit.training import dp_gradients
from curation_audit.training.dp_sgd import DpSgdSettings

BY_NAME = {f"{check.group}: {check.name}": check for check in CHECKS}


def longer(real, factor=1.01):
    """What a function gives, a hundredth more."""
    return lambda *args, **kwargs: factor * real(*args, **kwargs)


def bolder(real, confidence):
    """A bound at another confidence, its last argument, than it was asked for."""
    return lambda *args: real(*args[:-1], confidence)


def patch(target, name, make):
    """A break that puts ``make(the real one)`` in a place."""
    return lambda monkeypatch: monkeypatch.setattr(target, name, make(getattr(target, name)))


def instead(target, name, value):
    """A break that puts a value in a place."""
    return lambda monkeypatch: monkeypatch.setattr(target, name, value)


def only_strict_wins(rising, asked):
    return 2 * np.searchsorted(rising, asked, side="left")


def another_generator(real):
    def generator(self, purpose, *indices):
        return np.random.Generator(np.random.PCG64DXSM(self.seed))

    return generator


def raw_rates(tp, n_in, fp, n_out, confidence):
    return cp.RateLimits(tp / n_in, max(fp, 0.5) / n_out)


def other_candidates(real):
    return lambda *args, **kwargs: np.roll(real(*args, **kwargs), 1, axis=1)


def no_length(flow, batch, biased):
    """Every gradient counts as short, so that none is clipped."""
    return batch.counted.new_zeros(batch.counted.shape[:2]).double()


def mended_renyi(monkeypatch):
    from dp_accounting.rdp import RdpAccountant

    monkeypatch.setattr(RdpAccountant, "get_epsilon", lambda self, delta: 9.9973)


def wrong_accountant(monkeypatch):
    """Cheap: the real one takes seconds."""
    flat = property(lambda self: (np.array([0.0, 1.0]), np.array([0.161018, 0.02])))
    monkeypatch.setattr(claims.DpSgdClaim, "_profile", flat)
    monkeypatch.setattr(claims.DpSgdClaim, "epsilon_at", lambda self, delta: 1.82824)


def drifting(real):
    count = iter(range(1, 10**6))
    return lambda left, right: real(left, right) * (1 + next(count) * 1e-15)


def no_folder_for_keys(monkeypatch):
    monkeypatch.setenv("XDG_DATA_HOME", __file__)


def inexact_torch(monkeypatch):
    import torch

    real = torch.linalg.solve
    monkeypatch.setattr(torch.linalg, "solve", lambda a, b: real(a.float(), b.float()).double())


Disk = namedtuple("Disk", "free")
TOOTHLESS = instead(bounds, "pair_mean_lower", lambda shares, confidence: 0.5)
UNCORRECTED = instead(bounds, "pair_mean_lower", lambda shares, confidence: 0.999)
WITHOUT_A_LIMIT = instead(pair_mean, "pair_mean_lower", lambda shares, confidence: shares.mean())
SEES_NOTHING = patch(auc, "chance_p_value", lambda _real: lambda paired: 1.0)
SEES_GHOSTS = patch(auc, "chance_p_value", lambda _real: lambda paired: 1e-9)

BREAKS = {
    "known answers: epsilon of mu, and mu of epsilon": [
        patch(gdp, "_mills", longer),
        patch(gdp, "mu_of_epsilon", longer),
    ],
    "known answers: ceilings from a claim": [
        patch(ceilings, name, longer)
        for name in (
            "gdp_tpr",
            "gdp_advantage",
            "epsilon_delta_tpr",
            "epsilon_delta_advantage",
        )
    ],
    "known answers: Clopper-Pearson": [patch(cp, "rate_limits", lambda f: bolder(f, 0.9))],
    "known answers: one run": [
        patch(one_run, "_p_value", lambda f: lambda m, r, v, _d, *rest: f(m, r, v, 0.0, *rest))
    ],
    "known answers: one run, f-DP": [
        patch(one_run, "f_dp_one_run_refuted", lambda f: bolder(f, 0.94))
    ],
    "known answers: joint beta (estimate)": [patch(joint_beta, "joint_beta_probability", longer)],
    "known answers: pair mean": [
        instead(pair_mean, "LARGEST_LOSS", 0.99),
        instead(pair_mean, "LARGEST_LOSS", 0.7),
        patch(bounds, "share_of_epsilon", longer),
    ],
    "known answers: AUC and its variance, by hand": [
        instead(auc, "_twice_below", only_strict_wins),
    ],
    "known answers: random streams": [patch(Streams, "generator", another_generator)],
    "known answers: accountant: DP-SGD": [wrong_accountant],
    "known answers: accountant: replace-one": [mended_renyi],
    "known answers: LiRA on Gaussian margins": [
        patch(Lira, "evidence", lambda f: longer(f, 1.1)),
        patch(Lira, "evidence", other_candidates),
    ],
    "known answers: tracing a mean": [patch(Trace, "evidence", other_candidates)],
    "known answers: order of ties": [
        instead(cut, "tie_order", lambda ids, seed: np.arange(len(ids)))
    ],
    "known answers: calibrated noise": [patch(calibration, "mu_for", longer)],
    "known answers: composed events": [
        patch(composed.ComposedClaim, "epsilon_at", longer),
        instead(
            ledger.Ledger,
            "guarantee",
            lambda self: claims.GaussianClaim(mu=0.5, adjacency="add_remove"),
        ),
    ],
    "known answers: noisy top-k": [
        patch(zcdp, "rho_of_epsilon", lambda f: longer(f, 1.2)),
        patch(zcdp, "epsilon_of_rho", longer),
        instead(top_k_budget, "range_distance", lambda delta_inf, monotone: delta_inf),
    ],
    "known answers: clipped gradients": [
        patch(
            dp_gradients, "clipped_sum", lambda f: lambda layers, batch, clip: f(layers, batch, 9.0)
        ),
    ],
    "known answers: noise of gradient descent": [
        patch(DpSgdSettings, "noise_of_step", lambda f: property(lambda self: 1.2 * f.fget(self))),
        instead(dp_gradients, "_unit_norms", no_length),
    ],
    "null calibration: pair mean": [WITHOUT_A_LIMIT],
    "null calibration: one run": [
        patch(bounds, "one_run_epsilon", lambda f: bolder(f, 0.85)),
        patch(bounds, "f_dp_one_run_mu", lambda f: bolder(f, 0.85)),
    ],
    "null calibration: Clopper-Pearson": [instead(cp, "rate_limits", raw_rates)],
    "null calibration: best of several bounds": [
        instead(bounds, "bonferroni_confidence", lambda confidence, n_bounds: confidence)
    ],
    "null calibration: choosing without a split is seen": [
        instead(null_calibration, "N_ATTACKS", 1),
        patch(bounds, "one_run_epsilon", lambda f: bolder(f, 0.85)),
    ],
    "null calibration: bounds stay below a known truth": [
        instead(cp, "rate_limits", raw_rates),
        patch(pair_mean, "mu_of_share", lambda f: longer(f, np.sqrt(2))),
    ],
    "null calibration: interval of the AUC": [
        patch(auc, "auc_estimate", lambda f: lambda one, **k: f(one, **k | {"inflation": 0.8})),
        patch(auc, "auc_estimate", lambda f: lambda one, **k: f(one, **k | {"inflation": 1.5})),
    ],
    "null calibration: p-values of the controls": [
        SEES_NOTHING,
        patch(auc, "chance_p_value", lambda f: lambda paired: f(paired) / 3),
    ],
    "planted violations: noise for one score, not for all that change": [
        patch(planted_violations, "gaussian", lambda f: lambda scale: f(10.0)),
        patch(planted_violations, "gaussian", lambda f: lambda scale: f(1.0)),
        instead(bounds, "rate_limits", lambda *_: cp.RateLimits(0.0, 1.0)),
    ],
    "planted violations: top 100 charged as one maximum": [
        patch(planted_violations, "gumbel", lambda f: lambda scale: f(45.0)),
        patch(planted_violations, "laplace", lambda f: lambda scale: f(45.0)),
        patch(planted_violations, "gumbel", lambda f: lambda scale: f(2.0)),
        TOOTHLESS,
        UNCORRECTED,
    ],
    "planted violations: noise half as large as claimed": [
        patch(planted_violations, "gaussian", lambda f: lambda scale: f(1.0)),
        patch(planted_violations, "gaussian", lambda f: lambda scale: f(0.5)),
        instead(claims.GaussianClaim, "pair_share", lambda self: 0.99),
        TOOTHLESS,
        UNCORRECTED,
    ],
    "planted violations: the same noise twice": [TOOTHLESS, UNCORRECTED],
    "planted violations: a claim for rows, ten to a person": [
        patch(planted_violations, "gaussian", lambda f: lambda scale: f(10.0)),
        patch(planted_violations, "gaussian", lambda f: lambda scale: f(1.0)),
        TOOTHLESS,
    ],
    "planted violations: a claim of another adjacency": [
        instead(claims, "check_comparable", lambda claim, game: None),
    ],
    "planted violations: a noisy mean that does not clip": [
        instead(gaussian_sum, "clipped", lambda vectors, norm: vectors),
        TOOTHLESS,
        UNCORRECTED,
    ],
    "planted violations: membership told by the private rows": [
        instead(evidence, "blind_features", lambda private: np.zeros((private.n_candidates, 1))),
        SEES_NOTHING,
        SEES_GHOSTS,
    ],
    "planted violations: an attack that peeks": [SEES_NOTHING, SEES_GHOSTS],
    "this machine: versions": [instead(this_machine, "LIBRARIES", ("no-such-library",))],
    "this machine: cores": [
        instead(this_machine, "os", namedtuple("Os", "cpu_count")(lambda: None)),
    ],
    "this machine: torch": [inexact_torch],
    "this machine: float64 products": [patch(np, "matmul", drifting)],
    "this machine: free disk": [
        instead(this_machine.shutil, "disk_usage", lambda path: Disk(2**30 - 1))
    ],
    "this machine: folder of id keys": [no_folder_for_keys],
}
CASES = [
    pytest.param(name, broken, id=f"{name} {i}")
    for name, breaks in BREAKS.items()
    for i, broken in enumerate(breaks)
]


def test_every_check_has_a_break():
    assert sorted(BREAKS) == sorted(BY_NAME)
    assert len(BY_NAME) == len(CHECKS)


@pytest.mark.parametrize(("name", "broken"), CASES)
def test_a_break_is_noticed(monkeypatch, name, broken):
    broken(monkeypatch)
    result = perform(BY_NAME[name])
    assert not result.passed
    assert result.expected != result.found


def test_what_raises_has_failed():
    def run():
        raise RuntimeError("no such thing")

    result = perform(Check("this machine", "one", run))
    assert not result.passed
    assert result.found == "RuntimeError: no such thing"


def test_a_broken_torch_fails_checks_and_nothing_else(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    result = perform(BY_NAME["this machine: torch"])
    assert not result.passed
    assert "torch" in result.found


@pytest.mark.parametrize("found", [[1.0], [1.0, np.nan], [1.0, 2.2], [1.0, np.inf]])
def test_numbers_that_do_not_agree(found):
    assert not agrees([1.0, 2.0], found, 0.1).passed


def test_numbers_that_agree():
    assert agrees([1.0, 2.0], [1.0, 2.1 - 1e-9], 0.1).passed


# --- the simulated curations are those whose leak is known ----------------------------------------


def tpr_at_one_percent(evidence, inclusion):
    """Of whole-number evidence: linear between its steps, as a coin between two thresholds is."""
    inside, outside = evidence[inclusion], evidence[~inclusion]
    cuts = np.arange(outside.max() + 2)[::-1]
    fpr = [(outside >= cut).mean() for cut in cuts]
    tpr = [(inside >= cut).mean() for cut in cuts]
    return np.interp(0.01, fpr, tpr)


@pytest.mark.parametrize(
    ("noise", "n_pool", "rest", "n_pairs", "expected"),
    [
        (planted_violations.gaussian(1.0), 10_000, 0.0, 300, 0.948),
        (planted_violations.gumbel(2.0), 1000, -1.0, 2000, 0.875),
        (planted_violations.laplace(2.0), 1000, -1.0, 2000, 0.899),
    ],
    ids=["gaussian", "gumbel", "laplace"],
)
def test_picks_tell_as_much_as_is_known(noise, n_pool, rest, n_pairs, expected):
    shift = planted_violations.shifted(n_pool, rest)
    found = tpr_at_one_percent(*planted_violations.picks_game(7, noise, shift, n_pairs))
    # whole numbers have no threshold at exactly 1 %: how it is met is worth some hundredths
    assert found == pytest.approx(expected, abs=0.05)


@pytest.mark.parametrize("scale", [2.0, 10.0])
def test_gumbel_picks_are_balls_of_an_urn(scale):
    """One-shot Gumbel top-k draws without replacement, with odds e^(2 / scale) for those raised."""
    shift = planted_violations.shifted(1000, -1.0)
    noise = planted_violations.gumbel(scale)
    evidence, inclusion = planted_violations.picks_game(9, noise, shift, 1000)
    for seen, odds in (
        (evidence[inclusion], np.exp(2 / scale)),
        (evidence[~inclusion], 1.0),
    ):
        urn = stats.nchypergeom_wallenius(1000, 100, 100, odds)
        band = stats.norm.isf(5e-4) * urn.std() / np.sqrt(len(seen))
        assert seen.mean() == pytest.approx(urn.mean(), abs=band)
        assert seen.std() == pytest.approx(urn.std(), rel=0.08)


def test_a_gaussian_sum_names_the_right_row_as_often_as_it_should(monkeypatch):
    seen = []
    real = bounds.pair_shares
    monkeypatch.setattr(
        bounds, "pair_shares", lambda *pair: seen.append(real(*pair).mean()) or real(*pair)
    )
    for scale, rows in ((0.5, 1), (1.0, 1), (10.0, 10), (7.0, 10)):
        planted_violations.sum_trial(8, planted_violations.gaussian(scale), rows)
        mu = rows / scale
        cells = planted_violations.N_PAIRS * planted_violations.N_UNITS
        band = stats.norm.isf(5e-4) * np.sqrt(0.25 / cells) * 1.5  # rows share their noise
        assert seen[-1] == pytest.approx(special.ndtr(mu / np.sqrt(2)), abs=band)


def test_null_audits_are_null_and_their_coins_are_fair():
    n_held = n_coins = 0
    agree = []
    for (shown,), inclusion in null_calibration.null_audits(3):
        n_held += inclusion[0::2].sum()
        n_coins += inclusion[0::2].size
        assert (inclusion[0::2] ^ inclusion[1::2]).all()
        agree.append((shown * np.where(inclusion, 1, -1)).mean())
    assert stats.binomtest(int(n_held), int(n_coins), 0.5).pvalue > 1e-3
    assert abs(stats.ttest_1samp(agree, 0).statistic) < stats.norm.isf(5e-4)
