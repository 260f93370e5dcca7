"""Extraction from the picks alone: a classifier of picked rows, then LiRA at the candidate."""

from dataclasses import dataclass
from typing import ClassVar

import torch

from curation_audit import checks
from curation_audit.attacks.base import OtherPairs, known_candidates, known_pool
from curation_audit.attacks.gaussian import gaussian_evidence
from curation_audit.observations import Knowledge, Observation, Stage
from curation_audit.streams import ShadowStreams
from curation_audit.training.logistic import LogisticProblems, fit_logistic
from curation_audit.types import Evidence, Features, Floats, Inclusion, Mask


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskExtract:
    """Logistic surrogates of picked against left rows, one per shadow, all fitted at once."""

    name: ClassVar[str] = "mask_extract"
    title: ClassVar[str] = "LiRA on a surrogate fitted to the picks"
    stage: ClassVar[Stage] = "selection"
    needs: ClassVar[frozenset[str]] = frozenset({"algorithm", "pool", "candidates"})
    source: ClassVar[str] = "this project; ratio after Carlini et al. 2022"
    cost: ClassVar[str] = "about 10 S m p"

    l2: float = 1.0

    def __post_init__(self) -> None:
        """Check the penalty."""
        checks.positive(l2=self.l2)

    def evidence(
        self,
        observation: Observation,
        inclusion: Inclusion,
        knowledge: Knowledge,
        *,
        streams: ShadowStreams,
    ) -> Evidence:
        """Float64 (S, N)."""
        candidates = known_candidates(knowledge)
        surrogates = fit_surrogates(known_pool(knowledge), observation.selection.mask(), self.l2)
        signal = candidates.mean_per_unit(surrogates @ candidates.features.T)
        return gaussian_evidence(signal, inclusion, OtherPairs.of(knowledge, inclusion))


def fit_surrogates(pool: Features, mask: Mask, l2: float) -> Floats:
    """Coefficients (S, p) of logistic regressions of the picks on the pool.

    Float64, so that what a shadow's surrogate owes to its fellows' in the batch is rounding.
    """
    design = torch.tensor(pool, dtype=torch.float64)
    targets = torch.tensor(mask, dtype=torch.float64)[..., None]
    penalty = torch.full((design.shape[1],), l2, dtype=design.dtype)
    problems = LogisticProblems(design, targets, torch.ones_like(targets[..., 0]), penalty)
    coefficients: Floats = fit_logistic(problems)[:, :, 0].numpy()
    return coefficients
