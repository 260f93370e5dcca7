"""What picks are worth to a model that is trained on private rows, too.

    python -m benchmarks.fine_tuning PIPELINE [--steps 20] [--rate 1.0] [--set KEY=VALUE ...]

One line an epsilon: full-batch fine-tuning from zero weights, and from the weights that the picks
of a private scorer gave. Both spend that epsilon in all, at delta 1e-5; of the second the scorer
(``dp_gd``) takes 0.5. Mean and standard deviation over 16 runs with fresh noise, on the test set.
"""

import argparse

import numpy as np
import torch

from curation_audit.auditing.curation import measure_utility, score_shadows, trained
from curation_audit.auditing.plan import AuditPlan
from curation_audit.config import load_plan
from curation_audit.pipelines.base import FittedModels
from curation_audit.pipelines.downstream.dense import DenseModels
from curation_audit.pipelines.rules.cut import tie_order
from curation_audit.streams import Streams
from curation_audit.training.device import one_thread
from curation_audit.training.mlp import Layer

CURATION = "{mechanism: dp_gd, epsilon: 0.5, delta: 1.0e-5, adjacency: zero_out}"
REPEATS = 16


def utility(plan: AuditPlan, models: FittedModels) -> str:
    """On the test set, in words."""
    test = plan.data.test
    if test is None or test.labels is None:
        raise SystemExit("the pipeline has no labelled test set.")
    found = measure_utility(models.predict_proba(test.features), test.labels, plan.utility)
    return f"{found.mean():.3f} ({found.std(ddof=1):.3f})"


def everyone(plan: AuditPlan) -> np.ndarray:
    """Nobody is left out, bool (runs, N)."""
    return np.ones((REPEATS, plan.data.private.n_candidates), dtype=bool)


def curated(plan: AuditPlan) -> FittedModels:
    """Models on picks, then fine-tuned if the plan says so."""
    streams, pool = Streams(plan.seed).for_shadows("benchmark", range(REPEATS)), plan.data.pool
    scores = score_shadows(plan, everyone(plan), streams)
    picks = plan.rule.select(scores, tie_order(pool.ids, plan.seed), streams, pool)
    return trained(plan, picks, streams, everyone(plan))


def from_scratch(plan: AuditPlan) -> FittedModels:
    """Models that are fine-tuned from zero weights."""
    if plan.fine_tuned is None:
        raise ValueError("the plan does not fine-tune.")
    streams = Streams(plan.seed).for_shadows("benchmark", range(REPEATS))
    features = torch.from_numpy(plan.data.pool.features)
    shape = (REPEATS, features.shape[1] + 1, len(plan.data.classes))
    zero = Layer(features.new_zeros(shape), features.new_zeros((REPEATS, 1, shape[2])))
    private, held = plan.data.private, everyone(plan)
    return plan.fine_tuned.model.fit(DenseModels([zero]), private, held, streams=streams)


def main() -> None:
    """Print the lines."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pipeline")
    parser.add_argument("--set", action="append", default=[])
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--rate", type=float)
    asked = parser.parse_args()
    rate = "" if asked.rate is None else f", learning_rate: {asked.rate}"
    common = f"delta: 1.0e-5, adjacency: zero_out, sampling_rate: 1.0, steps: {asked.steps}{rate}"

    def plan(*more: str) -> AuditPlan:
        return load_plan(asked.pipeline, [*asked.set, *more])

    with one_thread():
        private = f"curate.protect={CURATION}"
        bare, alone = plan(), plan(private)
        public, noisy = utility(bare, curated(bare)), utility(alone, curated(alone))
        print(f"{bare.utility} of picks alone: {public} not private, {noisy} at epsilon 0.5")
        for epsilon in (1.0, 4.0):
            tune = f"train={{model: logistic, fine_tune: {{epsilon: {epsilon}, {common}}}}}"
            only, both = plan(tune), plan(private, tune.replace("{epsilon", "{joint_epsilon"))
            print(
                f"epsilon {epsilon:g}: private rows alone {utility(only, from_scratch(only))}, "
                f"picks, then private rows {utility(both, curated(both))}"
            )


if __name__ == "__main__":
    main()
