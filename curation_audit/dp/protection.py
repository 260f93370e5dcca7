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
    for an accountant (see ``event_codec``), ``sensitivities`` the arguments, ``assumptions`` who vouches for each step outside the mechanism. ``ablation``: run to
    show that it does not work. ``tuning``: what is known of how settings were chosen.
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
