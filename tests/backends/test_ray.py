"""Tasks of Ray Core, with the real engine on this machine."""

import os
import signal
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from curation_audit.auditing.engine import run_audit
from curation_audit.auditing.progress import Silence
from curation_audit.auditing.run_settings import RunSettings
from curation_audit.backends.base import Placement, Resources
from curation_audit.backends.ray import RayCore
from curation_audit.checks import InputError, SettingError, Unfinished
from curation_audit.config import load_plan
from curation_audit.picks import pick
from curation_audit.pipelines.scorers.mean import Mean
from curation_audit.spread_picks import Workers, pick_apart
from tests import test_spread_picks as pools
from tests.auditing.test_share import quick, same
from tests.backends.jobs import Elsewhere, Kept, Killed, Square, all_results, squares

ray = pytest.importorskip("ray", reason="Ray is not installed: make test-ray")

pytestmark = pytest.mark.ray


@pytest.fixture(scope="module", autouse=True)
def engine():
    """Two processors, and a GPU that Ray is told of, whether there is one or not."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")  # no test talks to a network
        ray.shutdown()
        ray.init(
            num_cpus=2,
            num_gpus=1,
            object_store_memory=80 * 2**20,
            include_dashboard=False,
            log_to_driver=False,
            _system_config={"automatic_object_spilling_enabled": False},
        )
        yield
        ray.shutdown()


def backend(n_workers: int = 2, **resources) -> RayCore:
    return RayCore(Placement(n_workers=n_workers, resources=Resources(**resources)))


@pytest.mark.parametrize("n_workers", [1, 2, 50])
def test_every_task_comes_once_and_is_kept_by_then(n_workers):
    kept, seen = Kept(), []
    work = kept.work(Square(), 20)
    found = all_results(backend(n_workers), work, lambda: seen.append(len(kept.results)))
    assert found == kept.results == squares(20)
    assert all(n >= i for i, n in enumerate(seen, 1))


def test_a_killed_worker_changes_nothing(tmp_path):
    assert all_results(backend(), Kept().work(Killed(tmp_path, 2), 6)) == squares(6)
    assert len(list(tmp_path.iterdir())) == 2


def test_a_task_that_kills_every_worker_ends_unfinished(tmp_path):
    with pytest.raises(Unfinished, match="Ray lost a task more than 3 times"):
        all_results(backend(), Kept().work(Killed(tmp_path, 99), 6))
    assert len(list(tmp_path.iterdir())) == 4


@pytest.mark.parametrize(
    ("job", "told"),
    [
        (Square(fails=1), r"^curate\.scorer 'mine': gave scores that are NaN$"),
        (Elsewhere(), "another numpy"),
    ],
)
def test_what_a_job_raises_is_raised_as_it_was_and_printed_nowhere(job, told, capfd):
    with pytest.raises(InputError, match=told) as raised:
        all_results(backend(), Kept().work(job, 3))
    assert type(raised.value) is InputError
    time.sleep(1)
    assert capfd.readouterr() == ("", "")


class Strange(Exception):
    """Pickles, and cannot be read again."""

    def __init__(self, one, two):
        super().__init__(f"private value {one} {two}")


class Raises(Square):
    def run(self, task):
        raise Strange(1, 2)


def test_an_error_that_cannot_travel_is_told_by_its_name():
    with pytest.raises(RuntimeError, match=r"^Strange$"):
        all_results(backend(), Kept().work(Raises(), 2))


def test_a_job_that_cannot_travel_is_told():
    job = Square()
    object.__setattr__(job, "fails", lambda: None)
    with pytest.raises(InputError, match="cannot be sent to worker processes"):
        all_results(backend(), Kept().work(job, 3))


class Busy:
    """Tells when it began and ended."""

    def check_here(self) -> None:
        pass

    def run(self, task: int) -> tuple[float, float]:
        started = time.time()
        time.sleep(0.3)
        return started, time.time()


def most_at_a_time(spans) -> int:
    return max(sum(a <= start < b for a, b in spans) for start, _ in spans)


@pytest.mark.parametrize(
    ("n_workers", "resources", "most"),
    [
        (1, {"cpus": 0.1}, 1),
        (8, {"cpus": 1}, 2),
        (8, {"cpus": 0.1, "gpus": 1}, 1),
        (8, {"cpus": 0.1, "gpus": 0.5}, 2),
        (8, {"cpus": 0.1, "gpus": 0.25}, 4),
    ],
)
def test_tasks_share_processors_and_gpus_as_they_are_told(n_workers, resources, most):
    """GPUs are logical: Ray counts them, and this machine may have none.

    Never more than there is room for; and side by side, once Ray has started its processes.
    """
    deadline, reached = time.monotonic() + 60, 0
    while reached < min(most, 2) and time.monotonic() < deadline:
        found = all_results(backend(n_workers, **resources), Kept().work(Busy(), 8))
        reached = max(reached, most_at_a_time(found.values()))
        assert reached <= most
    assert reached >= min(most, 2)


@pytest.mark.parametrize("resources", [{"gpus": 2}, {"cpus": 3}])
def test_what_no_node_has_is_refused(resources):
    with pytest.raises(
        SettingError, match=r"which no node of Ray has; expected at most .* 2 and 1"
    ):
        all_results(backend(**resources), Kept().work(Square(), 1))


class Large:
    """A megabyte a task."""

    def check_here(self) -> None:
        pass

    def run(self, task: int) -> np.ndarray:
        return np.full(2**17, task, dtype=np.float64)


def test_more_than_the_object_store_holds_passes_through_it():
    """160 MB, all of them kept here, through a store of 80 MB that may not spill."""
    found = all_results(backend(2), Kept().work(Large(), 160))
    assert all((found[task] == task).all() for task in range(160))
    assert all(one.flags.writeable for one in found.values())


def test_work_that_is_stopped_leaves_no_task_running(tmp_path):
    results = backend(2).results(Kept().work(Square(seconds=0.2), 50))
    next(results)
    results.close()
    deadline = time.monotonic() + 20
    while ray.available_resources().get("CPU", 0) < 2 and time.monotonic() < deadline:
        time.sleep(0.1)
    assert ray.available_resources()["CPU"] == 2


def on_ray(tree):
    quick(tree)
    tree["run"] = {"backend": "ray", "workers": 2, "device": "cpu"}


def test_an_audit_on_ray_ends_with_the_bytes_of_one_process(small, command, tmp_path):
    """Begun on Ray, ended here, and the other way: the run folder is the same."""
    pipeline = small(on_ray)
    for folder, more in (("ray", ()), ("local", ("--set", "run.backend=local"))):
        place = ("--pipeline", pipeline, "--out", tmp_path / folder, "--quiet")
        code, _, err = command("attack", *place, *more)
        assert code == 0, err
    assert same(tmp_path / "ray", tmp_path / "local")
    names = [sorted(p.name for p in (tmp_path / n / "cache").iterdir()) for n in ("ray", "local")]
    assert names[0] == names[1]


@dataclass(frozen=True)
class Deadly(Mean):
    """A mean whose first worker is killed; not this process, which curates for real."""

    mark: str = ""
    driver: int = 0

    def fit(self, *arguments, **named):
        if os.getpid() != self.driver and not Path(self.mark).exists():
            Path(self.mark).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().fit(*arguments, **named)


@pytest.mark.parametrize("shadows", [48, pytest.param(512, marks=pytest.mark.slow)])
def test_an_audit_of_which_a_worker_is_killed(small, tmp_path, shadows):
    mark = tmp_path / "killed"
    plan = load_plan(small(on_ray), (f"attack.shadows={shadows}",))
    plan = replace(plan, scorer=Deadly(mark=str(mark), driver=os.getpid()))
    here = replace(plan.run, out=tmp_path / "local", backend="local", workers=1)
    run_audit(replace(plan, run=replace(plan.run, out=tmp_path / "ray")))
    assert mark.exists()
    run_audit(replace(plan, run=here))
    assert same(tmp_path / "ray", tmp_path / "local")


# shards of a pool

folder = pools.folder


def picks_on_ray(folder, rule, of=pools.release):
    run = RunSettings(backend="ray", workers=2)
    return pick_apart(
        of(),
        pools.opened(folder),
        rule,
        pools.SEED,
        out=folder / "out",
        workers=Workers.of(run, folder / "out"),
        progress=Silence(),
    )


@pytest.mark.parametrize("name", sorted(pools.CASES))
def test_shards_on_ray_give_the_picks_of_one_process(name, folder):
    expected = pick(pools.release(), pools.opened(folder), pools.CASES[name], pools.SEED)
    assert pools.same(picks_on_ray(folder, pools.CASES[name]), expected)


def test_a_worker_that_is_killed_while_it_scores_changes_no_pick(folder):
    expected = pick(pools.release(), pools.opened(folder), pools.TopK(k=37), pools.SEED)
    assert pools.same(picks_on_ray(folder, pools.TopK(k=37), pools.deadly(folder)), expected)
    assert (folder / "killed").exists()


def test_the_curate_command_on_ray_writes_what_one_process_writes(folder, command):
    path = pools.protected(folder, command)
    on = ("--set", "run.backend=ray", "--workers", 2, "--quiet")
    code, _, err = command("curate", "--pipeline", path, "--out", folder / "ray", *on)
    assert (code, err) == (0, "")
    assert pools.picked(folder / "ray") == pools.picked(folder / "one")
