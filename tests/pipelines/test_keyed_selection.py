"""Noise on the selection for real, by record and replay: what a neighbour moves, and what not."""

import hashlib
from dataclasses import replace

import mpmath
import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from curation_audit.checks import InputError
from curation_audit.dp.events import EpsilonDelta
from curation_audit.dp.keyed_top_k import DOMAIN
from curation_audit.pipelines.base import CurationData
from curation_audit.pipelines.protection.keyed_selection import KeyedSelection, keyed_selection
from tests.pipelines.protected import (
    CASES,
    DELTA,
    PATIENTS,
    D,
    K,
    N,
    pool_rows,
    private_rows,
    protected,
)

KEY = bytes(32)


def data(private) -> CurationData:
    return CurationData(
        private=private,
        pool=pool_rows(),
        test=None,
        classes=(),
        n_private_rows_in_pool=0,
        fingerprints={},
        shift=np.zeros(D),
        scale=np.ones(D),
    )


def real(private, name="noisy_top_k, gumbel", adjacency="zero_out") -> KeyedSelection:
    made = protected(CASES[name], private, adjacency=adjacency, epsilon=1.0)
    return keyed_selection(
        scorer=made.scorer,
        rule=made.rule,
        bounded=made.bounded,
        events=made.events,
        protection=made.protection,
        data=data(private),
    )


def neighbour(private, row, adjacency: str):
    """The set with the rows of one unit blanked, or the farthest rows in their place."""
    features = private.features.copy()
    mine = private.owners == private.owners[row]
    features[mine] = 0 if adjacency == "zero_out" else -7 * features[mine]
    return type(private)(**{**vars_of(private), "features": features})


def vars_of(private) -> dict:
    names = ("ids", "features", "unit", "unit_ids", "labels", "groups", "owner")
    return {name: getattr(private, name) for name in names}


@pytest.mark.parametrize("adjacency", ["zero_out", "replace_one"])
@pytest.mark.parametrize("unit", [tuple(range(N)), PATIENTS])
def test_a_neighbour_moves_the_whole_numbers_as_little_as_stated_and_nothing_else(unit, adjacency):
    private = private_rows(unit)
    one = real(private, adjacency=adjacency)
    before = one.query._steps(one.scores(data(private)))
    for row in range(len(private)):
        other = neighbour(private, row, adjacency)
        again = real(other, adjacency=adjacency)
        assert again.query == one.query
        assert again.constants() == one.constants()
        assert again.protection == one.protection
        moved = again.query._steps(again.scores(data(other))) - before
        assert (moved.max() - moved.min()) * one.query.step <= one.query.score_range


def test_the_noise_that_is_frozen_is_the_same():
    """Picks are the best rows of steps times rate less ln E, with E made here anew, in mpmath."""
    private = private_rows()
    one = real(private)
    scores, ids = one.scores(data(private)), pool_rows().ids
    steps = np.floor(np.clip(scores, -one.query.bound, one.query.bound) / one.query.step)
    values = steps * one.query.rate - [log_noise(name, KEY) for name in ids]
    best = {ids[i] for i in np.argsort(-values)[:K]}
    assert {*one.query.best(scores, ids, KEY).picks()} == best
    other = one.query.best(scores, ids, bytes(31) + b"1")
    assert {*other.picks()} != best
    flat = one.query.best(np.zeros(len(ids)), ids, KEY)
    assert flat.values.max() < 90  # noise alone: what the range of 128 bits allows


def log_noise(name: str, key: bytes) -> float:
    digest = hashlib.sha256(DOMAIN + name.encode()).digest()[:16]
    cipher = Cipher(algorithms.AES256(key), modes.ECB()).encryptor()
    word = int.from_bytes(cipher.update(digest) + cipher.finalize())
    with mpmath.workdps(60):
        share = (mpmath.mpf(word) + mpmath.mpf(1) / 2) / mpmath.mpf(2) ** 128
        return float(mpmath.log(-mpmath.log1p(-share)))


def test_what_is_booked_is_the_pair_that_was_asked_for():
    one = real(private_rows())
    assert isinstance(one.event, EpsilonDelta)
    assert (one.event.epsilon, one.event.delta) == (pytest.approx(1.0, abs=1e-9), DELTA)
    assert one.protection.epsilon == one.event.epsilon
    assert one.query.k == K
    assert "slack" not in one.protection.sensitivities[0]
    assert "for what floats change" in one.protection.sensitivities[0]


def test_bounds_hold_for_the_scores_and_leave_room_for_their_rounding():
    """An audit's pool is in float32, and so are its queries; scores are in float64."""
    private, pool = private_rows(), pool_rows(np.float32)
    made = protected(CASES["noisy_top_k, gumbel"], private, pool, epsilon=1.0)
    site = replace(data(private), pool=pool)
    one = keyed_selection(
        scorer=made.scorer,
        rule=made.rule,
        bounded=replace(made.bounded, delta_inf=made.bounded.delta_inf * (1 - 1e-7)),
        events=made.events,
        protection=made.protection,
        data=site,
    )
    assert np.abs(one.scores(site)).max() <= one.query.bound
    of = made.bounded.scorer
    with mpmath.workdps(50):
        queries = of.embed(pool.features.astype(np.float64))
        longest = max(mpmath.norm([mpmath.mpf(float(x)) for x in row]) for row in queries)
        moved = mpmath.mpf(of.mechanism.sum_sensitivity) / of.mechanism.denominator
        excess = float(one.query.delta_inf / (moved * longest) - 1)
    assert 0.9e-9 <= excess < 1e-8


def test_logits_are_squashed_and_need_no_room():
    one = real(private_rows(), "noisy_top_k of logits")
    scores = one.scores(data(private_rows()))
    assert (one.query.bound, one.query.delta_inf) == (1.0, 1.0)
    assert 0 < scores.min() <= scores.max() < 1


@pytest.mark.parametrize(
    ("name", "adjacency", "message"),
    [
        ("noisy_top_k, gumbel", "add_remove", "no public bound"),
        ("noisy_top_k, exponential", "zero_out", "made by gumbel"),
        ("noisy_top_k of nearest", "zero_out", "ablation"),
    ],
)
def test_what_cannot_be_proven_is_refused(name, adjacency, message):
    with pytest.raises(InputError, match=message):
        real(private_rows(), name, adjacency)
