"""``curate`` with noise on the selection: picks alone, booked once, under a key of their own."""

import json
import os
import re
import stat
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from curation_audit import pick_store
from curation_audit.checks import InputError
from curation_audit.config import load_for_release
from curation_audit.curating import OF_RELEASES, draw_picks
from curation_audit.dp import budget_ledger
from curation_audit.dp.budget_ledger import BudgetLedger
from curation_audit.dp.events import EpsilonDelta
from curation_audit.dp.keyed_top_k import KeyedTopK
from curation_audit.integrity.attestation import ATTESTATION
from curation_audit.storage import write_atomically
from curation_audit.streams import Streams

STREAMS = Streams(0).for_shadows("test", (0,))
DP = {"mechanism": "noisy_top_k", "epsilon": 2.0, "delta": 1e-6, "adjacency": "zero_out"}


@pytest.fixture
def pipeline(small, tmp_path):
    """A pipeline with noise on the selection, and a ledger of epsilon 5 at delta 1e-5."""
    path = tmp_path / "budget.ledger"

    def make(protect=DP, edit=None, tables=None):
        def both(tree):
            tree["private"]["ledger"] = path.name
            tree["curate"]["protect"] = dict(protect)
            if edit:
                edit(tree)

        if not path.exists():
            budget = budget_ledger.Budget("Pat.Nr", protect["adjacency"], 5.0, 1e-5)
            BudgetLedger.create(path, budget)
        return small(both) if tables is None else small(both, tables)

    return make


@pytest.fixture
def curate(command, tmp_path):
    def run(path, *more, out="picked"):
        code, text, err = command(
            "curate", "--pipeline", path, "--out", tmp_path / out, "--json", *more
        )
        return (json.loads(text) if code == 0 else None), err

    return run


def bookings(tmp_path):
    return BudgetLedger.open(tmp_path / "budget.ledger").bookings()


def ids_in(folder):
    return pq.read_table(folder / "picks.parquet")["id"].to_pylist()


def kept_files(tmp_path, ending):
    return sorted((tmp_path / "budget.ledger.releases").glob(f"*{ending}"))


def test_picks_alone_leave(pipeline, curate, tmp_path):
    told, err = curate(pipeline())
    assert told is not None, err
    assert (told["booked"], told["n_picked"], told["n_pool"]) == (True, 40, 300)
    assert told["epsilon_spent"] == pytest.approx(2.0, abs=1e-6)
    assert {p.name for p in (tmp_path / "picked").iterdir()} - {".lock"} == {
        "picks.parquet",
        "card.md",
    }
    table = pq.read_table(tmp_path / "picked" / "picks.parquet")
    assert table.column_names == ["id"]
    assert len({*ids_in(tmp_path / "picked")}) == 40
    (event,) = bookings(tmp_path)[0].events
    assert isinstance(event, EpsilonDelta)
    assert (event.epsilon, event.delta) == (pytest.approx(2.0, abs=1e-9), 1e-6)
    card = (tmp_path / "picked" / "card.md").read_text()
    for word in ("scores behind them must never leave", "safe-top-k", "hardened", "cut off at"):
        assert word in card


def test_the_pipeline_of_the_page_works_as_pasted(command, tmp_path, rng):
    page = (Path(__file__).parents[1] / "docs" / "drop-in.md").read_text()
    (text,) = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    for name, n in (("private", 60), ("public", 200)):
        table = {
            "id": [f"{name}{i}" for i in range(n)],
            "emb": list(rng.normal(size=(n, 4))),
            "patient": [f"p{i // 2}" for i in range(n)],
        }
        pq.write_table(pa.table(table), tmp_path / f"{name}.parquet")
    (tmp_path / "noisy.yaml").write_text(text)
    budget = budget_ledger.Budget("patient", "zero_out", 4.0, 1e-5)
    BudgetLedger.create(tmp_path / "hospital.ledger", budget)
    code, _, err = command(
        "curate", "--pipeline", tmp_path / "noisy.yaml", "--out", tmp_path / "picked"
    )
    assert code == 0, err
    assert len(ids_in(tmp_path / "picked")) == 40


def test_again_gives_the_same_picks_and_spends_nothing(pipeline, curate, tmp_path):
    path = pipeline()
    assert curate(path)[0]["booked"]
    told, _ = curate(path, out="again")
    assert not told["booked"]
    assert len(bookings(tmp_path)) == 1
    assert ids_in(tmp_path / "picked") == ids_in(tmp_path / "again")


def fails(*_, **__):
    raise OSError("no space left")


def fails_for_picks(path, *rest, **words):
    if path.name.endswith(".picks.json"):
        raise OSError("no space left")
    return write_atomically(path, *rest, **words)


CRASHES = {
    "before the booking": (BudgetLedger, "book", 0, 1),
    "after the booking": (pick_store, "facts_of", 1, 1),
    "while picks are written": (pick_store, "write_atomically", 1, 1),
    "before the key is deleted": (pick_store, "remove_durably", 1, 1),
}


@pytest.mark.parametrize("when", CRASHES)
def test_a_crash_costs_nothing_more_and_leaves_no_key(
    when, pipeline, curate, tmp_path, monkeypatch
):
    path = pipeline()
    place, name, n_booked, n_keys = CRASHES[when]
    with monkeypatch.context() as patch:
        patch.setattr(place, name, fails_for_picks if name == "write_atomically" else fails)
        assert curate(path)[0] is None
    assert len(bookings(tmp_path)) == n_booked
    left = kept_files(tmp_path, ".noise-key")
    assert len(left) == n_keys
    made = seen_keys(monkeypatch)
    told, err = curate(path)
    assert told is not None, err
    assert (told["booked"], len(bookings(tmp_path))) == (n_booked == 0, 1)
    assert kept_files(tmp_path, ".noise-key") == []
    if when != "before the key is deleted":  # picks are made again, by the key that was left
        assert made == [KEYS[0]]


KEYS = [bytes([7]) * 32]


@pytest.fixture(autouse=True)
def known_keys(monkeypatch):
    """Keys that tests know: the n-th is of n + 7. Names of temporary files are drawn, too."""
    drawn = iter(range(7, 100))

    def known(n):
        return bytes([next(drawn)]) * n if n == len(KEYS[0]) else os.urandom(n)

    monkeypatch.setattr(pick_store.secrets, "token_bytes", known)


def seen_keys(monkeypatch):
    seen, real = [], KeyedTopK.best

    def best(self, scores, ids, key):
        seen.append(key)
        return real(self, scores, ids, key)

    monkeypatch.setattr(KeyedTopK, "best", best)
    return seen


def test_the_key_is_gone_once_the_picks_are_stored(pipeline, curate, tmp_path):
    curate(pipeline())
    assert kept_files(tmp_path, ".noise-key") == []
    (stored,) = kept_files(tmp_path, ".picks.json")
    assert stat.S_IMODE(stored.stat().st_mode) == 0o600
    assert stat.S_IMODE(stored.parent.stat().st_mode) == 0o700
    assert KEYS[0].hex() not in stored.read_text()
    assert "deleted once the picks are stored" in (tmp_path / "picked" / "card.md").read_text()


def test_picks_that_are_lost_are_booked_anew_and_damaged_ones_refused(pipeline, curate, tmp_path):
    path = pipeline()
    curate(path)
    (stored,) = kept_files(tmp_path, ".picks.json")
    stored.write_text("{")
    told, err = curate(path)
    assert told is None
    assert "is damaged" in err
    assert "booked and made anew" in err
    assert len(bookings(tmp_path)) == 1
    stored.unlink()
    assert curate(path)[0]["booked"]  # another key is another query
    assert len(bookings(tmp_path)) == 2


def test_a_key_that_is_left_is_for_its_owner_alone_and_for_these_scores(
    pipeline, curate, tmp_path, monkeypatch
):
    path = pipeline()
    with monkeypatch.context() as patch:
        patch.setattr(pick_store, "facts_of", fails)
        curate(path)
    (key,) = kept_files(tmp_path, ".noise-key")
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    word, _ = key.read_text().split()
    key.write_text(f"{word} {pick_store._seal(bytes.fromhex(word), np.zeros(300))}")
    told, err = curate(path)
    assert told is None
    assert "key of other scores" in err
    key.write_text("nonsense")
    assert "is no key" in curate(path)[1]
    key.unlink()
    assert curate(path)[0]["booked"]
    assert len(bookings(tmp_path)) == 2


def test_ids_that_stand_twice_are_refused_before_anything_is_booked(
    pipeline, curate, tmp_path, monkeypatch
):
    def refuses(*_):
        raise InputError("ids", "found 'a' on several rows")

    path = pipeline()
    monkeypatch.setattr(KeyedTopK, "best", refuses)
    assert "several rows" in curate(path)[1]
    assert bookings(tmp_path) == ()
    assert kept_files(tmp_path, ".noise-key") == []


CHANGES = {
    "k": ("--set", "curate.select.k=39"),
    "epsilon": ("--epsilon", "1.5"),
    "delta": ("--set", "curate.protect.delta=2e-6"),
}


@pytest.mark.parametrize("what", CHANGES)
def test_another_question_is_another_key_and_booking(what, pipeline, curate, tmp_path, monkeypatch):
    path, keys = pipeline(), seen_keys(monkeypatch)
    curate(path)
    told, err = curate(path, *CHANGES[what])
    assert told is not None, err
    assert told["booked"]
    assert keys[0] != keys[1]
    assert (len(kept_files(tmp_path, ".picks.json")), len(bookings(tmp_path))) == (2, 2)


def test_what_audits_compute_in_is_no_other_question(pipeline, curate, tmp_path):
    path = pipeline()
    assert curate(path, "--set", "run.dtype=float32")[0]["booked"]
    assert not curate(path, "--set", "run.dtype=float64")[0]["booked"]
    assert len(bookings(tmp_path)) == 1


def test_another_pool_is_another_question_too(pipeline, curate, tmp_path, tables):
    curate(pipeline())
    tables["public"]["Satz"] = tables["public"]["Satz"] + 1
    told, _ = curate(pipeline(tables=tables))
    assert told["booked"]


def test_a_changed_private_set_needs_a_word(pipeline, curate, tmp_path, tables):
    curate(pipeline())
    tables["private"]["Vektor"][0] = [9.0, 9.0, 9.0]
    path = pipeline(tables=tables)
    assert "--new-version" in curate(path)[1]
    assert curate(path, "--new-version")[0]["booked"]


def test_the_budget_holds(pipeline, curate, tmp_path):
    path = pipeline()
    assert curate(path)[0]["booked"]
    told, err = curate(path, "--epsilon", "3.5")
    assert told is None
    assert "remain" in err
    assert len(bookings(tmp_path)) == 1
    assert kept_files(tmp_path, ".noise-key") == []


def as_classifier(tree):
    tree["curate"]["scorer"] = {"method": "classifier"}


def test_a_classifier_is_picked_by_too(pipeline, curate, tmp_path):
    told, err = curate(pipeline(edit=as_classifier))
    assert told is not None, err
    assert told["n_picked"] == 40


@pytest.mark.parametrize("edit", [None, as_classifier])
def test_a_replaced_unit_is_curated_though_no_audit_plays_it(pipeline, curate, tmp_path, edit):
    told, err = curate(pipeline(DP | {"adjacency": "replace_one"}, edit))
    assert told is not None, err
    card = (tmp_path / "picked" / "card.md").read_text()
    assert "(replace_one)" in card.replace("\\", "")
    assert not curate(pipeline(DP | {"adjacency": "replace_one"}, edit))[0]["booked"]


def test_a_classifier_is_picked_by_under_add_remove_too(pipeline, curate):
    told, err = curate(pipeline(DP | {"adjacency": "add_remove"}, as_classifier))
    assert told is not None, err


@pytest.mark.parametrize("name", OF_RELEASES)
def test_a_folder_of_another_curation_is_refused_before_anything_is_booked(
    name, pipeline, curate, tmp_path
):
    path, picked = pipeline(), tmp_path / "picked"
    picked.mkdir()
    (picked / name).write_text("of another")
    told, err = curate(path)
    assert told is None
    assert "another curation" in err
    assert bookings(tmp_path) == ()
    assert curate(path, out="elsewhere")[0]["booked"]


def test_a_folder_with_scores_of_another_curation_is_refused(pipeline, curate, tmp_path):
    path, scores = pipeline(), tmp_path / "picked" / "scores"
    scores.mkdir(parents=True)
    (scores / f"{'0' * 64}.chunk").write_bytes(b"")
    told, err = curate(path)
    assert told is None
    assert "holds scores of another curation; of noisy picks none may leave" in err
    assert bookings(tmp_path) == ()


def test_the_files_of_releases_are_called_so():
    assert ATTESTATION in OF_RELEASES


def as_nearest(tree):
    tree["curate"]["scorer"] = {"method": "nearest"}


REFUSED = {
    "add_remove": (DP | {"adjacency": "add_remove"}, None, "no public bound"),
    "gaussian": (DP | {"noise": "gaussian"}, None, "made by gumbel"),
    "ablation": (DP | {"force": True}, as_nearest, "ablation"),
    "strict": (DP | {"noise_tier": "strict"}, None, "no exact sampler"),
    "a huge epsilon": (DP | {"epsilon": 800.0}, None, "found 800, which guarantees nothing"),
    "without noise": (DP | {"epsilon": "inf"}, None, "need noise"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused_books_nothing(case, pipeline, curate, tmp_path):
    protect, edit, expected = REFUSED[case]
    told, err = curate(pipeline(protect, edit))
    assert told is None
    assert expected in err
    assert len(err.splitlines()) == 1
    assert bookings(tmp_path) == ()


def test_what_is_picked_from_are_the_scores_of_the_audited_scorer(pipeline, monkeypatch):
    plan = load_for_release(pipeline(), ["run.dtype=float64"])
    everyone = np.ones((1, plan.data.private.n_candidates), dtype=bool)
    fitted = plan.scorer.fit(plan.data.private, everyone, plan.data.pool, streams=STREAMS)
    seen, real = [], KeyedTopK.best

    def best(self, scores, ids, key):
        seen.append((scores, ids))
        return real(self, scores, ids, key)

    monkeypatch.setattr(KeyedTopK, "best", best)
    kept = draw_picks(plan)
    ((scores, ids),) = seen
    np.testing.assert_array_equal(scores, fitted.score(plan.data.pool.features)[0])
    assert ids == plan.data.pool.ids
    assert {*kept.ids} < {*ids}
