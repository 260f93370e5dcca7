"""Picks of a streamed pool by every rule, against the picks of an audit."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from curation_audit.checks import InputError
from curation_audit.pipelines.base import Rows
from curation_audit.pipelines.picking import check_pickable, picked_rows
from curation_audit.pipelines.pools import open_pool
from curation_audit.pipelines.rules import RULES
from curation_audit.pipelines.rules.cut import tie_order
from curation_audit.pipelines.rules.levels import Nonnegative, OccupiedClusters, ScoreRange
from curation_audit.pipelines.rules.per_group import PerGroup
from curation_audit.pipelines.rules.sampled import GumbelTopK, Pareto
from curation_audit.pipelines.rules.threshold import Threshold
from curation_audit.pipelines.rules.token_budget import TokenBudget
from curation_audit.pipelines.rules.top import Greedy, TopFraction, TopK
from curation_audit.pipelines.sources.base import Columns, SetSpec
from curation_audit.pipelines.sources.csv import CsvSource
from curation_audit.pipelines.sources.parquet import ParquetSource
from curation_audit.streams import Streams

M, SEED = 400, 5
DRAWN = np.random.default_rng(1)
IDS = [f"doc {i}" for i in range(M)]
SIZES = DRAWN.integers(0, 9, M)
SITES = DRAWN.choice(["north", "south", ""], M).tolist()
SCORES = DRAWN.integers(-2, 5, M) / 4  # many ties
COLUMNS = Columns(id="uid", features=("x",), groups=("site",), size="words")
CASES = {
    "greedy": Greedy(k=30),
    "gumbel_top_k": GumbelTopK(k=30, temperature=0.2),
    "nonnegative": Nonnegative(),
    "occupied_clusters": OccupiedClusters(least=1.0),
    "pareto": Pareto(alpha=3.0, squash=True),
    "per_group": PerGroup(by="site", quotas={"north": 20, "(missing)": 11}),
    "range": ScoreRange(low=0.0, high=0.5),
    "threshold": Threshold(minimum=0.25),
    "token_budget": TokenBudget(budget=500),
    "top_fraction": TopFraction(fraction=0.1),
    "top_k": TopK(k=30),
}


@pytest.fixture(params=["parquet", "csv"])
def spec(request, tmp_path):
    table = pa.table({"uid": IDS, "x": SCORES, "words": SIZES, "site": SITES})
    if request.param == "csv":
        lines = [",".join(map(str, row)) for row in zip(IDS, SCORES, SIZES, SITES, strict=True)]
        (tmp_path / "pool.csv").write_text("\n".join(["uid,x,words,site", *lines]))
        return SetSpec(source=CsvSource(path="pool.csv"), columns=COLUMNS), tmp_path
    missing = pa.array([site or None for site in SITES])
    table = table.set_column(3, "site", missing)
    pq.write_table(table.slice(0, 150), tmp_path / "a.parquet")
    pq.write_table(table.slice(150), tmp_path / "b.parquet")
    return SetSpec(source=ParquetSource(path="*.parquet"), columns=COLUMNS), tmp_path


def test_every_rule_has_a_row_here():
    assert sorted(CASES) == sorted(RULES)


@pytest.mark.parametrize("name", sorted(CASES))
def test_the_picks_are_those_of_an_audit(name, spec):
    rule, pool = CASES[name], open_pool(*spec)
    check_pickable(rule, pool)
    groups = {"site": tuple(site or "(missing)" for site in SITES)}
    rows = Rows(tuple(IDS), SCORES[:, None], groups=groups, sizes=SIZES)
    streams = Streams(SEED).for_shadows("real", (0,))
    expected = rule.select(SCORES[None], tie_order(IDS, SEED), streams, rows).indices
    found = picked_rows(SCORES, rule, pool, SEED)
    assert found.dtype == np.int64
    assert 0 < len(found) < M
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        (TopK(k=M + 1), "found k = 401, but the pool has 400 rows"),
        (Greedy(k=M + 1), "found k = 401"),
        (TokenBudget(budget=10**6), "found 1000000, but the sizes of the pool add up to"),
        (PerGroup(by="sites", k=1), r"found 'sites', which is no column of groups.*'site'"),
        (PerGroup(by="site", quotas={"east": 1}), "found 'east', which is no group of 'site'"),
        (PerGroup(by="site", k=399), "which has"),
    ],
)
def test_what_cannot_be_picked_is_told_before_anything_is_scored(rule, message, spec):
    with pytest.raises(InputError, match=message):
        check_pickable(rule, open_pool(*spec))


def test_a_pool_whose_columns_are_not_named(spec):
    bare, base = spec
    pool = open_pool(SetSpec(source=bare.source, columns=Columns(id="uid", features=("x",))), base)
    with pytest.raises(InputError, match="needs the size of every pool row; name their column"):
        check_pickable(TokenBudget(budget=1), pool)
    with pytest.raises(InputError, match=r"found 'site', which .*; the pool has none"):
        check_pickable(PerGroup(by="site", k=1), pool)


def test_sizes_that_are_no_whole_numbers_are_told_with_their_row(tmp_path):
    table = pa.table({"uid": ["a", "b"], "x": [1.0, 2.0], "words": [1.0, 2.5], "site": ["s", "s"]})
    pq.write_table(table, tmp_path / "pool.parquet")
    pool = open_pool(SetSpec(source=ParquetSource(path="pool.parquet"), columns=COLUMNS), tmp_path)
    with pytest.raises(InputError, match=r"column 'words', row 2: holds no whole number"):
        check_pickable(TokenBudget(budget=1), pool)
