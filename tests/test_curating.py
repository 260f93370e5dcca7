"""``curation-audit curate``: booked, drawn, stored, picked; again for nothing."""

import json
import sqlite3

import pyarrow.parquet as pq
import pytest

from curation_audit import release_store
from curation_audit.dp.budget_ledger import BudgetLedger
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


def without_scores(tree):
    tree["threat"] = {"observes": ["selection", "model"]}


@pytest.mark.parametrize(
    ("protect", "edit", "expected"),
    [
        (None, None, "curate.protect"),
        (DP, lambda tree: tree["private"].pop("ledger"), "private.ledger"),
        (DP | {"epsilon": "inf"}, None, "release needs noise"),
        (DP | {"mechanism": "noisy_top_k"}, without_scores, "curate.protect.mechanism"),
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
