"""What a policy accepts, and what it asks of an audit before it believes it.

A policy knows nothing of YAML (``config/policy_section.py`` reads one) and nothing of a run: it
can be held against any finished audit.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias, get_args

from curation_audit.checks import SettingError, did_you_mean, one_of
from curation_audit.observations import STAGES, Stage
from curation_audit.results import Adjacency, Control

Bound: TypeAlias = Literal["upper", "lower"]
EPSILON: Final = "epsilon"
AVERAGE_EXPOSURE: Final = "average_exposure"
MAXIMUM_EXPOSURE: Final = "maximum_exposure"
OF_HEADLINE: Final = ("auc", "advantage", "balanced_accuracy")
TPR_PREFIX: Final = "tpr_at_fpr_"
METRICS: Final = (
    *OF_HEADLINE,
    f"{TPR_PREFIX}0.01",
    AVERAGE_EXPOSURE,
    MAXIMUM_EXPOSURE,
    EPSILON,
)


def rate_of(metric: str) -> float | None:
    """The false-positive rate that a metric names, in (0, 1); ``None`` where it names none.

    >>> rate_of("tpr_at_fpr_0.01"), rate_of("tpr_at_fpr_1e-3"), rate_of("auc")
    (0.01, 0.001, None)
    """
    number = metric.removeprefix(TPR_PREFIX)
    if number == metric or not re.fullmatch(r"[0-9]*\.?[0-9]+(e-?[0-9]{1,3})?", number):
        return None
    rate = float(number)
    return rate if 0 < rate < 1 else None


@dataclass(frozen=True, slots=True, kw_only=True)
class AppetiteLine:
    """How much leakage is accepted at one stage.

    ``at_most`` is a fraction (0.6, never 60), or nats where the metric is ``epsilon``. ``bound``:
    which end of the measured interval must be at most that for a line to speak for a release.
    ``lower`` is the weaker demand, and the weaker the audit the easier it is met.
    """

    stage: Stage
    metric: str
    at_most: float
    bound: Bound = "upper"

    def __post_init__(self) -> None:
        """Check the words and the number; errors name the field."""
        one_of("stage", self.stage, STAGES)
        one_of("bound", self.bound, get_args(Bound))
        if self.metric not in METRICS and rate_of(self.metric) is None:
            hint = did_you_mean(self.metric, METRICS)
            if self.metric.startswith("tpr"):
                hint = f"expected {TPR_PREFIX}RATE with a rate between 0 and 1, as {METRICS[3]}"
            raise SettingError("metric", f"found {self.metric!r}", hint)
        most = math.inf if self.metric == EPSILON else 1.0
        if not (0 <= self.at_most <= most and math.isfinite(self.at_most)):
            unit = "nats, 0 or more" if self.metric == EPSILON else "a fraction from 0 to 1"
            raise SettingError("at_most", f"found {self.at_most}", f"expected {unit}")

    @property
    def name(self) -> str:
        """What the line is about, e.g. ``scores auc (upper)``; told apart from all others."""
        return f"{self.stage} {self.metric} ({self.bound})"


@dataclass(frozen=True, slots=True, kw_only=True)
class PowerRequirement:
    """How large an audit must have been; ``None`` asks for nothing.

    ``smallest_fpr``: at every stage of the appetite, a true-positive rate must have been resolved
    at a false-positive rate of at most this.
    """

    shadows: int | None = None
    candidates: int | None = None
    smallest_fpr: float | None = None

    def __post_init__(self) -> None:
        """Check the numbers; errors name the field."""
        for name in ("shadows", "candidates"):
            value: int | None = getattr(self, name)
            if value is not None and value < 1:
                raise SettingError(name, f"found {value}", "expected a number of at least 1")
        if self.smallest_fpr is not None and not 0 < self.smallest_fpr < 1:
            raise SettingError(
                "smallest_fpr", f"found {self.smallest_fpr}", "expected a rate between 0 and 1"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimRequirement:
    """A differential privacy claim that must stand beside the audit, unrefuted.

    ``epsilon`` in nats at a delta of at most ``delta``, for exactly this ``adjacency`` and
    ``unit`` (``row``, or the unit column): epsilons of other neighbours are other numbers.
    """

    adjacency: Adjacency
    epsilon: float
    delta: float = 1e-5
    unit: str = "row"

    def __post_init__(self) -> None:
        """Check the words and the numbers; errors name the field."""
        one_of("adjacency", self.adjacency, get_args(Adjacency))
        if not 0 < self.epsilon < math.inf:
            raise SettingError("epsilon", f"found {self.epsilon}", "expected nats, above 0")
        if not 0 <= self.delta < 1:
            raise SettingError("delta", f"found {self.delta}", "expected 0 or more, below 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class Requirements:
    """What must be there before a number of an audit may speak for a release."""

    controls: tuple[Control, ...] = ()
    attacks: Mapping[Stage, tuple[str, ...]] = field(default_factory=dict)
    power: PowerRequirement = field(default_factory=PowerRequirement)
    claim: ClaimRequirement | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """A risk appetite, by name, and what it requires."""

    name: str
    appetite: tuple[AppetiteLine, ...]
    requires: Requirements = field(default_factory=Requirements)

    def __post_init__(self) -> None:
        """Check that something is accepted, and nothing twice."""
        if not self.appetite:
            raise SettingError(
                "appetite", "found no line", "without one nothing can speak for a release"
            )
        names = [line.name for line in self.appetite]
        for i, name in enumerate(names):
            if name in names[:i]:
                raise SettingError(f"appetite.{i}", f"{name!r} stands twice", "remove one")

    @property
    def stages(self) -> tuple[Stage, ...]:
        """The stages of the appetite, in their order."""
        return tuple(stage for stage in STAGES if any(one.stage == stage for one in self.appetite))
