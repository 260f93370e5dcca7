"""What a report says of how a curation was made private."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from curation_audit.results import Adjacency


@dataclass(frozen=True, slots=True, kw_only=True)
class Protection:
    """How a curation was made private, in words and numbers for a report.

    ``epsilon`` at ``delta`` is ``None`` where there is no noise. ``covers``: the stages that the
    guarantee speaks of. ``events`` are the ledger's lines, ``coded_events`` the events behind them
    for an accountant (see ``event_codec``), ``sensitivities`` the arguments, ``assumptions`` who
    vouches for each step outside the mechanism. ``ablation``: run to show that it does not work.
    ``tuning``: what is known of how settings were chosen.
    """

    mechanism: str
    adjacency: Adjacency
    unit: str
    epsilon: float | None
    delta: float
    covers: tuple[str, ...]
    events: tuple[str, ...]
    sensitivities: tuple[str, ...]
    notes: tuple[str, ...]
    assumptions: Mapping[str, str]
    ablation: bool
    noise_source: str
    tuning: str
    coded_events: tuple[Mapping[str, Any], ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FineTuning:
    """Private training of the model that follows a curation, in numbers for a report.

    Every epsilon is at ``delta``: ``epsilon`` is what fine-tuning spends by itself,
    ``curation_epsilon`` what the curation spends (it covers scores and selection), and
    ``joint_epsilon`` what both spend together (it covers the model). All three are ``None`` where
    the model has no guarantee. ``summary`` tells them, or why there are none, in a sentence. The
    rest are public constants; ``noise_multiplier`` is 0 without noise.
    """

    adjacency: Adjacency
    unit: str
    delta: float
    epsilon: float | None
    curation_epsilon: float | None
    joint_epsilon: float | None
    noise_multiplier: float
    sampling_rate: float
    steps: int
    clip: float
    expected_units: float
    learning_rate: float
    momentum: float
    l2: float
    sensitivity: str
    summary: str
