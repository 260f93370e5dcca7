"""Releases: made once for real, stored, scored with; and what a card says of them."""

import errno
import io
import json
import math
import os
import pickle
import re
import zipfile
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy import stats

from curation_audit import Budget, Pipeline, ProtectSettings, Release
from curation_audit.api import private_parts
from curation_audit.auditing.plan import AttackSettings, PolicyRule
from curation_audit.checks import InputError, SettingError
from curation_audit.dp.claims import GaussianClaim
from curation_audit.dp.noise import BITS, SecureNoise, on_grid
from curation_audit.pipelines.canaries import CanarySettings
from curation_audit.pipelines.protection.centroid_votes import CentroidVotes
from curation_audit.pipelines.protection.dp_sgd import DpGd, DpSgd
from curation_audit.pipelines.protection.gaussian_mean import GaussianMean
from curation_audit.pipelines.protection.noisy_top_k import NoisySelection
from curation_audit.pipelines.protection.protect import protect
from curation_audit.pipelines.protection.releasing import make_release
from curation_audit.pipelines.protection.rff_density import RffDensity
from curation_audit.pipelines.protection.ulsif import Ulsif
from curation_audit.pipelines.rules.top import TopK
from curation_audit.pipelines.scorers.nearest import Nearest
from curation_audit.pipelines.scorers.private_classifier import PrivateClassifier
from curation_audit.sweeping.plan import site_of

N, M, D, DELTA = 137, 60, 5, 1e-5
FALSE_ALARM = 1e-6
"""How often a test of noise that no seed repeats fails by chance."""
RNG = np.random.default_rng(0)
PRIVATE, POOL = RNG.normal(0.5, 1, (N, D)), RNG.normal(size=(M, D))
MECHANISMS: dict[str, tuple[str, Any]] = {
    "gaussian_mean": ("gaussian_mean", None),
    "gaussian_mean, whitened": ("gaussian_mean", GaussianMean(whiten=True)),
    "gaussian_mean, centred": ("gaussian_mean", GaussianMean(center=True)),
    "centroid_votes": ("centroid_votes", CentroidVotes(clusters=6)),
    "centroid_votes, three": ("centroid_votes", CentroidVotes(clusters=6, votes=3)),
    "rff_density": ("rff_density", RffDensity(frequencies=5)),
    "ulsif": ("ulsif", Ulsif(centers=6)),
    "dp_gd": ("dp_gd", DpGd(steps=3, expected_units=100.0)),
    "dp_sgd": ("dp_sgd", DpSgd(steps=3, sampling_rate=0.2, expected_units=20.0)),
    "gaussian_mean + noisy_top_k": ("gaussian_mean + noisy_top_k", None),
}


def pipeline(name: str = "gaussian_mean", *, epsilon=2.0, adjacency="zero_out", **changes: Any):
    mechanism, own = MECHANISMS.get(name, (name, None))
    settings = ProtectSettings(
        mechanism=mechanism,
        adjacency=adjacency,
        budget=Budget(epsilon=epsilon, delta=DELTA),
        scorer=own,
        **changes.pop("protection", {}),
    )
    words = {
        "private": PRIVATE,
        "public": POOL,
        "train": None,
        "scorer": "mean",
        "select": TopK(k=8),
        "protect": settings,
        "standardise": "none",
    }
    return Pipeline(**(words | changes))


def release(of: Pipeline) -> Release:
    """A draw that no ledger knows of: many are needed here."""
    made, plan = private_parts(of)
    return make_release(made, plan.data)


@pytest.fixture(scope="module", params=MECHANISMS)
def made(request) -> tuple[str, Release]:
    return request.param, release(pipeline(request.param))


# saved and loaded


def test_a_saved_release_scores_the_same_to_the_last_bit(made, tmp_path):
    _, one = made
    path = one.save(tmp_path / "release.npz")
    again = Release.load(path)
    assert path == tmp_path / "release.npz"
    assert os.listdir(tmp_path) == ["release.npz"]
    np.testing.assert_array_equal(again.weights, one.weights)
    np.testing.assert_array_equal(again.score(POOL), one.score(POOL))
    assert again.card() == one.card()
    assert again.score(POOL).dtype == np.float64
    # what is saved again is the same release
    np.testing.assert_array_equal(
        Release.load(again.save(tmp_path / "second")).score(POOL), one.score(POOL)
    )


def test_text_is_a_path_too_and_an_older_file_is_replaced(tmp_path):
    path = tmp_path / "release"
    path.write_text("older")
    one = release(pipeline())
    one.save(str(path))
    np.testing.assert_array_equal(Release.load(str(path)).weights, one.weights)


def test_nothing_in_the_file_is_pickled(made, tmp_path):
    with np.load(made[1].save(tmp_path / "release.npz"), allow_pickle=False) as stored:
        assert all(stored[name].dtype.kind in "fiuU" for name in stored.files)
    assert pickle.dumps(object)[:2] not in (tmp_path / "release.npz").read_bytes()[:2]


def stored(tmp_path, **changes: Any):
    """A release with members replaced; ``None`` leaves one out."""
    path = release(pipeline("gaussian_mean, whitened")).save(tmp_path / "release.npz")
    with np.load(path) as found:
        arrays = dict(found)
    arrays = {k: v for k, v in {**arrays, **changes}.items() if v is not None}
    np.savez(path, **arrays)
    return path


def head(**changes: Any) -> np.ndarray:
    tree = {"format": 1, "map": "gaussian_mean", "intercept": False, "card": {}} | changes
    return np.frombuffer(json.dumps(tree).encode(), dtype=np.uint8)


FOREIGN = {
    "no head": {"head": None},
    "no weights": {"weights": None},
    "another format": {"head": head(format=2)},
    "an unknown map": {"head": head(map="bilinear")},
    "a card that is none": {"head": head(card=[1])},
    "an intercept in words": {"head": head(intercept="no")},
    "an intercept too many": {"head": head(intercept=True)},
    "an unknown metric": {"metric": np.array("manhattan")},
    "no metric": {"metric": None},
    "a head that is no JSON": {"head": np.frombuffer(b"{", dtype=np.uint8)},
    "votes without centroids": {"head": head(map="centroid_votes")},
    "weights of another map": {"weights": np.zeros(D + 3)},
    "too few weights": {"weights": np.zeros(D - 1)},
    "weights that are a table": {"weights": np.zeros((D, 2))},
    "weights that are words": {"weights": np.array(["a"] * D)},
    "weights that are not finite": {"weights": np.full(D, np.nan)},
}


@pytest.mark.parametrize("case", FOREIGN)
def test_a_foreign_file_is_bad_input(case, tmp_path):
    Release.load(stored(tmp_path, head=head()))
    path = stored(tmp_path, **FOREIGN[case])
    with pytest.raises(InputError, match="is no release; name a file that save"):
        Release.load(path)


class Trap:
    """Leaves a file where somebody unpickles it."""

    def __init__(self, sign: str) -> None:
        self.sign = sign

    def __reduce__(self):
        return open, (self.sign, "w")


def test_a_pickle_in_the_file_is_never_opened(tmp_path):
    sign = tmp_path / "sprung"
    path = stored(tmp_path, weights=np.array([Trap(str(sign))], dtype=object))
    with pytest.raises(InputError, match="is no release"):
        Release.load(path)
    assert not sign.exists()
    (tmp_path / "plain").write_bytes(pickle.dumps(Trap(str(sign))))
    with pytest.raises(InputError, match="is no release"):
        Release.load(tmp_path / "plain")
    assert not sign.exists()


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9, 0.99])
def test_a_truncated_file_is_bad_input(share, tmp_path):
    path = release(pipeline()).save(tmp_path / "release.npz")
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(InputError, match="is no release"):
        Release.load(path)


def test_a_flipped_bit_in_the_weights_is_found(tmp_path):
    one = release(pipeline())
    path = one.save(tmp_path / "release.npz")
    content = bytearray(path.read_bytes())
    at = content.index(one.weights.tobytes())
    content[at] ^= 1
    path.write_bytes(content)
    with pytest.raises(InputError, match="is no release"):
        Release.load(path)


def test_no_file_is_bad_input(tmp_path):
    with pytest.raises(InputError, match="is not there; name a file that save"):
        Release.load(tmp_path / "nowhere")
    (tmp_path / "other.npz").write_bytes(b"PK not really")
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("readme.txt", "hello")
    (tmp_path / "other.zip").write_bytes(buffer.getvalue())
    for name in ("other.npz", "other.zip", "."):
        with pytest.raises(InputError, match="is no release"):
            Release.load(tmp_path / name)


@pytest.mark.parametrize("fails", ["os.open", "os.fsync", "os.replace"])
def test_a_full_disk_leaves_what_was_there(fails, tmp_path, monkeypatch):
    path = release(pipeline()).save(tmp_path / "release.npz")
    before = path.read_bytes()

    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as broken:
        broken.setattr(fails, full)
        with pytest.raises(OSError, match="No space left"):
            release(pipeline()).save(path)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["release.npz"]


# the card


def test_the_card_says_what_is_guaranteed(made):
    name, one = made
    card = one.card()
    assert card["mechanism"] == MECHANISMS[name][0]
    assert card["epsilon"] == pytest.approx(2, rel=1e-2)
    assert card["epsilon"] <= 2 + 1e-9
    assert (card["delta"], card["adjacency"], card["unit"]) == (DELTA, "zero_out", "row")
    assert card["noise"].startswith("AES-256")
    assert card["events"]
    assert card["sensitivities"]
    assert any("near-duplicates" in line for line in card["not_covered"])
    assert json.loads(json.dumps(card)) == card
    card["epsilon"] = 0.0
    assert one.card()["epsilon"] > 1  # a copy


def test_the_card_names_patients_where_they_are_the_unit():
    protection = {"fitted_on": {"encoder": "public"}}
    one = release(pipeline(protection=protection, unit=np.arange(N) // 3))
    assert one.card()["unit"] == "unit"
    assert one.card()["assumptions"]["encoder"] == "stated: public"


def told_numbers(text: str) -> set[str]:
    """All numbers that stand in a text, with nothing before or behind them."""
    return set(re.findall(r"(?<![\w.])\d+(?:\.\d+)?(?:e[+-]?\d+)?(?![\w.])", text))


@pytest.mark.parametrize("name", ["gaussian_mean", "centroid_votes", "dp_gd", "dp_sgd"])
def test_a_secret_number_of_units_is_in_no_word_of_the_release(name, tmp_path):
    """Under add/remove the size of the private set is what is hidden."""
    one = release(pipeline(name, adjacency="add_remove"))
    text = json.dumps(one.card())
    assert one.card()["adjacency"] == "add_remove"
    secrets = {str(N), f"{1 / N:g}", f"{1 / N:.6g}", f"{1 / N:.3g}", f"{float(N)}"}
    assert not told_numbers(text) & secrets
    path = one.save(tmp_path / "release.npz")
    with np.load(path) as found:
        assert N not in {size for key in found.files for size in found[key].shape}
        assert not any(float(N) in found[k].ravel() for k in found.files if k in ("sizes",))


def test_the_search_for_a_number_finds_it():
    assert told_numbers('{"n": 137, "x": "of 137 units", "y": 0.137, "z": 1375}') >= {"137"}
    assert str(N) not in told_numbers('{"y": 0.2137, "z": "1375", "w": 137.5}')


# noise


def test_two_releases_of_the_same_data_differ(made):
    name, one = made
    assert not np.array_equal(release(pipeline(name)).weights, one.weights)


def test_no_seed_repeats_a_release():
    np.random.seed(0)  # noqa: NPY002
    first = release(pipeline(seed=1)).weights
    np.random.seed(0)  # noqa: NPY002
    assert not (release(pipeline(seed=1)).weights == first).any()


def exact_and_made(name: str, n: int, adjacency: str):
    """The mechanism, what it would release without noise, and ``n`` releases (n, p)."""
    of = pipeline(name, adjacency=adjacency)
    plan = replace(of, protect=None).plan()
    private_one = protect(of.protect, site_of(plan, adjacency), plan.rule, plan.unit)
    mechanism = private_one.scorer.mechanism
    held = np.ones((1, N), dtype=bool)
    exact = mechanism.exact(private_one.scorer.vectors(plan.data.private), held)[0]
    many = [make_release(private_one, plan.data).weights for _ in range(n)]
    return private_one, exact / mechanism.denominator, np.stack(many)


@pytest.mark.parametrize("adjacency", ["zero_out", "add_remove", "replace_one"])
@pytest.mark.parametrize("name", ["gaussian_mean", "centroid_votes", "rff_density", "ulsif"])
def test_the_noise_is_as_large_as_the_claim_needs(name, adjacency):
    """200 releases: squares over the variance that the claim needs against chi-squared.

    The variance is worked out here from the claim's mu and the sensitivity: one vector of length C
    enters or leaves (two, or sqrt(2) of votes, where one replaces another). Noise of the operating
    system has no seed; false alarm 1e-6 each. A tenth more or less is found (power above .99).
    """
    n = 200
    of, exact, found = exact_and_made(name, n, adjacency)
    assert isinstance(of.claim, GaussianClaim)
    clip = of.scorer.mechanism.clip
    replaced = math.sqrt(2) if name in ("centroid_votes", "ulsif") else 2.0
    sensitivity = clip * (replaced if adjacency == "replace_one" else 1.0)
    denominator = 1 if adjacency == "add_remove" else N
    sigma = sensitivity / of.claim.mu / denominator
    squares = float((((found - exact) / sigma) ** 2).sum())
    low, high = stats.chi2.ppf([FALSE_ALARM / 2, 1 - FALSE_ALARM / 2], found.size)
    assert low < squares < high
    assert not low < squares / 1.25**2 < high
    assert not low < squares * 1.25**2 < high


def test_coordinates_and_releases_have_noise_of_their_own():
    """Means and correlations over 200 releases; normal limits at a false alarm of 1e-6 in all."""
    of, exact, found = exact_and_made("gaussian_mean", 200, "zero_out")
    noise = (found - exact) / of.scorer.mechanism.noise
    tests = D + D * (D - 1) // 2 + 1
    limit = stats.norm.isf(FALSE_ALARM / 2 / tests)
    assert np.abs(noise.mean(axis=0) * math.sqrt(200)).max() < limit
    products = noise.T @ noise / math.sqrt(200)
    assert np.abs(products[np.triu_indices(D, 1)]).max() < 1.3 * limit  # products have longer tails
    after = (noise[1:] * noise[:-1]).sum() / math.sqrt(199 * D)
    assert abs(after) < limit
    assert stats.kstest(noise.ravel(), "norm").pvalue > FALSE_ALARM


# scores


def test_scores_are_those_of_the_weights_on_the_mapped_rows(made):
    """A plain loop over rows."""
    _, one = made
    mapped = one.map.query(POOL.astype(np.float64))
    for row, score in zip(mapped, one.score(POOL), strict=True):
        slopes, rest = one.weights[: len(row)], one.weights[len(row) :]
        expected = math.fsum(a * b for a, b in zip(row, slopes, strict=True)) + rest.sum()
        assert score == pytest.approx(expected, rel=1e-9, abs=1e-9)


def test_a_row_is_scored_whatever_stands_beside_it(made):
    """Order does not matter, nor how rows are split; rounding of matrix products aside."""
    _, one = made
    scores, before = one.score(POOL), POOL.copy()
    order = np.random.default_rng(3).permutation(M)
    close = {"rtol": 1e-12, "atol": 1e-12 * np.abs(scores).max()}
    np.testing.assert_allclose(one.score(POOL[order]), scores[order], **close)
    np.testing.assert_allclose(
        np.concatenate([one.score(POOL[:7]), one.score(POOL[7:8]), one.score(POOL[8:])]),
        scores,
        **close,
    )
    np.testing.assert_array_equal(one.score(POOL), scores)  # and again
    np.testing.assert_array_equal(POOL, before)
    np.testing.assert_allclose(one.score(POOL.astype(np.float32)), scores, rtol=1e-3, atol=1e-3)
    assert one.score(POOL[:0]).shape == (0,)


def test_rows_of_other_features_are_refused(made):
    """They would be scored all the same, with slopes for an intercept."""
    _, one = made
    for shape in ((4, D - 1), (4, D + 1), (4, D - 2), (D,)):
        with pytest.raises(InputError, match="the pool's features"):
            one.score(np.ones(shape))


def test_much_budget_gives_the_scores_without_noise():
    """Epsilon of 1000: the order of the pool is that of the exact mean."""
    of, exact, found = exact_and_made("gaussian_mean", 1, "zero_out")
    rich = release(pipeline(epsilon=1000.0)).score(POOL)
    assert stats.spearmanr(rich, of.scorer.map.query(POOL) @ exact).statistic > 0.99
    assert found.shape == (1, D)


def test_standardised_rows_are_what_the_release_reads():
    """A release scores rows as they are read: the pool's scale travels with it."""
    one = release(pipeline(standardise="public", epsilon=1000.0))
    np.testing.assert_allclose(one.shift, POOL.mean(axis=0))
    np.testing.assert_allclose(one.scale, POOL.std(axis=0))
    scaled = (POOL - POOL.mean(axis=0)) / POOL.std(axis=0)
    expected = one.map.query(scaled) @ one.weights
    np.testing.assert_allclose(one.score(POOL), expected, rtol=1e-6, atol=1e-9)


# what is refused


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "no noise": ({"epsilon": math.inf}, "curate.protect.epsilon: is infinite; a release needs noi"),
    "noise on the selection of a mean": (
        {"name": "noisy_top_k"},
        "noisy_top_k puts noise on the selection only, so that its scorer must never leave",
    ),
    "the same, of a secret number": (
        {"name": "noisy_top_k", "adjacency": "add_remove"},
        "noisy_top_k puts noise on the selection only",
    ),
    "noise on the selection of a classifier": (
        {"name": "noisy_top_k", "scorer": "classifier"},
        "noisy_top_k puts noise on the selection only",
    ),
    "noise on the selection of the nearest": (
        {
            "name": "noisy_top_k",
            "scorer": Nearest(),
            "protection": {"selection": NoisySelection(force=True)},
        },
        "noisy_top_k puts noise on the selection only",
    ),
    "hidden layers": (
        {"protection": {}, "name": "hidden"},
        "dp_gd has no scorer that a file could hold; use gaussian_mean, centroid_votes",
    ),
}
MECHANISMS_REFUSED = {"hidden": ("dp_gd", DpGd(steps=2, hidden=(3,), expected_units=100.0))}


@pytest.mark.parametrize("case", REFUSED)
def test_what_would_be_no_private_scorer_is_refused(case, monkeypatch):
    changes, expected = REFUSED[case]
    for name, value in MECHANISMS_REFUSED.items():
        monkeypatch.setitem(MECHANISMS, name, value)
    with pytest.raises(InputError) as found:
        release(pipeline(**changes))
    assert expected in str(found.value)


def test_a_release_needs_a_mechanism_and_states_no_claim_beside_it():
    with pytest.raises(InputError, match=r"^protect: is missing; a release needs a private mech"):
        release(replace(pipeline(), protect=None))
    claim = GaussianClaim(mu=1.0, adjacency="zero_out")
    both = pipeline(claim=claim)
    for refused in (both.plan, lambda: release(both)):
        with pytest.raises(InputError, match=r"^claim: is stated beside protect; the guarantee is"):
            refused()


def test_budgets_that_cannot_be_kept_are_refused():
    much = replace(pipeline().protect, budget=Budget(epsilon=1.0, delta=1 / N))
    with pytest.raises(SettingError, match="less than"):
        release(replace(pipeline(), protect=much))
    with pytest.raises(SettingError, match=r"curate\.protect\.unit: found 'patient'"):
        release(replace(pipeline(), protect=replace(pipeline().protect, unit="patient")))


def test_the_protected_pipeline_is_audited_under_the_same_claim():
    plan = pipeline().plan()
    assert plan.claim.epsilon_at(DELTA) == pytest.approx(release(pipeline()).card()["epsilon"])
    assert plan.configuration["protect"]["mechanism"] == "gaussian_mean"


def test_how_an_audit_would_attack_is_beside_the_point():
    """Canaries are no records, and would be in the release; targets are for audits, too."""
    plain = release(pipeline(epsilon=1000.0)).weights
    for attack in (
        AttackSettings(canaries=CanarySettings(count=40)),
        AttackSettings(targets=20),
        AttackSettings(fpr=(0.2,)),
    ):
        policy = (PolicyRule(stage="scores", metric="tpr@0.2", above=0.5),)
        gate = policy if attack.fpr == (0.2,) else ()
        found = release(pipeline(epsilon=1000.0, attack=attack, policy=gate)).weights
        assert np.abs(found - plain).max() < 0.02 * np.abs(plain).max()


def made_protected(name: str, epsilon: float = 0.5):
    """A mechanism in place, and the data."""
    base = pipeline(name, epsilon=epsilon)
    plan = replace(base, protect=None).plan()
    assert base.protect is not None
    return protect(base.protect, site_of(plan, "zero_out"), plan.rule, plan.unit), plan.data


def off_the_grid_of_draws(weights: np.ndarray, of: Any, exact: np.ndarray) -> np.ndarray:
    """How far what is left after the exact sum is from a number that the noise can be, in [0, .5].

    The noise of a release is ``ndtri((k + 1/2) / 2^52)``; whoever guesses the sum can test that.
    """
    left = (weights * of.denominator - exact) / of.sigma
    draws = stats.norm.cdf(left) * 2.0**BITS - 0.5
    found: np.ndarray = np.abs(draws - np.round(draws))
    return found


def test_low_bits_of_a_release_do_not_tell_the_sum_from_a_neighbours():
    """A right guess of the sum against one without one unit, of 1,500 releases each.

    Bare float64 draws tell the two apart (in 60 trials p was below 1e-44); on the grid the test has
    its level, or less, as its values are tied.
    """
    made, data = made_protected("gaussian_mean", epsilon=0.1)
    scorer: Any = made.scorer
    of, vectors = scorer.mechanism, scorer.vectors(data.private)
    everyone = np.ones((1, len(vectors)), dtype=bool)
    but_one = everyone.copy()
    but_one[0, 0] = False
    exact, neighbour = of.exact(vectors, everyone)[0], of.exact(vectors, but_one)[0]
    draws = np.array([of.release(vectors, everyone, [SecureNoise()])[0] for _ in range(1500)])
    # large negative noise has all its low bits: there the test is sharpest
    sharp = (draws * of.denominator - exact) / of.sigma < -1

    def p_value(weights: np.ndarray) -> float:
        off = [off_the_grid_of_draws(weights, of, guess)[sharp] for guess in (exact, neighbour)]
        return float(stats.ks_2samp(*off).pvalue)

    assert p_value(draws) < 1e-12
    assert p_value(on_grid(draws, of.noise)) > FALSE_ALARM


@pytest.mark.parametrize("name", ["gaussian_mean", "centroid_votes", "dp_gd", "dp_sgd"])
def test_every_weight_lies_on_a_public_grid_finer_than_the_noise(name):
    made, data = made_protected(name)
    scorer: Any = made.scorer
    noise = scorer.mechanism.noise if "mechanism" in dir(scorer) else scorer.settings.last_noise
    weights = make_release(made, data).weights
    grid = 2.0 ** (math.floor(math.log2(noise)) - 20)
    assert np.array_equal(weights, np.round(weights / grid) * grid)
    assert noise / 2**21 < grid <= noise / 2**20


def test_gradient_descent_of_a_release_is_float64_where_the_audit_is_float32(monkeypatch):
    """Noise in float32 reaches only some sums: what cannot be reached excludes a private set."""
    seen = []
    fit = PrivateClassifier.fit_units

    def spy(self, private, held, pool, **more):
        fitted = fit(self, private, held, pool, **more)
        seen.extend([private.features.dtype, pool.features.dtype, fitted.weights.dtype])
        return fitted

    made, data = made_protected("dp_gd")
    assert data.private.features.dtype == np.float32
    monkeypatch.setattr(PrivateClassifier, "fit_units", spy)
    make_release(made, data)
    assert seen == [np.float64] * 3


def test_settings_of_another_mechanism_than_the_named_are_refused():
    base = pipeline("gaussian_mean")
    assert base.protect is not None
    with pytest.raises(SettingError, match="CentroidVotes for gaussian_mean"):
        release(replace(base, protect=replace(base.protect, scorer=CentroidVotes(clusters=6))))
