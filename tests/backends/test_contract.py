"""What every backend owes. Ray's row is in ``test_ray.py``, as it has an environment of its own."""

from dataclasses import replace

import pytest

from curation_audit.auditing.run_settings import RunSettings
from curation_audit.backends import BACKENDS
from curation_audit.backends.base import Placement, Resources, SlurmSettings
from curation_audit.backends.local import Local
from curation_audit.checks import InputError, SettingError
from tests.backends.jobs import Kept, Square, all_results, squares


@pytest.mark.parametrize("n_workers", [1, 2])
def test_every_task_comes_once_and_is_kept_by_then(n_workers):
    kept = Kept()
    work = kept.work(Square(), 5)
    seen = []
    found = all_results(
        Local(Placement(n_workers=n_workers)), work, lambda: seen.append(len(kept.results))
    )
    assert found == kept.results == squares(5)
    assert all(n >= i for i, n in enumerate(seen, 1))


@pytest.mark.parametrize("n_workers", [1, 2])
def test_what_a_job_raises_is_raised_as_it_was(n_workers):
    with pytest.raises(InputError, match=r"^curate\.scorer 'mine': gave scores that are NaN$"):
        all_results(Local(Placement(n_workers=n_workers)), Kept().work(Square(fails=1), 3))


@pytest.mark.parametrize("name", BACKENDS)
def test_no_work_starts_nothing(name, monkeypatch):
    monkeypatch.setenv("PATH", "")
    if name == "ray":
        pytest.importorskip("ray")
    assert all_results(BACKENDS[name](Placement()), Kept().work(Square(), 0)) == {}


def test_ray_that_is_not_there_is_told():
    try:
        import ray  # noqa: F401
    except ImportError:
        with pytest.raises(SettingError, match=r"pip install 'curation-audit\[ray\]'"):
            all_results(BACKENDS["ray"](Placement()), Kept().work(Square(), 1))
    else:
        pytest.skip("Ray is installed")


@pytest.mark.parametrize(
    ("make", "at"),
    [
        (lambda: Resources(cpus=0), "run.resources.cpus"),
        (lambda: Resources(cpus=float("nan")), "run.resources.cpus"),
        (lambda: Resources(cpus=True), "run.resources.cpus"),
        (lambda: Resources(gpus=-1), "run.resources.gpus"),
        (lambda: Resources(gpus=1.5), "run.resources.gpus"),
        (lambda: SlurmSettings(partition="a b"), "run.slurm.partition"),
        (lambda: SlurmSettings(partition="-x"), "run.slurm.partition"),
        (lambda: SlurmSettings(account="a;rm"), "run.slurm.account"),
        (lambda: SlurmSettings(qos="$(id)"), "run.slurm.qos"),
        (lambda: SlurmSettings(time="2 hours"), "run.slurm.time"),
        (lambda: SlurmSettings(time="10\n"), "run.slurm.time"),
        (lambda: SlurmSettings(memory="16 GB"), "run.slurm.memory"),
        (lambda: SlurmSettings(attempts=0), "run.slurm.attempts"),
        (lambda: SlurmSettings(poll=0), "run.slurm.poll"),
        (lambda: RunSettings(backend="dask"), "run.backend"),
        (lambda: RunSettings(backend="ray", workers="auto"), "run.workers"),
    ],
)
def test_settings_that_are_none(make, at):
    with pytest.raises(SettingError) as raised:
        make()
    assert raised.value.where == at


def test_parts_of_a_gpu_and_whole_ones():
    assert [Resources(gpus=gpus).gpus for gpus in (0, 0.25, 1, 4)] == [0, 0.25, 1, 4]
    assert SlurmSettings(time="1-12", memory="16G", partition="gpu,long").attempts == 3


def test_workers_of_a_cluster_are_not_capped_by_the_cores_here():
    settings = RunSettings(backend="slurm", workers=4096)
    assert settings.n_workers == 4096
    assert replace(settings, backend="local").n_workers < 4096
