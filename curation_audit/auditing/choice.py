"""What the fit block of pairs chooses, before anybody looks at the evaluation block."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from curation_audit.attacks.base import Attack
from curation_audit.auditing.evidence import AttackEvidence, Game
from curation_audit.auditing.terms import Terms
from curation_audit.observations import Stage
from curation_audit.statistics.bounds import (
    Counts,
    clopper_pearson_epsilon,
    pair_mean_lower,
    pair_shares,
)
from curation_audit.types import Evidence, Floats, Inclusion

DIRECTION_CONFIDENCE: Final = 0.99


@dataclass(frozen=True, slots=True)
class Block:
    """Evidence and coins of some pairs of shadows, rows 2j and 2j+1 a pair, (2P, N)."""

    evidence: Evidence
    inclusion: Inclusion

    def __post_init__(self) -> None:
        """Check that there is something, and that it is finite."""
        if self.evidence.shape != self.inclusion.shape or not self.evidence.size:
            raise ValueError(
                f"evidence {self.evidence.shape} must match inclusion {self.inclusion.shape}."
            )
        if not np.isfinite(self.evidence).all():
            raise ValueError("evidence must be finite.")

    @property
    def members(self) -> Floats:
        """Evidence in the row of each pair that holds the candidate, float64 (P, N)."""
        return self._where(self.inclusion[0::2])

    @property
    def outsiders(self) -> Floats:
        """Evidence for the same candidate in the other row, float64 (P, N)."""
        return self._where(~self.inclusion[0::2])

    @property
    def shares(self) -> Floats:
        """The share of candidates with more evidence where they are in, by pair, (P,)."""
        return pair_shares(self.members, self.outsiders)

    def reversed(self) -> "Block":
        """The same with evidence read in reverse."""
        return Block(-self.evidence, self.inclusion)

    def _where(self, first: Inclusion) -> Floats:
        return np.where(first, self.evidence[0::2], self.evidence[1::2]).astype(np.float64)


@dataclass(frozen=True, slots=True)
class Chosen:
    """What the fit block chose, with the evidence of both blocks turned so that higher = in."""

    attack: str
    fit: Block
    evaluation: Block


def attacks_at(stage: Stage, found: Sequence[AttackEvidence]) -> list[AttackEvidence]:
    """The attacks on a stage that could run."""
    return [one for one in found if one.stage == stage and one.fitted is not None]


def reads_coins(plan: Terms, attack: Attack) -> bool:
    """Whether evidence for a candidate may depend on the other coins of the same row.

    An attack that is made of others reads what any of them reads.
    """
    if "memberships" not in plan.threat.knows:
        return False
    members: Sequence[Attack] = getattr(attack, "members", ())
    return "memberships" in attack.needs or any(reads_coins(plan, one) for one in members)


def choose(able: Sequence[AttackEvidence], game: Game) -> Chosen | None:
    """The attack that names the right row most often on the fit block; ``None`` if there is none.

    Higher evidence is taken to mean "in", as every attack promises, and the other way round only
    where the fit block refutes that at 99 %: with few fit pairs the larger side of one half would
    be a coin toss, and a weak leak would lose its bound.
    """
    every = [_read(one, game) for one in able]
    return max(every, key=lambda one: float(one.fit.shares.mean()), default=None)


def _read(found: AttackEvidence, game: Game) -> Chosen:
    """One attack's blocks, in the direction that its fit block bears out."""
    if found.fitted is None:
        raise ValueError(f"{found.name} has no evidence learnt from the fit block.")
    in_fit = np.repeat(game.fit_pairs, 2)
    fit = Block(found.fitted[in_fit], game.inclusion[in_fit])
    evaluation = Block(found.fitted[~in_fit], game.inclusion[~in_fit])
    if pair_mean_lower(1 - fit.shares, DIRECTION_CONFIDENCE) > 0.5:
        return Chosen(found.name, fit.reversed(), evaluation.reversed())
    return Chosen(found.name, fit, evaluation)


def centres(fit: Block) -> Floats:
    """For each candidate the middle between its in-mean and its out-mean, (N,)."""
    middle: Floats = (fit.members.mean(axis=0) + fit.outsiders.mean(axis=0)) / 2
    return middle


def clearest_candidate(fit: Block) -> int:
    """The candidate whose right row is named most often; of those, the one with the widest gap."""
    shares = (fit.members > fit.outsiders).mean(axis=0)
    gap = (fit.members - fit.outsiders).mean(axis=0)
    return int(np.lexsort((gap, shares))[-1])


def count(members: Floats, outsiders: Floats, cut: float) -> Counts:
    """One candidate's evidence above ``cut``, in rows with it (P,) and in rows without it (P,)."""
    tp, fp = int((members > cut).sum()), int((outsiders > cut).sum())
    return Counts(tp, len(members), fp, len(outsiders))


def best_threshold(members: Floats, outsiders: Floats, delta: float, confidence: float) -> float:
    """The threshold that shows the most on the fit block, midway between two of its values.

    Where none shows anything there, the one with the largest TPR - FPR.
    """
    values = np.unique(np.concatenate([members, outsiders]))
    cuts = (values[1:] + values[:-1]) / 2 if len(values) > 1 else values

    def shown(cut: float) -> tuple[float, int]:
        counted = count(members, outsiders, cut)
        return clopper_pearson_epsilon(*counted, delta, confidence), counted.tp - counted.fp

    return max((float(cut) for cut in cuts), key=shown)
