"""``curation-audit curate``: booked, drawn, stored, picked; again for nothing."""

import json
import shutil
import sqlite3

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from curation_audit import curate_command, release_store
from curation_audit.dp.budget_ledger import Budget, BudgetLedger
from curation_audit.pipelines.rules.cut import tie_order
from curation_audit.pipelines.rules.top import best_rows
from curation_audit.releases.release import Release

DP = {"mechanism": "gaussian_mean", "epsilon": 1.0, "delta": 1e-5, "adjacency": "zero_out"}


@pytest.fixture
def pipeline(small, tmp_path, command):
    """A protected pipeline on disk, with a ledger of epsilon 2.5."""

    def make(protect=DP, *, budget=2.5, edit=None, tables=None):
        def both(tree):
            tree["private"]["ledger"] = "budget.ledger"
            if protect is not None:
                tree["curate"]["protect"] = dict(protect)
            if edit:
                edit(tree)

        path = small(both) if tables is None else small(both, tables)
        if budget is not None and not (tmp_path / "budget.ledger").exists():
            code, _, err = command(
                "ledger", "set-budget", tmp_path / "budget.ledger", "--epsilon", budget,
                "--delta", 1e-5, "--unit", "Pat.Nr", "--adjacency", "zero_out",
            )  # fmt: skip
            assert code == 0, err
        return path

    return make


def curated(command, path, tmp_path, *more, out="picked"):
    code, text, err = command(
        "curate", "--pipeline", path, "--out", tmp_path / out, "--json", *more
    )
    assert code == 0, err
    return json.loads(text)


def refused(command, path, tmp_path, *expected, more=()):
    code, _, err = command("curate", "--pipeline", path, "--out", tmp_path / "picked", *more)
    assert code == 2
    assert len(err.splitlines()) == 1
    for word in expected:
        assert word in err
    return err


def bookings(tmp_path):
    return BudgetLedger.open(tmp_path / "budget.ledger").bookings()


@pytest.mark.parametrize("mechanism", ["gaussian_mean", "dp_gd"])
def test_a_replaced_unit_is_curated_though_no_audit_plays_it(
    pipeline, command, tmp_path, mechanism
):
    ledger = tmp_path / "budget.ledger"
    BudgetLedger.create(ledger, Budget("Pat.Nr", "replace_one", 2.5, 1e-5))
    path = pipeline(DP | {"mechanism": mechanism, "adjacency": "replace_one"})
    assert curated(command, path, tmp_path)["booked"]
    card = (tmp_path / "picked" / "card.md").read_text()
    assert "(replace_one)" in card.replace("\\", "")
    for audit in (("validate",), ("attack", "--out", tmp_path / "run")):
        code, _, err = command(*audit, "--pipeline", path)
        assert code == 2
        assert "zero_out game" in err
    assert not (tmp_path / "run").exists()


def test_picks_are_the_best_rows_by_the_stored_release(pipeline, command, tmp_path):
    told = curated(command, pipeline(), tmp_path)
    assert (told["booked"], told["n_picked"], told["n_pool"]) == (True, 40, 300)
    assert told["epsilon_spent"] == pytest.approx(1.0, abs=1e-3)
    picks = pq.read_table(tmp_path / "picked" / "picks.parquet")
    release = Release.load(tmp_path / "picked" / "release.npz")
    pool = pq.read_table(tmp_path / "public.parquet")
    scores = release.score(pool["Vektor"].to_pylist())
    best = sorted(range(300), key=lambda i: -scores[i])[:40]
    assert picks["id"].to_pylist() == [str(i) for i in best]
    assert picks["dp_score"].to_numpy() == pytest.approx(scores[best], abs=1e-5)
    card = (tmp_path / "picked" / "card.md").read_text()
    assert "Epsilon 0.99" in card
    assert "Pat.Nr" in card


def test_again_on_unchanged_data_spends_nothing_and_picks_the_same(pipeline, command, tmp_path):
    path = pipeline()
    first = curated(command, path, tmp_path)
    again = curated(command, path, tmp_path, out="tomorrow")
    assert (first["booked"], again["booked"]) == (True, False)
    assert again["epsilon_spent"] == first["epsilon_spent"]
    assert len(bookings(tmp_path)) == 1
    one, two = (pq.read_table(tmp_path / name / "picks.parquet") for name in ("picked", "tomorrow"))
    assert one.equals(two)


def test_another_k_is_post_processing(pipeline, command, tmp_path):
    path = pipeline()
    few = curated(command, path, tmp_path)
    many = curated(command, path, tmp_path, "--set", "curate.select.k=60")
    assert (many["booked"], many["n_picked"]) == (False, 60)
    assert many["epsilon_spent"] == few["epsilon_spent"]


def test_another_epsilon_is_another_release_and_composes(pipeline, command, tmp_path):
    path = pipeline()
    one = curated(command, path, tmp_path)
    two = curated(command, path, tmp_path, "--epsilon", "0.5")
    assert two["booked"]
    assert one["epsilon_spent"] < two["epsilon_spent"] < 1.5  # Gaussians compose better than sums


def test_a_budget_that_would_be_exceeded_is_refused_before_the_draw(
    pipeline, command, tmp_path, monkeypatch
):
    path = pipeline(budget=1.2)
    curated(command, path, tmp_path)
    monkeypatch.setattr(release_store, "make_release", never)
    err = refused(command, path, tmp_path, "1.2", more=("--epsilon", "1.1"))
    assert "remain" in err
    assert len(bookings(tmp_path)) == 1


def never(*_, **__):
    raise AssertionError("a release was drawn.")


def test_a_crash_between_booking_and_storing_counts_as_spent(
    pipeline, command, tmp_path, monkeypatch
):
    path = pipeline()
    with monkeypatch.context() as patch:
        patch.setattr(release_store, "make_release", never)
        code, _, _ = command("curate", "--pipeline", path, "--out", tmp_path / "picked")
    assert code == 4
    assert len(bookings(tmp_path)) == 1
    told = curated(command, path, tmp_path)
    assert told["booked"]
    assert len(bookings(tmp_path)) == 2
    assert told["epsilon_spent"] > 1.2


def test_changed_data_need_a_word_and_keep_the_old_spending(pipeline, command, tmp_path, tables):
    curated(command, pipeline(), tmp_path)
    tables["private"]["Vektor"][0] = [9.0, 9.0, 9.0]
    path = pipeline(tables=tables)
    refused(command, path, tmp_path, "--new-version")
    assert len(bookings(tmp_path)) == 1
    told = curated(command, path, tmp_path, "--new-version")
    assert told["booked"]
    assert told["epsilon_spent"] > 1.2


@pytest.mark.parametrize(
    ("protect", "edit", "expected"),
    [
        (None, None, "curate.protect"),
        (DP, lambda tree: tree["private"].pop("ledger"), "private.ledger"),
        (DP | {"epsilon": "inf"}, None, "release needs noise"),
        (DP | {"mechanism": "gaussian_mean + noisy_top_k"}, None, "curate.protect.mechanism"),
        (DP | {"adjacency": "add_remove"}, None, "add_remove"),
    ],
)  # fmt: skip
def test_what_cannot_be_released_books_nothing(
    pipeline, command, tmp_path, monkeypatch, protect, edit, expected
):
    path = pipeline(protect, edit=edit)
    monkeypatch.setattr(release_store, "make_release", never)
    refused(command, path, tmp_path, expected)
    assert bookings(tmp_path) == ()
    assert not (tmp_path / "picked" / "picks.parquet").exists()


def test_without_a_budget_the_command_that_sets_one_is_told(pipeline, command, tmp_path):
    refused(command, pipeline(budget=None), tmp_path, "set-budget")


def test_a_release_that_the_ledger_never_booked_is_refused(pipeline, command, tmp_path):
    path = pipeline()
    curated(command, path, tmp_path)
    for old in tmp_path.glob("budget.ledger*"):
        if old.is_file():
            old.unlink()
    refused(command, pipeline(), tmp_path, "never booked")


def test_the_ledger_holds_no_private_row_or_id(pipeline, command, tmp_path):
    curated(command, pipeline(), tmp_path)
    with sqlite3.connect(tmp_path / "budget.ledger") as connection:
        text = "\n".join(connection.iterdump())
    assert "B17" not in text
    assert "1017" not in text


# by a release that was made before


def best_by(release, vectors, k):
    """The ids of the best rows, by a plain sort; none of these scores are equal."""
    scores = release.score(np.array(vectors, dtype=np.float64))
    assert len({*scores.tolist()}) == len(scores)
    return [str(i) for i in np.argsort(-scores)[:k]], np.sort(scores)[::-1][:k]


def test_by_a_release_nothing_private_is_looked_at(pipeline, command, tmp_path, tables):
    path = pipeline()
    first = curated(command, path, tmp_path)
    release = tmp_path / "picked" / "release.npz"
    (tmp_path / "private.parquet").unlink()
    for left in tmp_path.glob("budget.ledger*"):
        shutil.rmtree(left) if left.is_dir() else left.unlink()
    told = curated(command, path, tmp_path, "--release", release, out="again")
    assert (told["n_picked"], told["n_pool"], told["n_unscored"]) == (40, 300, 0)
    assert {"booked", "epsilon_spent"}.isdisjoint(told)
    assert {"booked", "epsilon_spent"} < {*first}
    one, two = (pq.read_table(tmp_path / name / "picks.parquet") for name in ("picked", "again"))
    assert one.equals(two)
    assert not (tmp_path / "budget.ledger.releases").exists()
    code, out, _ = command(
        "curate", "--pipeline", path, "--out", tmp_path / "third", "--release", release, "--quiet"
    )
    assert (code, "nothing was spent" in out) == (0, True)


def test_a_release_picks_from_another_pool_by_its_columns(pipeline, command, tmp_path, tables):
    path = pipeline()
    curated(command, path, tmp_path)
    release = tmp_path / "picked" / "release.npz"
    tables["public"]["Vektor"] = tables["public"]["Vektor"][::-1]
    pq.write_table(pa.table(tables["public"]), tmp_path / "public.parquet")
    curated(command, path, tmp_path, "--release", release, out="other")
    picks = pq.read_table(tmp_path / "other" / "picks.parquet")
    expected = best_by(Release.load(release), tables["public"]["Vektor"], 40)[0]
    assert picks["id"].to_pylist() == expected
    pq.write_table(pa.table(tables["public"]).drop_columns("Vektor"), tmp_path / "public.parquet")
    refused(command, path, tmp_path, "no column 'Vektor'", more=("--release", release))


@pytest.mark.parametrize("name", ["nowhere.npz", "public.parquet"])
def test_what_is_no_release_is_refused(pipeline, command, tmp_path, name):
    path = pipeline()
    refused(command, path, tmp_path, name, "save()", more=("--release", tmp_path / name))


# pools that are larger than what a mechanism looks at


@pytest.fixture
def few(monkeypatch):
    """A mechanism sees 50 rows of the pool."""
    monkeypatch.setattr(curate_command, "MOST_BACKGROUND", 50)


@pytest.mark.parametrize("k", [40, 51, 300])
def test_a_pool_larger_than_the_background_is_picked_from_as_a_whole(
    pipeline, command, tmp_path, tables, few, k
):
    path = pipeline()
    told = curated(command, path, tmp_path, "--set", f"curate.select.k={k}")
    assert (told["booked"], told["n_picked"], told["n_pool"]) == (True, k, 300)
    release = Release.load(tmp_path / "picked" / "release.npz")
    vectors = np.array(tables["public"]["Vektor"])
    np.testing.assert_allclose(release.shift, vectors[:50].mean(axis=0))  # one group: its first
    picks = pq.read_table(tmp_path / "picked" / "picks.parquet")
    ids, scores = best_by(release, vectors, k)
    assert picks["id"].to_pylist() == ids
    np.testing.assert_array_equal(picks["dp_score"].to_numpy(), scores)
    assert max(map(int, ids)) >= 50  # rows that no mechanism saw
    again = curated(command, path, tmp_path, out="again")
    assert not again["booked"]


def test_more_than_the_pool_has_is_refused_before_anything_is_booked(
    pipeline, command, tmp_path, few, monkeypatch
):
    path = pipeline()
    monkeypatch.setattr(release_store, "make_release", never)
    more = ("--set", "curate.select.k=301")
    refused(command, path, tmp_path, "k = 301", "the pool has 300 rows", more=more)
    assert bookings(tmp_path) == ()


def test_rows_that_miss_a_feature_come_last_and_are_counted(
    pipeline, command, tmp_path, tables, few
):
    for row in (200, 250):
        tables["public"]["Vektor"][row] = None
    tables["public"]["Vektor"][299] = [1.0, float("nan"), 0.0]
    path = pipeline(tables=tables)
    told = curated(command, path, tmp_path, "--set", "curate.select.k=298")
    assert (told["n_picked"], told["n_unscored"]) == (298, 3)
    picks = pq.read_table(tmp_path / "picked" / "picks.parquet")
    assert picks["id"].to_pylist()[-1] in {"200", "250", "299"}
    assert np.flatnonzero(np.isnan(picks["dp_score"].to_numpy())).tolist() == [297]
    code, out, _ = command(
        "curate", "--pipeline", path, "--out", tmp_path / "picked", "--set", "curate.select.k=10"
    )
    assert code == 0
    assert "3 rows miss a feature and come last" in out


def test_one_id_on_several_picked_rows_is_refused(pipeline, command, tmp_path, tables, few):
    ids = np.arange(300)
    ids[200:] = 7
    path = pipeline(tables=tables | {"public": tables["public"] | {"Satz": ids}})
    more = ("--set", "curate.select.k=290", "--quiet")
    refused(command, path, tmp_path, "public, id '7'", "several picked rows", more=more)
    assert not (tmp_path / "picked" / "picks.parquet").exists()
    assert len(bookings(tmp_path)) == 1  # the release is kept, and costs nothing again
    told = curated(command, pipeline(tables=tables), tmp_path)
    assert not told["booked"]


def test_ties_are_picked_as_an_audit_with_the_same_seed_picks_them(
    pipeline, command, tmp_path, tables
):
    tables["public"]["Vektor"] = [[1.0, float(i % 3), 0.0] for i in range(300)]
    curated(command, pipeline(tables=tables), tmp_path)
    picks = pq.read_table(tmp_path / "picked" / "picks.parquet")
    release = Release.load(tmp_path / "picked" / "release.npz")
    scores = release.score(np.array(tables["public"]["Vektor"]))
    ranks = tie_order([str(i) for i in range(300)], 5)
    expected = np.lexsort((ranks, -scores))[:40]
    assert picks["id"].to_pylist() == [str(i) for i in expected]
    assert {*picks["id"].to_pylist()} == {
        str(i) for i in best_rows(scores[None], ranks, 40).indices
    }


# other sources, other homes


def test_a_csv_pool_is_picked_from_by_its_columns(pipeline, command, tmp_path, tables):
    names = ["Puls", "Blutwert α"]
    pd.DataFrame(tables["public"])[["Satz", *names[::-1], "Befund"]].to_csv(
        tmp_path / "public.csv", index=False
    )

    def as_csv(tree):
        tree["public"]["source"] = {"kind": "csv", "path": "public.csv"}
        for part in ("private", "public", "test"):
            del tree[part]["columns"]["embedding"]
            tree[part]["columns"]["features"] = [*names]

    path = pipeline(edit=as_csv)
    told = curated(command, path, tmp_path)
    release = Release.load(tmp_path / "picked" / "release.npz")
    assert (told["n_pool"], release.columns) == (300, tuple(names))
    read = pd.read_csv(tmp_path / "public.csv")
    picks = pq.read_table(tmp_path / "picked" / "picks.parquet")
    expected = best_by(release, read[names].to_numpy(), 40)[0]
    assert picks["id"].to_pylist() == expected
    # the columns of a pipeline in another order are the same columns
    names.reverse()
    turned = pipeline(edit=as_csv)
    more = ("--release", tmp_path / "picked" / "release.npz")
    curated(command, turned, tmp_path, *more, out="turned")
    assert pq.read_table(tmp_path / "turned" / "picks.parquet")["id"].to_pylist() == expected


def test_a_fresh_container_with_the_same_folder_spends_nothing(
    pipeline, command, tmp_path, monkeypatch
):
    path = pipeline()
    curated(command, path, tmp_path)
    for home in ("one", "two"):
        for variable in ("HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME"):
            monkeypatch.setenv(variable, str(tmp_path / home / variable))
        assert not curated(command, path, tmp_path)["booked"]
    monkeypatch.delenv("HOME")
    monkeypatch.delenv("XDG_DATA_HOME")
    assert not curated(command, path, tmp_path)["booked"]
    assert len(bookings(tmp_path)) == 1
    assert not (tmp_path / "one").exists()
