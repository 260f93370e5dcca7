"""Columns by which results are told apart: read, checked, per unit, and seen by nothing else."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from curation_audit import AttackSettings, Pipeline, RunSettings, audit, load_pipeline
from curation_audit.checks import InputError
from curation_audit.pipelines.base import CurationData
from curation_audit.pipelines.data import data_from_arrays
from curation_audit.pipelines.rules import TopK
from curation_audit.streams import Streams

MED = Path(__file__).parents[2] / "curation_audit" / "pipelines" / "med.yaml"
STREAMS = Streams(3)
N = 24


def table(n: int, seed: int, **columns: Any) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    return pd.DataFrame({"x": rng.standard_normal(n), "y": rng.standard_normal(n)} | columns)


def private(**columns: Any) -> pd.DataFrame:
    sex = ["f", "m", "m"] * (N // 3)
    whole = {"sex": sex, "ward": [1, 2] * (N // 2), "patient": np.arange(N) // 2}
    return table(N, 1, **whole | columns)


def read(rows: pd.DataFrame, **settings: Any) -> CurationData:
    chosen = {"unit": "patient", "groups": ["sex", "ward"], "streams": STREAMS} | settings
    return data_from_arrays(rows, table(30, 2), **chosen)


def test_a_unit_is_in_the_groups_of_its_first_row():
    rows = private()
    data = read(rows)
    first = rows.groupby("patient").first()
    assert data.private.groups == {
        "sex": tuple(first["sex"]),
        "ward": tuple(str(ward) for ward in first["ward"]),
    }
    np.testing.assert_array_equal(data.private.first_rows, np.arange(0, N, 2))
    assert data.private.features.shape == (N, 2)  # neither groups nor units are features


def test_groups_follow_the_units_that_are_targets():
    rows = private(name=[f"p{n // 2}" for n in range(N)])
    data = read(rows.drop(columns="patient"), unit="name", targets=5)
    of_unit = rows.groupby("name").first()["sex"]
    assert data.private.n_candidates == 5
    assert data.private.groups["sex"] == tuple(of_unit[list(data.private.unit_ids)])


def test_without_groups_there_are_none():
    assert read(private().drop(columns=["sex", "ward"]), groups=()).private.groups == {}


def test_groups_change_neither_the_features_nor_the_fingerprint():
    plain = read(private().drop(columns=["sex", "ward"]), groups=())
    grouped = read(private())
    np.testing.assert_array_equal(plain.private.features, grouped.private.features)
    assert plain.fingerprints == grouped.fingerprints


def test_a_group_may_be_a_feature_where_features_name_it():
    pool = table(30, 2, ward=[1, 2] * 15)
    data = data_from_arrays(
        private(), pool, groups=["ward"], features=["x", "ward"], streams=STREAMS
    )
    assert data.private.features.shape == (N, 2)
    assert set(data.private.groups["ward"]) == {"1", "2"}
    # a wildcard does not take it
    with pytest.raises(InputError, match="no feature columns"):
        data_from_arrays(private(), pool, groups=["ward"], features=["w*"], streams=STREAMS)


def test_arrays_by_name_are_groups_of_a_matrix():
    rows = private()
    matrix = rows[["x", "y"]].to_numpy()
    data = data_from_arrays(
        matrix, table(30, 2)[["x", "y"]].to_numpy(), groups={"sex": rows["sex"]}, streams=STREAMS
    )
    assert data.private.groups["sex"] == tuple(rows["sex"])
    with pytest.raises(InputError, match="'features' is a column already"):
        data_from_arrays(matrix, matrix, groups={"features": rows["sex"]}, streams=STREAMS)


def test_what_is_missing_is_a_group_of_its_own():
    sex = [None, "m"] * (N // 2)
    dose = [1.0, np.nan] * (N // 2)
    data = read(private(sex=sex, ward=dose), unit=None, features=["x", "y"])
    assert set(data.private.groups["sex"]) == {"(missing)", "m"}
    assert set(data.private.groups["ward"]) == {"(missing)", "1"}


MEASURED = {
    "whole": np.arange(N) % 11,
    "broken": np.round(np.arange(N) % 11 / 7, 3),
    "objects": pd.Series([None, *range(N - 1)], dtype=object),
}


@pytest.mark.parametrize("kind", MEASURED)
def test_numbers_with_many_values_are_no_groups(kind):
    with pytest.raises(InputError, match="10 at most") as told:
        read(private(ward=MEASURED[kind]), unit=None, features=["x", "y"])
    assert "column 'ward'" in str(told.value)
    assert "ranges" in str(told.value)


def test_ten_numbers_and_any_number_of_texts_are_groups():
    texts = [f"{n:03d}" for n in range(N)]  # texts that read as numbers are names, as zip codes
    rows = private(ward=np.arange(N) % 10, sex=texts)
    data = read(rows, unit=None, features=["x", "y"])
    assert len(set(data.private.groups["ward"])) == 10
    assert data.private.groups["sex"] == tuple(texts)


BAD = {
    "not there": ({"groups": ["sexx"]}, "has no column 'sexx'.*did you mean 'sex'"),
    "the unit": ({"groups": ["patient"]}, "'patient' is named as a group and as id, label or unit"),
    "vectors": ({"groups": ["v"]}, "holds vectors"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_groups_are_told_in_one_line(case):
    settings, message = BAD[case]
    rows = private()
    rows["v"] = [[1.0, 2.0]] * N
    columns = ["x", "y", "sex", "patient", "v"]
    with pytest.raises(InputError, match=message) as told:
        read(rows[columns], features=["x", "y"], **settings)
    assert "\n" not in str(told.value)


# --- from the file to the report --------------------------------------------------------------


def test_yaml_groups_and_labels_become_slices(small, tables):
    tables["private"]["Haus"] = ["Nord", "Süd", "Süd"] * 20

    def grouped(tree):
        tree["private"]["columns"]["groups"] = ["Haus"]

    path = small(edit=grouped)
    result = audit(load_pipeline(path, "attack.fpr=[0.1]"))
    assert result.report["configuration"]["private"]["columns"]["groups"] == ["Haus"]
    first = slice(None, None, 2)  # a patient has two visits
    for stage in result.stages:
        found = stage.headline.subgroups
        sizes = {(one.attribute, one.group): one.n_candidates for one in found.slices}
        shown = {key: n for key, n in sizes.items() if key[1] != "small groups"}
        assert shown == {
            (attribute, group): n
            for attribute, column in (("label", "Befund"), ("Haus", "Haus"))
            for group, n in Counter(list(tables["private"][column])[first]).items()
            if n >= 10
        }
        assert sum(sizes.values()) == 2 * 30
        assert found.worst in found.slices


def test_rows_of_the_pool_have_groups_and_those_of_the_test_set_do_not(small):
    def grouped(name):
        def edit(tree):
            tree[name]["columns"]["groups"] = ["Satz"]

        return edit

    # the column is the id here: it is looked at, and told to be taken
    with pytest.raises(InputError, match=r"'Satz' is named as a group and as id"):
        load_pipeline(small(edit=grouped("public")))
    with pytest.raises(InputError, match=r"test\.columns\.groups.*unknown setting"):
        load_pipeline(small(edit=grouped("test")))


def test_the_packaged_pool_knows_its_sites():
    plan = load_pipeline(MED, "attack.shadows=8")
    assert set(plan.data.pool.groups) == {"site"}
    assert len(plan.data.pool.groups["site"]) == len(plan.data.pool)
    assert plan.data.pool.features.shape[1] == 30  # a group is no feature


def test_frames_and_groups_of_an_audit_in_memory():
    rows = private()
    pipeline = Pipeline(
        private=rows,
        public=table(60, 2),
        groups=["sex", "ward"],
        unit=rows["patient"].to_numpy() + 2 * np.arange(N),
        features=["x", "y"],
        scorer="mean",
        select=TopK(k=10),
        train=None,
        attack=AttackSettings(shadows=16, fpr=(), estimand="new candidates too"),
        run=RunSettings(),
    )
    for stage in audit(pipeline).stages[:2]:
        assert stage.headline.metrics.auc_estimand == "new candidates too"
        groups = [(one.attribute, one.group) for one in stage.headline.subgroups.slices]
        assert groups == [("sex", "m"), ("sex", "small groups"), ("ward", "1"), ("ward", "2")]
        assert all(one.tpr is None for one in stage.headline.subgroups.slices)
