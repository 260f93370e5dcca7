"""What Ray Core adds to 60 seconds of work by two workers, once it is started.

    python -m benchmarks.ray_overhead            (needs the extra ``ray``)

Two kinds of work, 60 timed tasks of about a second: ``waits`` sleeps for a second and gives back a
chunk of 16 x 100,000 scores, so that nothing but the backend shows; ``trains`` are perceptrons of a
real audit. Each kind runs by processes (the local backend) and by Ray, in turn. The clock starts
with the tenth result, when both workers of either are at work. The job of ``waits`` holds 100,000
rows of 64 features.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from curation_audit import Pipeline
from curation_audit.auditing.chunks import CurationJob, Task, run_task, tasks_of
from curation_audit.auditing.plan import AttackSettings
from curation_audit.backends.base import Backend, Placement, Work
from curation_audit.backends.local import Local
from curation_audit.backends.ray import RayCore
from curation_audit.pipelines.downstream.mlp import Mlp
from curation_audit.pipelines.rules.top import TopK
from curation_audit.pipelines.scorers.mean import Mean
from curation_audit.software import software

N_TASKS, N_WORKERS, N_BEFORE = 70, 2, 10


@dataclass(frozen=True)
class Waits:
    """A second of nothing, with a payload as an audit's."""

    pool: np.ndarray

    def check_here(self) -> None:
        """Any machine will do."""

    def run(self, task: int) -> np.ndarray:
        """A chunk of scores."""
        time.sleep(1.0)
        return np.full((16, len(self.pool)), task, dtype=np.float32)


def trains(epochs: int) -> CurationJob:
    """Perceptrons on 1,000 picks."""
    rng = np.random.default_rng(0)
    pool = rng.standard_normal((20_000, 64), dtype=np.float32)
    plan = Pipeline(
        private=rng.standard_normal((500, 64), dtype=np.float32),
        public=pool,
        labels={"private": rng.integers(0, 2, 500), "public": rng.integers(0, 2, 20_000)},
        scorer=Mean(),
        select=TopK(k=1_000),
        train=Mlp(hidden=(32,), epochs=epochs, device="cpu"),
        attack=AttackSettings(shadows=16 * N_TASKS),
    ).plan()
    real = run_task(plan, Task("real", 0, 1), None)
    return CurationJob(plan, real.observation.scores, None, software(), "cpu")


def seconds(backend: Backend[Any, Any], job: Any, tasks: Sequence[Any]) -> float:
    """From the tenth result to the last."""
    work = Work(job=job, tasks=tasks, find=lambda _: None, keep=lambda *_: None)
    results = backend.results(work)
    for _ in range(N_BEFORE):
        next(results)
    started = time.perf_counter()
    for _ in results:
        pass
    return time.perf_counter() - started


def main() -> None:
    """Print both times of each kind of work, and their ratio."""
    import ray

    rng = np.random.default_rng(0)
    place = Placement(n_workers=N_WORKERS)
    kinds = {
        "waits": (Waits(rng.standard_normal((100_000, 64), dtype=np.float32)), range(N_TASKS)),
        "trains": (trains(epochs=100), tasks_of(16 * N_TASKS, "shadow")),
    }
    ray.init(num_cpus=N_WORKERS, include_dashboard=False, log_to_driver=False)
    for name, (job, tasks) in kinds.items():
        seconds(RayCore(place), job, tasks[: N_BEFORE + 2])  # starts its processes
        local = seconds(Local(place), job, tasks)
        there = seconds(RayCore(place), job, tasks)
        print(f"{name:7} processes {local:6.1f} s   ray {there:6.1f} s   {there / local - 1:+.1%}")
    ray.shutdown()


if __name__ == "__main__":
    main()
