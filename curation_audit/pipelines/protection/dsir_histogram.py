"""DSIR from a noisy histogram of hashed n-grams: the private form of ``dsir``."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from curation_audit import checks
from curation_audit.dp.events import Event
from curation_audit.dp.gaussian_sum import GaussianSum
from curation_audit.pipelines.protection.base import Budget, ScorerPart, Site
from curation_audit.pipelines.protection.sums import median_length, noisy_sum
from curation_audit.pipelines.scorers.dsir import Dsir, log_shares
from curation_audit.pipelines.scorers.noisy_shares import NgramShares, NoisyShares
from curation_audit.pipelines.scorers.noisy_sum import NoisySum


@dataclass(frozen=True, slots=True, kw_only=True)
class DsirHistogram:
    """Settings of the histogram.

    Every text counts as the shares of its n-grams, whatever its length. Sensitivity: these have no
    negative entry, and a unit's sum is clipped to ``clip``, by default the median length over pool
    rows (a text of one word has length 1): a unit that replaces another moves the histogram by at
    most ``sqrt(2) clip``. The usual method counts without a limit, and without smoothing one text
    moves a logarithm by 18.

    ``buckets``: few hundred, as the noise is the same on each whatever it counts, and a bucket's
    share falls with their number. ``smoothing``, in texts (of the pool, after clipping), is added
    to every bucket together with the standard deviation of the noise. ``n`` and ``normalise`` are
    those of ``curate.scorer`` where that is ``dsir``, and else pairs of words and ``length``.
    """

    name: ClassVar[str] = "dsir_histogram"
    buckets: int = 256
    clip: float | None = None
    smoothing: float = 0.1

    def __post_init__(self) -> None:
        """Check the numbers."""
        checks.positive(buckets=self.buckets, smoothing=self.smoothing)
        if self.clip is not None:
            checks.positive(clip=self.clip)

    def prepare(self, budget: Budget, beside: Sequence[Event], site: Site) -> ScorerPart:
        """One Gaussian release of a histogram."""
        own = site.scorer if isinstance(site.scorer, Dsir) else Dsir(normalise="length")
        public = NgramShares(of=Dsir(n=own.n, buckets=self.buckets, normalise=own.normalise))
        of_pool = public.contribution(site.pool.features)
        mechanism = GaussianSum(
            clip=self.clip or median_length(of_pool),
            mu=budget.mu_left(beside),
            adjacency=site.adjacency,
            nonnegative=public.nonnegative,
        )
        part = noisy_sum(public, mechanism)
        mass = float(mechanism.vectors(of_pool).sum(axis=1).mean())
        scorer = NoisyShares(
            histogram=NoisySum(map=public, mechanism=mechanism),
            map=public,
            smoothing=self.smoothing * mass + mechanism.sigma,
            log_pool=log_shares(public.of.of_pool(site.pool)),
        )
        return replace(
            part,
            scorer=scorer,
            notes=_notes(mechanism.sigma / mass, self.buckets, site) if mass else (),
        )


def _notes(texts: float, buckets: int, site: Site) -> tuple[str, ...]:
    """How many units it takes; whether there are so many is told where that is public.

    ``texts``: the standard deviation of the noise on a bucket, in texts of the pool after clipping.
    """
    needed = texts * buckets
    if site.public_units is not None and site.public_units >= needed:
        return ()
    few = "" if site.public_units is None else "N is too small: "
    return (
        f"{few}it takes {needed:.0f} units until an average one of {buckets} buckets stands out of "
        "its noise; use fewer buckets or more epsilon",
    )
