"""Picks by many workers: those of one process, whoever scores what, and however it is stopped."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from curation_audit.auditing.progress import Silence
from curation_audit.auditing.run_settings import RunSettings
from curation_audit.checks import InputError
from curation_audit.picks import Picks, pick
from curation_audit.pipelines import pools
from curation_audit.pipelines.pools import PoolInMemory, open_pool
from curation_audit.pipelines.rules.per_group import PerGroup
from curation_audit.pipelines.rules.threshold import Threshold
from curation_audit.pipelines.rules.token_budget import TokenBudget
from curation_audit.pipelines.rules.top import TopFraction, TopK
from curation_audit.pipelines.sources.base import Columns, SetSpec
from curation_audit.pipelines.sources.csv import CsvSource
from curation_audit.pipelines.sources.parquet import ParquetSource
from curation_audit.pool_shards import FOLDER, AskShard, ScoreFolder, ScoreShard
from curation_audit.releases.public_maps import MeanMap
from curation_audit.releases.release import Release
from curation_audit.software import software
from curation_audit.spread_picks import Workers, pick_apart, score_share, shards_of
from tests.pipelines.test_picking import CASES, COLUMNS, IDS, SCORES, SEED, SITES, SIZES, M

ROWS = np.where(np.arange(M) % 50 == 7, np.nan, SCORES)
"""The feature of the pool, which is its score; every fiftieth row misses it."""


def release() -> Release:
    """Scores a row by its only feature."""
    return Release(
        map=MeanMap(metric="dot", center=None, root=None),
        weights=np.ones(1),
        facts={"unit": "row", "epsilon": 1.0},
        shift=np.zeros(1),
        scale=np.ones(1),
        columns=("x",),
    )


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """Three files, of row groups of 40 rows, so that there are several shards in each."""
    monkeypatch.setattr(pools, "ROWS_PER_SHARD", 90)
    table = pa.table(
        {"uid": IDS, "x": ROWS, "words": SIZES, "site": [one or None for one in SITES]}
    )
    (tmp_path / "pool").mkdir()
    for name, start, stop in (("a", 0, 130), ("b", 130, 131), ("c", 131, M)):
        part = table.slice(start, stop - start)
        pq.write_table(part, tmp_path / "pool" / f"{name}.parquet", row_group_size=40)
    return tmp_path


def opened(folder, columns=COLUMNS):
    return open_pool(SetSpec(source=ParquetSource(path="pool/*.parquet"), columns=columns), folder)


def spread(folder, rule, n_workers=1, pool=None, of=release, progress=None):
    workers = Workers.of(RunSettings(), folder / "out")
    if n_workers > 1:
        many = replace(
            workers.score, placement=replace(workers.score.placement, n_workers=n_workers)
        )
        workers = Workers(many, many)
    return pick_apart(
        of(),
        opened(folder) if pool is None else pool,
        rule,
        SEED,
        out=folder / "out",
        workers=workers,
        progress=progress or Silence(),
    )


def same(one, other) -> bool:
    return (
        one.ids == other.ids
        and np.array_equal(one.scores, other.scores, equal_nan=True)
        and (one.n_pool, one.n_unscored) == (other.n_pool, other.n_unscored)
    )


def test_shards_are_the_pool_in_order(folder):
    pool = opened(folder)
    shards = pool.shards()
    assert [len(one) for one in shards] == [80, 50, 1, 80, 80, 80, 29]
    assert [one.first for one in shards] == [0, 80, 130, 131, 211, 291, 371]
    ids = [name for one in shards for name in one.ids(np.arange(len(one)))]
    assert ids == IDS
    found = np.concatenate([block for one in shards for block in one.blocks(("x",), 1)])
    np.testing.assert_array_equal(found[:, 0], ROWS)
    assert np.concatenate([one.sizes() for one in shards]).tolist() == SIZES.tolist()
    assert len({one.fingerprint() for one in shards}) == len(shards)
    unnamed = opened(folder, Columns(features=("x",))).shards()
    assert unnamed[3].ids(np.array([0, 79])) == ["row-132", "row-211"]


@pytest.mark.parametrize("name", sorted(CASES))
@pytest.mark.parametrize("kind", ["parquet", "csv"])
def test_every_rule_picks_as_one_process_does(name, kind, folder):
    pool = opened(folder)
    if kind == "csv":
        rows = zip(IDS, SCORES, SIZES, SITES, strict=True)
        (folder / "pool.csv").write_text(
            "\n".join(["uid,x,words,site", *(",".join(map(str, row)) for row in rows)])
        )
        pool = open_pool(SetSpec(source=CsvSource(path="pool.csv"), columns=COLUMNS), folder)
        assert isinstance(pool, PoolInMemory)
        assert [len(one) for one in pool.shards()] == [90, 90, 90, 90, 40]
    expected = pick(release(), pool, CASES[name], SEED)
    assert 0 < len(expected.ids) < M
    assert expected.n_unscored == (8 if kind == "parquet" else 0)
    assert same(spread(folder, CASES[name], pool=pool), expected)


@pytest.mark.parametrize("rule", [TopK(k=M), TopFraction(fraction=0.5), TopK(k=396), TopK(k=1)])
def test_all_rows_those_without_a_score_and_one(rule, folder):
    assert same(spread(folder, rule), pick(release(), opened(folder), rule, SEED))


@pytest.mark.parametrize(
    "rule", [TopK(k=37), PerGroup(by="site", k=9), TokenBudget(budget=333)], ids=lambda r: r.name
)
def test_processes_pick_as_one_does(rule, folder):
    assert same(spread(folder, rule, n_workers=2), pick(release(), opened(folder), rule, SEED))


def test_one_process_scores_on_one_thread_as_workers_do(folder, monkeypatch):
    """By several, a product of 256 rows has other last bits, and equal rows may part."""
    threads, score = [], Release.score

    def noted(one, rows):
        threads.append(max(library["num_threads"] for library in threadpool_info()))
        return score(one, rows)

    monkeypatch.setattr(Release, "score", noted)
    with threadpool_limits(2):
        pick(release(), opened(folder), TopK(k=37), SEED)
        spread(folder, TopK(k=37))
    assert set(threads) == {1}


def test_layouts_of_a_pool_do_not_matter(folder):
    """The same rows in one file of one row group, and backwards."""
    expected = pick(release(), opened(folder), TopK(k=37), SEED)
    table = pq.read_table(folder / "pool")
    for old in (folder / "pool").iterdir():
        old.unlink()
    for order in (np.arange(M), np.arange(M)[::-1]):
        pq.write_table(table.take(order), folder / "pool" / "all.parquet")
        assert same(spread(folder, TopK(k=37)), expected)


@pytest.fixture
def scored(monkeypatch) -> list[int]:
    """The numbers of the shards that this process scores."""
    numbers, run = [], ScoreShard.run

    def noted(job, shard):
        numbers.append(shard.number)
        return run(job, shard)

    monkeypatch.setattr(ScoreShard, "run", noted)
    return numbers


def scored_share(folder, share: slice) -> int:
    workers = Workers.of(RunSettings(), folder / "out")
    return score_share(release(), opened(folder), folder / "out", share, workers, Silence())


def test_what_was_scored_is_not_scored_again(folder, scored):
    """A run that was stopped after three shards; the file of one of them was cut short."""
    assert scored_share(folder, slice(0, 3)) == 3
    assert scored == [0, 1, 2]
    broken = folder / "out" / FOLDER / f"{shards_of(release(), opened(folder))[1].key}.chunk"
    broken.write_bytes(broken.read_bytes()[:-9])
    expected = pick(release(), opened(folder), TopK(k=37), SEED)
    assert same(spread(folder, TopK(k=37)), expected)
    assert scored == [0, 1, 2, 1, 3, 4, 5, 6]
    assert same(spread(folder, TopK(k=50)), pick(release(), opened(folder), TopK(k=50), SEED))
    assert len(scored) == 8
    modes = {one.stat().st_mode & 0o777 for one in (folder / "out" / FOLDER).iterdir()}
    assert (modes, (folder / "out" / FOLDER).stat().st_mode & 0o777) == ({0o600}, 0o700)


def test_shares_make_the_whole(folder, scored):
    sizes = [scored_share(folder, slice(shard, None, 3)) for shard in (2, 0, 1, 0)]
    assert (sizes, sorted(scored)) == ([2, 3, 2, 3], list(range(7)))
    expected = pick(release(), opened(folder), TopK(k=37), SEED)
    assert same(spread(folder, TopK(k=37)), expected)
    assert len(scored) == 7


def test_scores_of_another_release_are_not_taken(folder, scored):
    spread(folder, TopK(k=37))
    other = replace(release(), weights=-np.ones(1))
    assert same(
        spread(folder, TopK(k=37), of=lambda: other),
        pick(other, opened(folder), TopK(k=37), SEED),
    )
    assert len(scored) == 14


class Steps(Silence):
    """What was told, by phase."""

    def __init__(self):
        self.told = []

    def phase(self, name, total):
        self.told.append([name, total, 0])
        return self

    def __enter__(self):
        return lambda steps: self.told[-1].__setitem__(2, self.told[-1][2] + steps)

    def __exit__(self, *_):
        return None


def test_progress_counts_rows_and_then_shards(folder):
    steps = Steps()
    spread(folder, TopK(k=37), progress=steps)
    counts = ["counts", 7, 7]  # four digits, and the ties
    assert steps.told == [["scores", M, M], *[counts] * 5, ["picks", 7, 7]]


@pytest.mark.parametrize("late", [False, True])
def test_a_pool_that_changes_while_it_is_scored_is_refused(folder, monkeypatch, late):
    """A file is written anew once its shards are known; or while it is read."""
    path = folder / "pool" / "c.parquet"

    def written_anew(*_):
        pq.write_table(pq.read_table(path), path, row_group_size=40)
        os.utime(path, (1, 1))

    shards = shards_of(release(), opened(folder))
    if late:
        monkeypatch.setattr(Release, "score", lambda _, rows: written_anew() or np.zeros(len(rows)))
    else:
        written_anew()
    job = ScoreShard(release(), ScoreFolder(folder / "out"), software())
    with pytest.raises(InputError, match="public: was changed while it was picked from"):
        job.run(shards[4])
    assert not (folder / "out").exists()
    path.unlink()
    with pytest.raises(InputError, match=r"pool/c\.parquet\): is not there any more"):
        job.run(shards[4])


def test_a_pool_that_changes_while_it_is_asked_is_refused(folder, monkeypatch):
    """A file gets other rows once all is scored: their ids do not belong to these scores."""
    path = folder / "pool" / "c.parquet"
    ask = AskShard.run

    def shorter_meanwhile(job, shard):
        if path.stat().st_mtime_ns != 1:
            pq.write_table(pq.read_table(path)[::-1][:200], path, row_group_size=40)
            os.utime(path, ns=(1, 1))
        return ask(job, shard)

    monkeypatch.setattr(AskShard, "run", shorter_meanwhile)
    for rule in (TopK(k=37), PerGroup(by="site", k=9)):
        with pytest.raises(InputError, match="public: was changed while it was picked from"):
            spread(folder, rule)
        pq.write_table(pq.read_table(path), path, row_group_size=40)


def test_a_pool_without_rows_and_row_groups_without_any(folder):
    """Writers end with an empty row group, or begin with one."""
    pool = folder / "pool"
    table = pq.read_table(pool / "a.parquet")
    for old in pool.iterdir():
        old.unlink()
    with pq.ParquetWriter(pool / "a.parquet", table.schema) as file:
        for rows in (0, 100, 0, 100, 0):
            file.write_table(table[:rows], row_group_size=100)
    two = opened(folder, Columns(features=("x",)))
    assert [len(one) for one in two.shards()] == [100, 100]
    assert same(spread(folder, TopK(k=7), pool=two), pick(release(), two, TopK(k=7), SEED))
    pq.write_table(table[:0], pool / "a.parquet")
    assert spread(folder, Threshold(minimum=0.0)).ids == []


def test_scores_that_a_worker_does_not_see_are_told(folder, monkeypatch):
    monkeypatch.setattr(ScoreFolder, "keep", lambda *_: None)
    with pytest.raises(InputError, match="misses scores that were stored there; all workers must"):
        spread(folder, TopK(k=37))


def test_a_worker_with_other_software_refuses(folder):
    place = ScoreFolder(folder / "out")
    other = software() | {"numpy": "0.1"}
    for job in (ScoreShard(release(), place, other), AskShard(len, place, TopK(k=1), other)):
        with pytest.raises(InputError, match="a worker has another numpy than this machine"):
            job.check_here()
        replace(job, software=software()).check_here()


def test_one_id_on_several_shards_is_refused(folder):
    path = folder / "pool" / "c.parquet"
    table = pq.read_table(path)
    column = pa.array([IDS[0], *IDS[132:]])
    pq.write_table(table.set_column(0, "uid", column), path, row_group_size=40)
    with pytest.raises(InputError, match="'doc 0': is the id of several picked rows"):
        spread(folder, TopK(k=M))


@dataclass(frozen=True, slots=True, eq=False)
class Deadly(Release):
    """Kills its process by SIGKILL once; not the process of the test."""

    mark: str = ""
    driver: int = 0

    def score(self, features):
        if os.getpid() != self.driver and not Path(self.mark).exists():
            Path(self.mark).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return Release.score(self, features)


def deadly(folder):
    one = release()
    parts = (one.map, one.weights, one.facts, one.shift, one.scale)
    made = Deadly(*parts, columns=("x",), mark=str(folder / "killed"), driver=os.getpid())
    return lambda: made


def test_a_killed_process_loses_nothing_that_was_finished(folder):
    of = deadly(folder)
    with pytest.raises(Exception, match="terminated abruptly"):
        spread(folder, TopK(k=37), n_workers=2, of=of)
    expected = pick(release(), opened(folder), TopK(k=37), SEED)
    assert same(spread(folder, TopK(k=37), n_workers=2, of=of), expected)


# the commands


def command_line(*words) -> list[str]:
    run = "from curation_audit.cli import main; main()"
    return [sys.executable, "-c", run, *map(str, words)]


def protected(folder, command) -> Path:
    """A pipeline on the pool of three files, and its release."""
    rng = np.random.default_rng(3)
    pq.write_table(pa.table({"x": rng.standard_normal(50)}), folder / "private.parquet")
    table = pa.table({"uid": IDS, "x": rng.standard_normal(M)})
    for name, start in (("a", 0), ("b", 150), ("c", 300)):
        pq.write_table(table.slice(start, 150), folder / "pool" / f"{name}.parquet")
    path = folder / "pipeline.yaml"
    path.write_text(
        """version: 1
name: spread
seed: 5
private: {source: {kind: parquet, path: private.parquet}, ledger: budget.ledger}
public: {source: {kind: parquet, path: pool}, columns: {id: uid}}
curate:
  scorer: {method: mean}
  select: {rule: top_k, k: 40}
  protect: {mechanism: gaussian_mean, epsilon: 1.0, delta: 1.0e-5, adjacency: zero_out}
"""
    )
    given = ("--epsilon", 2, "--delta", 1e-5, "--unit", "row", "--adjacency", "zero_out")
    assert command("ledger", "set-budget", folder / "budget.ledger", *given)[0] == 0
    assert command("curate", "--pipeline", path, "--out", folder / "one")[0] == 0
    return path


def picked(folder: Path) -> bytes:
    return (folder / "picks.parquet").read_bytes()


def test_two_workers_write_what_one_writes(folder, command):
    path = protected(folder, command)
    more = ("--workers", 2, "--quiet")
    code, told, err = command("curate", "--pipeline", path, "--out", folder / "two", *more)
    assert (code, err) == (0, "")
    assert "stored before: nothing was spent" in told
    assert picked(folder / "two") == picked(folder / "one")
    left = {one.name for one in (folder / "two").iterdir()}
    assert left == {one.name for one in (folder / "one").iterdir()}


def test_workers_of_any_scheduler_score_and_curate_picks(folder, command, monkeypatch):
    path = protected(folder, command)
    by = ("--pipeline", path, "--release", folder / "one" / "release.npz", "--out", folder / "two")
    for shard in (1, 0):
        code, told, err = command("curate-worker", *by, "--shard", shard, "--of", 2, "--quiet")
        assert (code, err) == (0, "")
        assert f"share {shard} of 2: {2 - shard} shards of the pool are scored" in told
    assert len(list((folder / "two" / FOLDER).glob("*.chunk"))) == 3
    with monkeypatch.context() as patch:
        patch.setattr(ScoreShard, "run", None)  # nothing is left to score
        assert command("curate", *by)[0] == 0
    assert picked(folder / "two") == picked(folder / "one")
    assert not (folder / "two" / FOLDER).exists()
    code, _, err = command("curate-worker", *by, "--shard", 2, "--of", 2)
    assert (code, "--shard: found 2; expected 0 to 1" in err) == (2, True)


def test_a_curation_that_is_killed_goes_on_where_it_was(folder, command, monkeypatch):
    """By SIGKILL, once the first shard is stored; the next run scores the others only."""
    path = protected(folder, command)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))
    by = ("--pipeline", path, "--release", folder / "one" / "release.npz", "--out", folder / "two")
    code, _, _ = command("curate-worker", *by, "--shard", 0, "--of", 3)
    assert code == 0
    running = subprocess.Popen(command_line("curate", *by, "--workers", 2, "--quiet"))
    deadline = time.monotonic() + 60
    while len(list((folder / "two" / FOLDER).glob("*.chunk"))) < 2 and running.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.002)
    running.kill()
    running.wait()
    assert command("curate", *by)[0] == 0
    assert picked(folder / "two") == picked(folder / "one")


@pytest.mark.parametrize("workers", [1, 2])
def test_what_somebody_else_keeps_under_the_same_name_stays(folder, command, workers):
    path = protected(folder, command)
    theirs = folder / "two" / FOLDER / "of last year.csv"
    theirs.parent.mkdir(parents=True)
    theirs.write_text("1,2,3")
    place = ("--pipeline", path, "--out", folder / "two")
    assert command("curate", *place, "--workers", workers, "--quiet")[0] == 0
    assert [one.name for one in theirs.parent.iterdir()] == [theirs.name]
    assert theirs.read_text() == "1,2,3"


def test_a_curation_that_is_stopped_leaves_the_last_one_as_it_was(folder, command, monkeypatch):
    """Its release beside the picks and the card of another would be told by neither."""
    path = protected(folder, command)
    place = ("--pipeline", path, "--out", folder / "one", "--workers", 2, "--quiet")
    before = {one.name: one.read_bytes() for one in (folder / "one").iterdir()}
    with monkeypatch.context() as patch:
        patch.setattr(Picks, "of", None)
        assert command("curate", *place, "--epsilon", 0.5)[0] != 0
    assert {name: (folder / "one" / name).read_bytes() for name in before} == before
    left = folder / "one" / FOLDER
    assert (left.stat().st_mode & 0o777, len(list(left.glob("*.chunk")))) == (0o700, 3)
    assert command("curate", *place, "--epsilon", 0.5)[0] == 0
    assert {one.name for one in (folder / "one").iterdir()} == {*before}
    assert picked(folder / "one") != before["picks.parquet"]
