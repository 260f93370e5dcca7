"""What a sweep found: frozen values; an unmeasured number is ``None``, never 0."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from curation_audit.observations import Stage
from curation_audit.results import Adjacency, Estimate


@dataclass(frozen=True, slots=True, kw_only=True)
class Usefulness:
    """What curations of one kind are worth, over ``n_repeats`` of them.

    ``accuracy`` is ``metric`` on the test set; its interval covers fresh noise (or picks) and other
    test rows. ``overlap``: the share of the unprotected picks that are picked here, too;
    ``rank_correlation``: of all scores with the unprotected ones (Spearman); ``relevant``: the
    share of the picks that are relevant. ``None``: not measured, or not defined for this kind.
    """

    n_repeats: int
    n_picked: int
    metric: Literal["accuracy", "auc"]
    accuracy: Estimate | None
    overlap: Estimate | None
    rank_correlation: Estimate | None
    relevant: Estimate | None


@dataclass(frozen=True, slots=True, kw_only=True)
class AttackedStage:
    """The headline attack on one stage, and what is shown of epsilon there.

    ``bounds``: lower bounds by method, rounded by nobody; ``declared`` is the one named beforehand
    that needs no hypothesis. ``refuted``: whether the claim is refuted here, at a confidence that
    holds for all points of the sweep together.
    """

    stage: Stage
    attack: str
    auc: Estimate
    tpr_at_one_percent: Estimate | None
    bounds: Mapping[str, float]
    declared: str | None
    refuted: bool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Ceilings:
    """What the claim of a point lets any attack reach on average."""

    epsilon: float
    auc: float
    advantage: float
    tpr_at_one_percent: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PointResult:
    """One point: ``epsilon`` is ``None`` without noise, ``mechanism`` without protection."""

    mechanism: str | None
    epsilon: float | None
    ceilings: Ceilings | None
    usefulness: Usefulness
    stages: tuple[AttackedStage, ...]
    verdict: str
    ablation: bool
    notes: tuple[str, ...]
    events: tuple[str, ...]
    folder: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Knee:
    """The smallest epsilon of a mechanism that keeps most of what curation gains.

    ``share``: how much of the gain over random picks it keeps there. ``epsilon`` is ``None`` where
    no point does, or there is no gain to keep; ``reason`` says which.
    """

    mechanism: str
    epsilon: float | None
    share: float | None
    reason: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepResult:
    """A whole sweep."""

    name: str
    adjacency: Adjacency
    delta: float
    unit: str
    confidence: float
    n_claims: int
    unprotected: PointResult
    points: tuple[PointResult, ...]
    random: Usefulness
    public_only: Usefulness
    knees: tuple[Knee, ...]
    sentence: str
    left_out: Mapping[str, str]
    warnings: tuple[str, ...]
