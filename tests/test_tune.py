"""``curation-audit tune``: on public rows, for nothing, and only where they are public."""

import copy
import dataclasses
import hashlib
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from curation_audit.config import load_plan, load_tune
from curation_audit.config.tune_section import BY_CONTENT
from curation_audit.pipelines.protection.gaussian_mean import GaussianMean
from curation_audit.pipelines.protection.protect import protect
from curation_audit.pipelines.scorers.noisy_sum import NoisySum
from curation_audit.streams import Streams
from curation_audit.sweeping.plan import site_of
from curation_audit.sweeping.tuning import aucs, run_tune
from tests.config.test_bad_input import assert_one_line
from tests.config.test_protect_section import CLASSIFIER

N_STAND_IN = 24
OVER = {"clip": [0.01, 0.5, 1.0]}


@pytest.fixture
def stand_in(rng):
    """Columns of a public set that is like the private one, in another hospital."""
    return {
        "Akte": [f"fremd-{i // 2}" for i in range(N_STAND_IN)],
        "Besuch": [f"fremd-{i}" for i in range(N_STAND_IN)],
        "Vektor": (rng.normal(size=(N_STAND_IN, 3)) + 1).tolist(),
    }


@pytest.fixture
def pipeline(small, tmp_path, stand_in):
    """A pipeline that is tuned on the stand-in; ``edit`` changes the file."""

    def make(edit=None, proxy=None, columns=stand_in, over=OVER, **protect):
        pq.write_table(pa.table(columns), tmp_path / "stand_in.parquet")
        source = {
            "source": {"kind": "parquet", "path": "stand_in.parquet"},
            "columns": {"id": "Besuch", "embedding": "Vektor"},
            "unit": "Akte",
        }

        def both(tree):
            tree["curate"]["protect"] = {
                "mechanism": "gaussian_mean",
                "adjacency": "zero_out",
                "epsilon": 4,
                "delta": 1e-5,
                "tuning": {"method": "public", "over": over, "proxy": proxy or source},
            } | protect
            if edit:
                edit(tree)

        return small(both)

    return make


def tuned(command, path, tmp_path, *more):
    code, out, err = command("tune", "--pipeline", path, "--out", tmp_path / "tuned.json", *more)
    assert code == 0, err
    return out


def test_choices_are_compared_and_the_best_is_told(command, pipeline, tmp_path):
    path = pipeline()
    tree = json.loads(tuned(command, path, tmp_path, "--json"))
    assert json.loads((tmp_path / "tuned.json").read_text()) == tree
    found = [one["auc"]["value"] for one in tree["choices"]]
    assert found == sorted(found, reverse=True)
    assert tree["best"] == tree["choices"][0]["settings"]
    assert {one["settings"]["clip"] for one in tree["choices"]} == {*OVER["clip"]}
    assert tree["protection"]["epsilon"] == 4
    assert tree["stand_in"]["n_rows"] == N_STAND_IN
    assert tree["stand_in"]["n_units"] == N_STAND_IN // 2
    assert tree["stand_in"]["checked"] == [
        BY_CONTENT, "no ids of the private set", "no unit of the private set",
    ]  # fmt: skip
    assert all(one["accuracy"] is None for one in tree["choices"])  # the test set is not looked at
    assert not (tmp_path / "run").exists()


def test_the_lines_to_paste_make_a_pipeline_that_names_the_result(command, pipeline, tmp_path):
    path = pipeline()
    out = tuned(command, path, tmp_path)
    told = yaml.safe_load(out[out.index("Put this") :].replace("and this", "\nand this"))
    settings, named = told.values()
    content = (tmp_path / "tuned.json").read_bytes()
    assert named == {"result": "tuned.json", "sha256": hashlib.sha256(content).hexdigest()}

    def paste(tree):
        tree["curate"]["protect"] |= settings
        tree["curate"]["protect"]["tuning"] |= named

    plan = load_plan(pipeline(paste))
    assert isinstance(plan.scorer, NoisySum)
    assert plan.protection.tuning == (
        f"stated: tuned on public (tuned.json, sha256 {named['sha256']})"
    )
    tuned(command, pipeline(paste), tmp_path)  # and it can be tuned again


def test_a_rate_that_was_tuned_on_a_narrow_network_serves_a_wide_one(command, pipeline, tmp_path):
    """Public rows and 8 units tell the rate; 128 units take it, less a public factor."""
    wide = {
        "mechanism": "dp_sgd",
        "hidden": [128],
        "parametrization": "spectral",
        "base_width": 8,
        "learning_rate": 0.5,
        "steps": 3,
        "sampling_rate": 1,
    }

    def classifier(tree):
        tree["curate"]["scorer"] = CLASSIFIER

    path = pipeline(classifier, over={"learning_rate": [0.1, 0.4, 1.6]}, **wide)
    narrow = ("--set", "curate.protect.hidden=[8]", "--json")
    best = json.loads(tuned(command, path, tmp_path, *narrow))["best"]["learning_rate"]
    digest = hashlib.sha256((tmp_path / "tuned.json").read_bytes()).hexdigest()
    pasted = (
        f"curate.protect.learning_rate={best}",
        "curate.protect.tuning.result=tuned.json",
        f"curate.protect.tuning.sha256={digest}",
    )
    plan = load_plan(path, pasted)
    assert plan.scorer.settings.hidden == (128,)
    assert plan.scorer.settings.learning_rate == pytest.approx(best * 16**-0.25)


def test_what_is_measured_is_the_auc_of_stand_in_units(pipeline):
    """Against a plain loop over runs and units, on the scores of the pool."""
    plan = load_tune(pipeline(over={"clip": [0.5, 1.0]}))
    found = {one.choice["clip"]: one.auc for one in run_tune(plan)}
    assert set(found) == {0.5, 1.0}
    base = plan.base

    settings = dataclasses.replace(plan.settings, scorer=GaussianMean(clip=0.5), tuning=None)
    made = protect(settings, site_of(base, settings.adjacency), base.rule, base.unit)
    own = dataclasses.replace(base, scorer=made.scorer)
    by_run = aucs(own, 8)
    assert by_run.mean() == pytest.approx(found[0.5].value)

    private, pool = base.data.private, base.data.pool
    streams = Streams(base.seed).for_shadows("utility", range(8))
    everyone = np.ones((8, private.n_candidates), dtype=bool)
    fitted = own.scorer.fit(private, everyone, pool, streams=streams)
    mine, others = fitted.score(private.features), fitted.score(pool.features)
    for run in range(8):
        of_rows = (mine[run][:, None] > others[run]).mean(axis=1)
        of_units = [of_rows[private.owners == u].mean() for u in range(private.n_units)]
        assert by_run[run] == pytest.approx(np.mean(of_units))


def test_the_best_by_accuracy(command, pipeline, tmp_path):
    tree = json.loads(tuned(command, pipeline(), tmp_path, "--json", "--by", "accuracy"))
    found = [one["accuracy"]["value"] for one in tree["choices"]]
    assert found == sorted(found, reverse=True)
    assert tree["chosen_by"] == "accuracy"


def test_a_test_set_that_holds_private_rows_is_refused(command, pipeline, tmp_path):
    def edit(tree):
        tree["test"] = copy.deepcopy(tree["private"])
        for name in ("unit", "ledger"):
            tree["test"].pop(name, None)
        tree["test"]["columns"].pop("groups", None)

    code, _, err = command("tune", "--pipeline", pipeline(edit), "--out", tmp_path / "tuned.json")
    assert code == 2
    assert "test: holds rows that stand in the private set" in err
    assert not (tmp_path / "tuned.json").exists()


def test_without_a_model_there_is_no_accuracy(command, pipeline, tmp_path):
    path = pipeline(lambda tree: tree.pop("train"))
    tree = json.loads(tuned(command, path, tmp_path, "--json"))
    assert all(one["accuracy"] is None for one in tree["choices"])
    code, out, err = command("tune", "--pipeline", path, "--by", "accuracy")
    assert_one_line(code, out, err, ["--by", "name a test set and a model"])


def test_rows_of_the_pool_as_the_stand_in(pipeline, tables):
    values = tables["public"]["Befund"]
    value = str(values[0])
    plan = load_tune(pipeline(proxy={"pool": {"Befund": [value]}}))
    n_with = sum(str(one) == value for one in values)
    n_taken = len(plan.base.data.private)
    assert 0.25 * n_with < n_taken < 0.75 * n_with
    assert n_taken + len(plan.base.data.pool) == len(values)
    assert not {*plan.base.data.private.ids} & {*plan.base.data.pool.ids}
    assert plan.base.data.private.labels is None
    assert plan.checked[0] == BY_CONTENT


def test_other_mechanisms_may_be_tuned_on_public_rows(pipeline):
    def classifier(tree):
        tree["curate"]["scorer"] = CLASSIFIER

    plan = load_tune(
        pipeline(classifier, over={"steps": [2, 3]}, mechanism="dp_sgd", epsilon="inf")
    )
    assert len(run_tune(plan)) == 2


# --- what is refused


def refused(command, path, *expected):
    code, out, err = command("tune", "--pipeline", path)
    assert_one_line(code, out, err, list(expected))
    return err


@pytest.mark.parametrize("n_shared", [1, 5])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_a_private_row_in_the_stand_in_is_refused(
    n_shared, dtype, command, pipeline, tables, stand_in
):
    """By content, also where it was rounded; the message tells neither which rows nor how many."""
    taken = np.array(tables["private"]["Vektor"][:n_shared]).astype(dtype).tolist()
    columns = stand_in | {"Vektor": [*taken, *stand_in["Vektor"][n_shared:]]}
    err = refused(command, pipeline(columns=columns), "proxy", "stand in the private set, too")
    assert "fremd" not in err
    assert str(n_shared) not in err.split("proxy:")[1]


@pytest.mark.parametrize(
    ("column", "kind", "of"), [("Akte", "unit", "Pat.Nr"), ("Besuch", "ids", "Besuch")]
)
def test_a_private_unit_or_id_in_the_stand_in_is_refused(
    column, kind, of, command, pipeline, tables, stand_in
):
    taken = str(tables["private"][of][3])
    columns = stand_in | {column: [taken, *stand_in[column][1:]]}
    err = refused(command, pipeline(columns=columns), f"shares {kind} of the private set")
    assert taken not in err.split("proxy:")[1]


def test_pool_rows_that_are_private_are_refused(command, pipeline, tables):
    """The private set was taken from the pool: then half of some rows of the pool are private."""
    value = str(tables["public"]["Befund"][0])
    tables["public"]["Vektor"][: len(tables["private"]["Vektor"])] = tables["private"]["Vektor"]
    refused(command, pipeline(proxy={"pool": {"Befund": [value]}}), "stand in the private set, too")


BAD = {
    "no such column": ({"pool": {"Befnd": ["x"]}}, ["has no column 'Befnd'", "'Befund'"]),
    "no such value": ({"pool": {"Befund": ["nobody"]}}, ["proxy", "the set is empty"]),
    "no such file": (
        {"source": {"kind": "parquet", "path": "gone.parquet"}},
        ["tuning.proxy", "gone.parquet"],
    ),
    "another space": (
        {"source": {"kind": "parquet", "path": "test.parquet"}, "columns": {"features": ["Satz"]}},
        ["tuning.proxy"],
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_stand_ins(name, command, pipeline):
    proxy, expected = BAD[name]
    refused(command, pipeline(proxy=proxy), *expected)


@pytest.mark.parametrize("tuning", [None, {"method": "grid", "over": OVER}])
def test_only_public_tuning_is_a_command(tuning, command, pipeline):
    def edit(tree):
        if tuning is None:
            del tree["curate"]["protect"]["tuning"]
        else:
            tree["curate"]["protect"]["tuning"] = tuning

    refused(command, pipeline(edit), "curate.protect.tuning", "is not of method public", "budget")


def test_shards_cannot_be_tuned(command, pipeline):
    path = pipeline(over={"shards": [2, 3]}, mechanism="shard_votes", picks=5)
    refused(command, path, "found shard_votes, which cannot be tuned", "sweep")
