"""Results: frozen values that carry their uncertainty, and nothing that computes.

``to_plain`` turns any of them into what JSON holds; the report's schema describes the outcome.
An unmeasured number is ``None``, never 0.
"""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np

from curation_audit.observations import Stage
from curation_audit.types import Floats


@dataclass(frozen=True, slots=True)
class Estimate:
    """A measured number with its interval; an estimate, never a bound.

    The estimand is "these candidates, new shadows" unless its holder says otherwise.
    """

    value: float
    low: float
    high: float
    confidence: float
    label: Literal["estimate"] = "estimate"


Estimand: TypeAlias = Literal["these candidates", "new candidates too"]


@dataclass(frozen=True, slots=True)
class Precision:
    """How many of those that an attack names are members, where ``prior`` of those asked are.

    ``ppv`` is ``None`` where no false positive was seen, so that the share is not resolvable.
    """

    prior: float
    ppv: Estimate | None


@dataclass(frozen=True, slots=True)
class Stability:
    """Whether decisions about a candidate that is in hold when the other members are re-drawn.

    ``flip_rate``: how often two re-draws disagree about the same candidate, on average.
    ``coin_flips``: the share of candidates whose decisions a fair coin explains (two-sided exact
    binomial test, level 5 %); ``None`` with too few re-draws to tell.
    """

    flip_rate: Estimate
    coin_flips: float | None


@dataclass(frozen=True, slots=True)
class OperatingPoint:
    """The true-positive rate at one false-positive rate, with thresholds from other pairs.

    Where the design cannot resolve ``fpr`` the rates are ``None`` and ``reason`` says why;
    ``precision`` is empty then.
    """

    fpr: float
    status: Literal["resolved", "not resolvable"]
    reason: str | None
    expected_false_positives: float
    tpr: Estimate | None = None
    realised_fpr: float | None = None
    true_positives: int | None = None
    false_positives: int | None = None
    distinct_false_positive_candidates: int | None = None
    precision: tuple[Precision, ...] = ()
    stability: Stability | None = None


@dataclass(frozen=True, slots=True)
class Metrics:
    """How well an attack's evidence tells in from out, over some pairs of shadows.

    ``auc_estimand``: what the interval of the AUC is about; all others are about these candidates.
    """

    n_pairs: int
    n_members: int
    n_nonmembers: int
    auc_estimand: Estimand
    auc: Estimate
    advantage: Estimate
    balanced_accuracy: Estimate
    tpr_at_fpr: tuple[OperatingPoint, ...]


@dataclass(frozen=True, slots=True)
class RocCurve:
    """A pooled ROC curve with a pointwise band from resampled pairs; arrays (points,)."""

    fpr: Floats
    tpr: Floats
    low: Floats
    high: Floats


@dataclass(frozen=True, slots=True)
class RiskHistogram:
    """How many candidates are exposed how much; counts between bin edges.

    A candidate's exposure is the share of pairs in which the shadow that holds it shows more
    evidence than its twin: one half on average where nothing leaks, 1 for a full leak.
    """

    bin_edges: Floats
    counts: Floats
    maximum: float
    mean: float


@dataclass(frozen=True, slots=True)
class WorstRecord:
    """One of the most exposed candidates, by the keyed hash of its id, never the id itself.

    ``id`` is ``None`` in a run that writes nothing. The interval of ``exposure`` is the exact
    binomial one, at a ``confidence`` that holds for all candidates together (Bonferroni).
    """

    id: str | None
    exposure: Estimate


@dataclass(frozen=True, slots=True)
class Records:
    """Single candidates under the headline attack, on the headline's pairs of shadows.

    ``zero_influence``: the share of candidates whose evidence is the same whichever shadow of a
    pair holds them, in every pair. ``n_above_chance``: how many have an exposure whose corrected
    interval lies above one half. ``worst``: the most exposed, at most ten, falling.
    """

    n_candidates: int
    zero_influence: float
    n_above_chance: int
    worst: tuple[WorstRecord, ...]


@dataclass(frozen=True, slots=True)
class Slice:
    """The headline attack on one group of candidates, with thresholds of the group's own.

    ``n_groups`` is 1, or how many groups were too small and pooled into this one. The numbers are
    ``None`` where even those are too few together. Intervals are not corrected for the number of
    groups.
    """

    attribute: str
    group: str
    n_groups: int
    n_candidates: int
    auc: Estimate | None
    tpr: OperatingPoint | None


@dataclass(frozen=True, slots=True)
class Subgroups:
    """The headline attack by groups of candidates; ``worst`` is the slice of largest AUC."""

    min_candidates: int
    slices: tuple[Slice, ...]
    worst: Slice | None


@dataclass(frozen=True, slots=True)
class AttackResult:
    """One attack at one stage."""

    attack: str
    title: str
    source: str
    needs: tuple[str, ...]
    status: Literal["run", "not applicable"]
    reason: str | None = None
    metrics: Metrics | None = None
    roc: RocCurve | None = None
    candidate_risk: RiskHistogram | None = None


@dataclass(frozen=True, slots=True)
class Headline:
    """The attack that was best on one half of the pairs, measured on the other half.

    ``reversed``: it ranked members below the others there, so its evidence is read in reverse.
    ``above_chance``: whether its AUC on these candidates lies above one half at a confidence that
    holds for all attacked stages together (Bonferroni); the verdict rests on it.
    ``subgroups`` is ``None`` where candidates have neither labels nor groups.
    """

    attack: str
    chosen_by: str
    n_pairs_to_choose: int
    metrics: Metrics
    reversed: bool
    above_chance: bool
    records: Records
    subgroups: Subgroups | None


@dataclass(frozen=True, slots=True)
class StageResult:
    """All attacks at one stage; ``headline`` is ``None`` where none could run."""

    stage: Stage
    status: Literal["attacked", "not observed"]
    headline: Headline | None
    attacks: tuple[AttackResult, ...]


Control: TypeAlias = Literal["random curation", "permuted inclusion", "blind classifier"]


@dataclass(frozen=True, slots=True)
class ControlResult:
    """One attack on data where it must find nothing; ``passed`` at the adjusted level."""

    control: Control
    stage: Stage | None
    attack: str
    auc: Estimate
    p_value: float
    adjusted_level: float
    passed: bool


Adjacency: TypeAlias = Literal["add_remove", "zero_out", "replace_one"]
BoundMethod: TypeAlias = Literal[
    "pair mean",
    "pair mean, GDP",
    "one run",
    "one run, f-DP",
    "Clopper-Pearson",
    "Clopper-Pearson, GDP",
    "joint beta",
]


@dataclass(frozen=True, slots=True)
class EpsilonBound:
    """A lower bound on epsilon at ``delta``, or an estimate of one; in nats.

    It holds with ``confidence`` on its own, given ``condition`` and, where there is one, the
    ``hypothesis`` on the kind of curation. ``resolution`` is what a perfect attack would have
    shown with as many ``counts``.
    """

    method: BoundMethod
    epsilon: float
    delta: float
    confidence: float
    hypothesis: str | None
    condition: str
    resolution: float
    counts: Mapping[str, int]
    label: Literal["bound", "estimate"] = "bound"


@dataclass(frozen=True, slots=True)
class StageBounds:
    """What the evaluation pairs show about epsilon at one stage.

    ``attack`` and everything else was chosen on the fit pairs. ``pair_share`` is the share of
    candidates with more evidence in the row that holds them, ``pair_share_low`` its one-sided
    lower limit.
    """

    stage: Stage
    attack: str
    adjacency: Adjacency
    n_fit_pairs: int
    n_evaluation_pairs: int
    pair_share: float
    pair_share_low: float
    results: tuple[EpsilonBound, ...]


@dataclass(frozen=True, slots=True)
class ClaimedStage:
    """A claim at one stage: ``refuted`` where a limit exceeds what it allows.

    ``epsilon_low``: by one-run guesses; ``None`` where every attack reads coins of the row. Both
    limits hold for all stages together (Bonferroni). ``pair_share`` and ``epsilon`` are what is
    claimed of this stage, which may be less than what is claimed of all that is seen; ``epsilon``
    is ``None`` where that says nothing.
    """

    stage: Stage
    pair_share_low: float
    epsilon_low: float | None
    refuted: bool
    pair_share: float
    epsilon: float | None


@dataclass(frozen=True, slots=True)
class ClaimResult:
    """A claimed guarantee beside what was measured.

    ``constants``: what the claim states, by the names of its kind. ``tpr`` at ``fpr`` (ascending,
    the rates of the audit among them) and the other ceilings are what the claim lets any attack
    reach on average; ``pair_share`` what it lets the share of ``StageBounds`` be.
    """

    kind: str
    constants: Mapping[str, float]
    adjacency: Adjacency
    epsilon: float | None
    delta: float
    auc: float
    advantage: float
    pair_share: float
    fpr: Floats
    tpr: Floats
    stages: tuple[ClaimedStage, ...]
    refuted: bool


@dataclass(frozen=True, slots=True)
class Utility:
    """What the curation is good for: the curated model against random picks of the same size."""

    metric: str
    n_test: int
    n_picked: int
    curated: float
    random_mean: float
    random_low: float
    random_high: float
    n_random: int
    interval: str
    shadows_mean: float


@dataclass(frozen=True, slots=True)
class PolicyResult:
    """One line of ``report.policy``.

    ``measured`` is ``None`` where nothing was resolvable or no attack could run; that trips, too.
    """

    stage: Stage
    metric: str
    bound: Literal["value", "low", "high"]
    above: float
    measured: float | None
    tripped: bool


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the audit came to; ``exit_code`` is what the command line ends with."""

    status: Literal["leak found", "no leak found", "audit invalid"]
    exit_code: int
    text: str


def duration(seconds: float) -> str:
    """Seconds in words.

    >>> duration(4000)
    '1.1 h'
    """
    if seconds < 90:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 3600 else f"{seconds / 3600:.1f} h"


def to_plain(value: Any) -> Any:
    """Turn results into JSON values: dataclasses to dicts, arrays and tuples to lists.

    Raises:
        ValueError: for a number that is not finite; an unmeasured number must be ``None``.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: to_plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {str(key): to_plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_plain(item) for item in value]
    if isinstance(value, np.ndarray | np.generic):
        return to_plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"a result must be finite or None, got {value}.")
    return value
