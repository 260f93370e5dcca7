"""How good the noise of a run is: three tiers, and what each of them guarantees in words."""

from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

TierName: TypeAlias = Literal["research", "hardened", "strict"]
ReleaseTier: TypeAlias = Literal["hardened", "strict"]
"""What may be asked for; research is what is left where neither is possible."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tier:
    """Where noise comes from and what is proven of it; ``for_release``: whether it may leave."""

    name: TierName
    noise: str
    for_release: bool


SEEDED: Final = Tier(
    name="research",
    noise=(
        "research tier, not for release: seeded streams, so that the audit can be repeated; never "
        "release a scorer or picks made so"
    ),
    for_release=False,
)
"""Audits, sweeps and forecasts."""

ROUNDED: Final = Tier(
    name="research",
    noise=(
        "research tier, not for release: keyed by the operating system, but added and rounded in "
        "float32, whose low bits and short tails tell the value from the noise"
    ),
    for_release=False,
)
"""A module in float32, where somebody insists."""

HARDENED: Final = Tier(
    name="hardened",
    noise=(
        "AES-256 in counter mode, keyed by the operating system and never stored; float64, "
        "released on a grid 2^20 times finer than the noise; the guarantee is that of exact "
        "numbers, and not proven for floating-point ones"
    ),
    for_release=True,
)

STRICT: Final = Tier(
    name="strict",
    noise=(
        "exact discrete Gaussian numbers by OpenDP, from the operating system's generator, on a "
        "sum of whole numbers: every unit's vector is computed apart and rounded towards zero onto "
        "a public grid, so that no rounding is left out of the guarantee; how long it takes is not "
        "covered"
    ),
    for_release=True,
)
