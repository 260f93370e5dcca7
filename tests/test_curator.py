"""``Curator``: the few lines of a data job; and what they book, keep, and refuse."""

import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from scipy import stats

from curation_audit import (
    Budget,
    Curator,
    InputError,
    Pipeline,
    ProtectSettings,
    Release,
    release_store,
)
from curation_audit import release as release_of_pipeline
from curation_audit.checks import SettingError
from curation_audit.dp import budget_ledger
from curation_audit.dp.budget_ledger import BudgetLedger
from curation_audit.pipelines.protection.centroid_votes import CentroidVotes
from curation_audit.pipelines.protection.dp_sgd import DpGd
from curation_audit.pipelines.protection.gaussian_mean import GaussianMean
from curation_audit.releases.public_maps import unit_rows
from curation_audit.storage import locked

N, M, D, DELTA = 60, 200, 4, 1e-5
FALSE_ALARM = 1e-6
"""How often a test of noise that no seed repeats fails by chance."""
RNG = np.random.default_rng(4)
PRIVATE, POOL = RNG.normal(0.7, 1, (N, D)), RNG.normal(size=(M, D))
ONE, HUGE = Budget(epsilon=1.0, delta=DELTA), Budget(epsilon=500.0, delta=DELTA)
LITTLE = 1 / HUGE.mu_left(())
"""The noise of a huge budget on a sum of vectors of length one, about 1/28 of their length."""
LIMIT = stats.norm.isf(FALSE_ALARM / 40)
"""As many standard deviations none of some twenty normal numbers is off."""
PATIENTS = np.array([f"p{i // 3}" for i in range(N)])


@pytest.fixture
def ledger(tmp_path):
    """Make a ledger; more than one where they have names of their own."""

    def make(unit="row", adjacency="zero_out", epsilon=3.0, name="a.ledger") -> Path:
        path = tmp_path / name
        budget = budget_ledger.Budget(unit, adjacency, epsilon, DELTA)
        BudgetLedger.create(path, budget)
        return path

    return make


def curator(ledger: Path, **changes: Any) -> Curator:
    return Curator(**({"scorer": "mean", "adjacency": "zero_out", "ledger": ledger} | changes))


def fit(of: Curator, private: Any = PRIVATE, budget=ONE, background: Any = POOL, **more) -> Release:
    return of.fit(private, budget=budget, background=background, **more)


def bookings(ledger: Path) -> int:
    return len(BudgetLedger.open(ledger).bookings())


def stored(ledger: Path) -> list[Path]:
    return sorted(ledger.with_name(f"{ledger.name}.releases").glob("*.npz"))


def scaled(rows: np.ndarray) -> np.ndarray:
    return (rows - POOL.mean(axis=0)) / POOL.std(axis=0)


# known answers


def test_with_a_huge_budget_a_mean_is_the_mean(ledger):
    path = ledger(epsilon=600.0)
    found = fit(curator(path), budget=HUGE)
    np.testing.assert_allclose(found.shift, POOL.mean(axis=0))
    np.testing.assert_allclose(found.scale, POOL.std(axis=0))
    exact, noise = unit_rows(scaled(PRIVATE)).mean(axis=0), LITTLE / N
    np.testing.assert_allclose(found.weights, exact, atol=LIMIT * noise)
    expected = unit_rows(scaled(POOL)) @ exact
    assert expected.std() > 100 * noise
    np.testing.assert_allclose(found.score(POOL), expected, atol=LIMIT * math.sqrt(D) * noise)


def test_with_a_huge_budget_the_nearest_are_votes_for_clusters(ledger):
    path = ledger(epsilon=600.0)
    of = curator(path, scorer="nearest", mechanism=CentroidVotes(clusters=5))
    found = fit(of, budget=HUGE)
    similar = unit_rows(scaled(PRIVATE)) @ found.map.centroids.T
    votes = np.bincount(similar.argmax(axis=1), minlength=5)
    np.testing.assert_allclose(found.weights * N, votes, atol=LIMIT * LITTLE)
    assert len({*votes.tolist()}) > 2  # whole votes apart


def test_with_a_huge_budget_a_classifier_tells_private_from_background(ledger):
    path = ledger(epsilon=600.0)
    found = fit(curator(path, scorer="classifier", mechanism=DpGd(steps=10)), budget=HUGE)
    assert found.card()["mechanism"] == "dp_gd"
    difference = scaled(PRIVATE).mean(axis=0) - scaled(POOL).mean(axis=0)
    lda = np.linalg.solve(np.cov(scaled(POOL).T), difference)
    assert stats.spearmanr(found.score(POOL), scaled(POOL) @ lda).statistic > 0.99
    assert found.score(PRIVATE).mean() > found.score(POOL).mean() + 0.5


def test_the_noise_is_as_large_as_the_budget_needs(ledger):
    """60 backgrounds that hardly differ; squares against chi-squared, false alarm 1e-6.

    Three times the variance, or a third, is found with a power of as much.
    """
    path = ledger(epsilon=60.0)
    exact = unit_rows(scaled(PRIVATE)).mean(axis=0)
    of = [fit(curator(path), background=POOL + 1e-9 * i) for i in range(60)]
    events = BudgetLedger.open(path).bookings()[0].events
    sigma = 1 / events[0].mu / N
    found = np.stack([one.weights for one in of])
    squares = (((found - exact) / sigma) ** 2).sum()
    low, high = stats.chi2.ppf([FALSE_ALARM / 2, 1 - FALSE_ALARM / 2], found.size)
    assert low < squares < high
    assert squares * 3 > high
    assert squares / 3 < low
    assert of[0].card()["epsilon"] == pytest.approx(1.0, abs=1e-3)


@pytest.mark.parametrize("mechanism", ["gaussian_mean", "dp_gd"])
def test_it_is_the_release_of_the_same_pipeline(ledger, mechanism):
    """Two ways to one mechanism: the same public parts, the same answer without noise."""
    own = {"gaussian_mean": GaussianMean(), "dp_gd": DpGd(steps=5)}[mechanism]
    scorer = {"gaussian_mean": "mean", "dp_gd": "classifier"}[mechanism]
    one = fit(curator(ledger(epsilon=600.0), scorer=scorer, mechanism=own), budget=HUGE)
    settings = ProtectSettings(mechanism=mechanism, adjacency="zero_out", budget=HUGE, scorer=own)
    other = release_of_pipeline(
        Pipeline(private=PRIVATE, public=POOL, scorer=scorer, train=None, protect=settings),
        ledger=ledger(epsilon=600.0, name="b.ledger"),
    )
    np.testing.assert_allclose(one.shift, other.shift)
    a, b = one.score(POOL), other.score(POOL)
    assert np.corrcoef(a, b)[0, 1] > 0.999
    assert a.std() == pytest.approx(b.std(), rel=0.05)
    assert {k: v for k, v in one.card().items() if k != "events"} == {
        k: v for k, v in other.card().items() if k != "events"
    }


# once, and again


def test_again_is_the_same_release_and_spends_nothing(ledger, monkeypatch):
    path = ledger()
    first = fit(curator(path))
    assert (bookings(path), len(stored(path))) == (1, 1)
    monkeypatch.setattr(release_store, "make_release", never)
    again = fit(curator(str(path)), PRIVATE.copy(), background=POOL.copy())
    assert again.fingerprint == first.fingerprint
    np.testing.assert_array_equal(again.score(POOL), first.score(POOL))
    assert bookings(path) == 1


def never(*_: Any, **__: Any) -> None:
    raise AssertionError("a release was drawn.")


def test_another_version_is_said_and_the_old_one_stays_free(ledger):
    path = ledger()
    first = fit(curator(path))
    changed = PRIVATE.copy()
    changed[0, 0] += 1e-6
    with pytest.raises(InputError, match="no booking was of this version of the private set"):
        fit(curator(path), changed)
    assert (bookings(path), len(stored(path))) == (1, 1)
    second = fit(curator(path), changed, new_version=True)
    assert second.fingerprint != first.fingerprint
    assert bookings(path) == 2
    # both are known now, and neither costs again
    for private, release in ((PRIVATE, first), (changed, second)):
        assert fit(curator(path), private).fingerprint == release.fingerprint
    assert bookings(path) == 2


OTHERS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "background": ({}, {"background": POOL + 1e-9}),
    "epsilon": ({}, {"budget": Budget(epsilon=0.5, delta=DELTA)}),
    "a mechanism's setting": ({"mechanism": GaussianMean(center=True)}, {}),
    "mechanism": ({"mechanism": DpGd(steps=3)}, {}),
    "scorer": ({"scorer": "nearest", "mechanism": CentroidVotes(clusters=4)}, {}),
    "scaling": ({"standardise": "none"}, {}),
    "seed": ({"seed": 1, "scorer": "nearest", "mechanism": CentroidVotes(clusters=5)}, {}),
}


@pytest.mark.parametrize("name", OTHERS)
def test_other_settings_are_another_release_and_another_booking(ledger, name):
    path = ledger()
    first = fit(curator(path))
    settings, call = OTHERS[name]
    assert fit(curator(path, **settings), **call).fingerprint != first.fingerprint
    assert (bookings(path), len(stored(path))) == (2, 2)
    assert fit(curator(path)).fingerprint == first.fingerprint
    assert bookings(path) == 2


def test_over_the_budget_nothing_is_drawn_or_stored(ledger, monkeypatch):
    path = ledger(epsilon=1.5)
    fit(curator(path))
    monkeypatch.setattr(release_store, "make_release", never)
    with pytest.raises(InputError, match=r"budget is epsilon 1.5 .* remains; nothing was booked"):
        fit(curator(path), budget=Budget(epsilon=1.2, delta=DELTA))
    assert (bookings(path), len(stored(path))) == (1, 1)
    assert not list(stored(path)[0].parent.glob("*.tmp"))


def test_a_crash_between_booking_and_storing_counts_as_spent(ledger, monkeypatch):
    path = ledger()
    for place in ("make_release", "Release.save"):
        with monkeypatch.context() as broken:
            target = release_store.Release if "." in place else release_store
            broken.setattr(target, place.split(".")[-1], never)
            with pytest.raises(AssertionError):
                fit(curator(path))
    assert (bookings(path), stored(path)) == (2, [])
    found = fit(curator(path))
    assert (bookings(path), len(stored(path))) == (3, 1)
    assert BudgetLedger.open(path).spent_epsilon() > 1.7
    assert fit(curator(path)).fingerprint == found.fingerprint


def test_a_stored_release_that_was_damaged_is_told_and_not_drawn_again(ledger):
    path = ledger()
    fit(curator(path))
    stored(path)[0].write_bytes(b"PK")
    with pytest.raises(InputError, match="is damaged; bring a copy back"):
        fit(curator(path))
    assert bookings(path) == 1


def test_what_is_kept_is_its_owners_alone_and_tells_no_row(ledger):
    path = ledger("patient")
    fit(curator(path, unit="patient"), table(), background=POOL_TABLE)
    folder = stored(path)[0].parent
    assert folder.stat().st_mode & 0o777 == 0o700
    assert (folder / "fingerprint.key").stat().st_mode & 0o777 == 0o600
    kept = b"".join(one.read_bytes() for one in (path, *folder.iterdir()))
    assert b"p17" not in kept


# tables


def table(**changes: Any) -> dict[str, Any]:
    return {"patient": PATIENTS, **dict(zip("abcd", PRIVATE.T, strict=True))} | changes


POOL_TABLE = dict(zip("abcd", POOL.T, strict=True))
FORMS = {"a mapping": dict, "a frame": pd.DataFrame, "arrow": pa.table}


@pytest.mark.parametrize("form", FORMS)
def test_rows_of_one_unit_are_clipped_together(ledger, form):
    """The mean over patients of three summed visits, cut to the length of one row."""
    path = ledger("patient", epsilon=600.0)
    make = FORMS[form]
    found = fit(
        curator(path, unit="patient", features=["a", "b", "c", "d"]),
        make(table()),
        budget=HUGE,
        background=make(POOL_TABLE),
    )
    sums = unit_rows(scaled(PRIVATE)).reshape(N // 3, 3, D).sum(axis=1)
    length = np.linalg.norm(sums, axis=1, keepdims=True)
    assert (length > 1).any()
    exact = (sums / np.maximum(length, 1)).mean(axis=0)
    limit = LIMIT * LITTLE / (N // 3)
    np.testing.assert_allclose(found.weights, exact, atol=limit)
    assert np.abs(found.weights - unit_rows(scaled(PRIVATE)).mean(axis=0)).max() > limit
    assert (found.columns, found.card()["unit"]) == (("a", "b", "c", "d"), "patient")
    scored = found(pa.table(POOL_TABLE))["dp_score"].to_numpy()
    np.testing.assert_array_equal(scored, found.score(POOL))


def test_the_same_rows_in_another_form_are_the_same_release(ledger):
    path = ledger("patient")
    of = curator(path, unit="patient")
    found = {
        fit(of, make(table()), background=make(POOL_TABLE)).fingerprint for make in FORMS.values()
    }
    assert len(found) == 1
    assert bookings(path) == 1


def test_one_column_of_vectors_is_read_from_tables_of_the_job(ledger):
    path = ledger()
    private = pa.table({"emb": PRIVATE.tolist(), "note": ["x"] * N})
    pool = pa.table({"uid": range(M), "emb": POOL.tolist()})
    found = fit(curator(path, features=["emb"]), private, background=pool)
    assert found.columns == ("emb",)
    assert found(pool).column_names == ["uid", "emb", "dp_score"]
    np.testing.assert_array_equal(found(pool)["dp_score"].to_numpy(), found.score(POOL))


def test_units_by_another_column_are_another_release(ledger):
    """Rows as units cost more noise than they need not: the ledger keeps the two apart."""
    path = ledger("patient")
    fit(curator(path, unit="patient"), table(), background=POOL_TABLE)
    of = curator(path, unit="visit", features=list("abcd"))
    with pytest.raises(InputError, match=r"one patient \(zero_out\), the booking for one visit"):
        fit(of, table(visit=np.arange(N)), background=POOL_TABLE)
    assert bookings(path) == 1


# what is refused


def test_the_ledger_is_for_its_own_unit_and_adjacency(ledger):
    path = ledger("patient")
    with pytest.raises(InputError, match="they are never added: state the unit"):
        fit(curator(path))
    of = curator(path, unit="patient", adjacency="replace_one")
    with pytest.raises(InputError, match=r"patient \(zero_out\), .* patient \(replace_one\)"):
        fit(of, table(), background=POOL_TABLE)
    assert (bookings(path), stored(path)) == (0, [])


def test_without_a_ledger_the_command_that_makes_one_is_told(tmp_path):
    with pytest.raises(InputError, match=r"curation-audit ledger set-budget .*nowhere"):
        fit(curator(tmp_path / "nowhere"))
    assert [*tmp_path.iterdir()] == []


REFUSED: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "scorer": ({"scorer": "means"}, {}, "scorer: found 'means'; did you mean 'mean'"),
    "adjacency": ({"adjacency": "zero"}, {}, "adjacency: found 'zero'; did you mean 'zero_out'"),
    "scaling": ({"standardise": "pubic"}, {}, "standardise: found 'pubic'; did you mean 'public'"),
    "features": ({"features": "emb"}, {}, "features: found 'emb'; expected a list of columns"),
    "mechanism": ({"mechanism": "gausian_mean"}, {}, "did you mean 'gaussian_mean'"),
    "no mechanism": ({"mechanism": 5}, {}, "mechanism: found 'int'; expected one of"),
    "selection": ({"mechanism": "noisy_top_k"}, {}, "must never leave; use gaussian_mean"),
    "hidden": ({"mechanism": DpGd(hidden=(3,))}, {}, "no scorer that a file could hold"),
    "a number": ({}, {"budget": 1.0}, r"budget: found a float; expected curation_audit\.Budget"),
    "another budget": (
        {},
        {"budget": budget_ledger.Budget("row", "zero_out", 1.0, DELTA)},
        "budget: found a Budget; expected",
    ),
    "no noise": ({}, {"budget": Budget(epsilon=math.inf, delta=DELTA)}, "release needs noise"),
    "a large delta": ({}, {"budget": Budget(epsilon=1.0, delta=0.5)}, "one over the units"),
    "width": ({}, {"background": POOL[:, :3]}, "has 4 features, but public .* has 3"),
    "missing": ({}, {"private": np.where(PRIVATE > 2, np.nan, PRIVATE)}, "a value is missing"),
    "no unit": ({"unit": "patient"}, {}, "has no column 'patient'"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_fit_is_told_and_books_nothing(ledger, monkeypatch, case):
    settings, call, expected = REFUSED[case]
    path = ledger()
    monkeypatch.setattr(release_store, "make_release", never)
    with pytest.raises(InputError, match=expected):
        fit(curator(path, **settings), **call)
    assert (bookings(path), stored(path)) == (0, [])


def test_budgets_say_what_is_wrong_with_them():
    with pytest.raises(SettingError, match="expected more than 0"):
        Budget(epsilon=0.0, delta=DELTA)
    with pytest.raises(SettingError, match="expected one of epsilon, mu"):
        replace(ONE, mu=1.0)


# two at once


def test_who_waits_too_long_for_another_is_told(ledger, monkeypatch):
    monkeypatch.setattr(release_store, "SECONDS_TO_WAIT", 0.1)
    path = ledger()
    with locked(path.with_name(f"{path.name}.releases")):
        with pytest.raises(
            InputError, match="another process is at work in this folder; wait for it"
        ):
            fit(curator(path))
        assert bookings(path) == 0
    fit(curator(path))
    assert bookings(path) == 1


SCRIPT = """
import os, sys
import numpy as np
from curation_audit import Budget, Curator, InputError
rng = np.random.default_rng(4)
private, pool = rng.normal(0.7, 1, (60, 4)), rng.normal(size=(200, 4))
of = Curator(scorer="mean", adjacency="zero_out", ledger=sys.argv[1])
budget = Budget(epsilon=1.0, delta=1e-5)
import curation_audit.pipelines.protection.releasing
waits, starts = os.pipe()
for child in range(4):
    if not os.fork():
        os.close(starts)
        os.read(waits, 1)  # all are let go at once
        try:
            line = of.fit(private, budget=budget, background=pool).fingerprint
        except InputError as error:
            line = str(error)
        os.write(1, (line + chr(10)).encode())
        os._exit(0)
os.close(starts)
for child in range(4):
    os.wait()
"""


def test_of_jobs_that_ask_at_once_one_books_and_all_get_its_release(ledger):
    path = ledger()
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(path)], capture_output=True, text=True, timeout=120
    )
    said = done.stdout.splitlines()
    assert len(said) == 4, done.stderr
    made = fit(curator(path)).fingerprint
    assert said == [made] * 4
    assert (bookings(path), len(stored(path))) == (1, 1)


# what went wrong for a first user


def test_a_background_of_private_rows_is_refused(ledger):
    path = ledger()
    with pytest.raises(InputError, match=f"hold {N} of the {N} private rows"):
        fit(curator(path), background=np.concatenate([PRIVATE, POOL]))
    assert bookings(path) == 0


def test_some_private_rows_in_the_background_are_told(ledger):
    with pytest.warns(UserWarning, match="3 private rows have equals among the public rows"):
        fit(curator(ledger()), background=np.concatenate([PRIVATE[:3], POOL]))


def test_names_and_labels_of_public_rows_shape_nothing(ledger):
    """They may change every night, and the release stays."""
    path = ledger()
    frames = [pd.DataFrame(rows, columns=list("abcd")[:D]) for rows in (PRIVATE, POOL)]
    first = fit(curator(path), frames[0], background=frames[1])
    renamed = frames[1].set_index(np.arange(len(POOL)) + 7)
    assert fit(curator(path), frames[0], background=renamed).fingerprint == first.fingerprint
    assert bookings(path) == 1


def test_a_full_disk_is_found_before_anything_is_booked(ledger, monkeypatch):
    path = ledger()
    fit(curator(path))  # the folder and its key are there

    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as broken:
        broken.setattr(release_store, "write_atomically", full)
        with pytest.raises(InputError, match=r"no room for a release .*; nothing was booked"):
            fit(curator(path), budget=Budget(epsilon=0.5, delta=DELTA))
    assert bookings(path) == 1
    with monkeypatch.context() as broken:
        broken.setattr(release_store.Release, "save", full)
        with pytest.raises(
            InputError, match="was booked, and its release is lost; make room BEFORE"
        ):
            fit(curator(path), budget=Budget(epsilon=0.5, delta=DELTA))
    assert bookings(path) == 2


def test_a_new_ledger_beside_old_releases_is_refused(ledger):
    path = ledger()
    fit(curator(path))
    for file in path.parent.glob(f"{path.name}*"):
        if file.is_file():
            file.unlink()
    ledger()
    with pytest.raises(InputError, match="never booked; the ledger was replaced"):
        fit(curator(path), budget=Budget(epsilon=0.5, delta=DELTA))
    assert bookings(path) == 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ledger": None}, "ledger: found None"),
        ({"ledger": ""}, "ledger: found ''"),
        ({"seed": "a"}, "seed: found 'a'"),
    ],
)
def test_settings_of_the_wrong_type_are_told(ledger, changes, message):
    with pytest.raises(SettingError, match=message):
        fit(replace(curator(ledger()), **changes))


def test_a_budget_in_words_is_told():
    with pytest.raises(SettingError, match="epsilon: found '1'; expected a number"):
        Budget(epsilon="1", delta=DELTA)  # type: ignore[arg-type]
