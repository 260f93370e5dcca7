"""Settings of a private mechanism, compared on a public stand-in for the private set."""

import dataclasses
import math
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np

from curation_audit.auditing.plan import AuditPlan
from curation_audit.auditing.progress import Progress, Silence
from curation_audit.checks import SettingError
from curation_audit.pipelines.protection.protect import (
    Protected,
    ProtectSettings,
    describe_protection,
    protect,
)
from curation_audit.pipelines.protection.shard_votes import ShardVoting
from curation_audit.pipelines.protection.tuning import (
    PUBLIC_ROWS,
    TUNING,
    UNTUNABLE,
    PublicTuning,
    candidates,
    choices_of,
)
from curation_audit.pipelines.scorers.rank_quality import HALF, RankQuality
from curation_audit.results import Estimate
from curation_audit.streams import Streams
from curation_audit.sweeping.plan import site_of
from curation_audit.sweeping.utility import accuracy_of, mean_estimate, repeated
from curation_audit.training.device import one_thread
from curation_audit.types import Floats
from curation_audit.version import __version__

ON_PUBLIC = "on public rows: nothing was spent"
AND_TEST = "where the test set is public, too, which nobody checked"
By: TypeAlias = Literal["auc", "accuracy"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TunePlan:
    """The pipeline without protection, with the stand-in as its private set, and what is tuned.

    ``checked``: in words, how it was made sure that the stand-in is no part of the private set.
    """

    base: AuditPlan
    settings: ProtectSettings
    tuning: PublicTuning
    checked: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One choice of settings: how well stand-in units rank above the pool, and the accuracy.

    ``accuracy`` is ``None`` where it is not what is chosen by: it looks at the test set.
    """

    choice: dict[str, Any]
    auc: Estimate
    accuracy: Estimate | None

    def value(self, by: By) -> float:
        """What it is chosen by."""
        found = self.auc if by == "auc" else self.accuracy
        return -math.inf if found is None else found.value


def run_tune(
    plan: TunePlan, by: By = "auc", progress: Progress | None = None
) -> tuple[Measured, ...]:
    """Run every choice several times, each with noise of its own; the best ``by`` it first.

    Nothing private is looked at, so that it costs nothing; by accuracy the test set is, which must
    be public.

    Raises:
        SettingError: for a mechanism that is not possible here, or an accuracy without a model.
    """
    if by == "accuracy" and not _has_accuracy(plan.base):
        raise SettingError("--by", "found accuracy", "name a test set and a model, or take auc")
    choices = choices_of(plan.tuning.over)
    mechanism = plan.settings.scorer
    if mechanism is None:
        raise ValueError("there is no private scorer to tune.")
    if mechanism.name == ShardVoting.name:
        hint = f"{UNTUNABLE[mechanism.name]}; try its settings in a sweep"
        raise SettingError(TUNING, f"found {mechanism.name}, which cannot be tuned", hint)
    made = [
        _protected(plan, dataclasses.replace(plan.settings, scorer=one, tuning=None))
        for one in candidates(mechanism, choices)
    ]
    found = []
    with (progress or Silence()).phase("choices", len(choices)) as advance:
        for choice, one in zip(choices, made, strict=True):
            found.append(_measured(plan, choice, one, by))
            advance(1)
    return tuple(sorted(found, key=lambda one: -one.value(by)))  # stable: of equals the first


def _protected(plan: TunePlan, settings: ProtectSettings) -> Protected:
    site = site_of(plan.base, settings.adjacency)
    return protect(settings, site, plan.base.rule, plan.base.unit)


def _measured(plan: TunePlan, choice: dict[str, Any], made: Protected, by: By) -> Measured:
    confidence = plan.base.attack.confidence
    own = dataclasses.replace(plan.base, scorer=made.scorer, rule=made.rule)
    accuracy = None
    if by == "accuracy":
        accuracy = accuracy_of(own, repeated(own, plan.tuning.repeats), confidence)
    return Measured(
        choice=choice,
        auc=_within(mean_estimate(aucs(own, plan.tuning.repeats), confidence)),
        accuracy=accuracy,
    )


def _has_accuracy(plan: AuditPlan) -> bool:
    return plan.downstream is not None and plan.data.test is not None


def aucs(plan: AuditPlan, n_repeats: int) -> Floats:
    """Of several runs on all private units: the mean AUC of a unit against the pool, (R,)."""
    private, pool = plan.data.private, plan.data.pool
    quality = RankQuality(
        mu=np.inf, adjacency="zero_out", n_public=min(PUBLIC_ROWS, len(pool)), seed=plan.seed
    )
    everyone = np.ones((n_repeats, private.n_candidates), dtype=bool)
    streams = Streams(plan.seed).for_shadows("utility", range(n_repeats))
    with one_thread():
        fitted = plan.scorer.fit(private, everyone, pool, streams=streams)
        totals = quality.exact(fitted, private, private.unit_inclusion(everyone), pool)
    return totals / private.n_units + HALF


def tune_tree(plan: TunePlan, found: tuple[Measured, ...], by: By) -> dict[str, Any]:
    """The result as JSON values: public, and as far as the test set is where it was looked at."""
    told = describe_protection(dataclasses.replace(plan.settings, tuning=None))
    return {
        "tool": f"curation-audit {__version__}",
        "pipeline": plan.base.name,
        "tuned": ON_PUBLIC if by == "auc" else f"{ON_PUBLIC}, {AND_TEST}",
        "protection": told,
        "over": {name: list(values) for name, values in plan.tuning.over.items()},
        "repeats": plan.tuning.repeats,
        "stand_in": {
            "n_rows": len(plan.base.data.private),
            "n_units": plan.base.data.private.n_units,
            "fingerprint": plan.base.data.fingerprints["private"],
            "checked": list(plan.checked),
        },
        "chosen_by": by,
        "choices": [
            {
                "settings": one.choice,
                "auc": dataclasses.asdict(one.auc),
                "accuracy": None if one.accuracy is None else dataclasses.asdict(one.accuracy),
            }
            for one in found
        ],
        "best": found[0].choice,
    }


def _within(found: Estimate) -> Estimate:
    return dataclasses.replace(found, low=max(0.0, found.low), high=min(1.0, found.high))
