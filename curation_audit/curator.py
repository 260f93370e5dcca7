"""The few lines that make an existing data job private: fit once within a budget, then score."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, get_args

import numpy as np

from curation_audit.checks import SettingError, one_of
from curation_audit.dp.tiers import ReleaseTier
from curation_audit.pipelines.base import CurationData
from curation_audit.pipelines.data import data_from_arrays
from curation_audit.pipelines.protection.base import Budget, ScorerMechanism, Site
from curation_audit.pipelines.protection.protect import (
    NATURAL,
    Protected,
    ProtectSettings,
    protect,
)
from curation_audit.pipelines.rules.top import TopK
from curation_audit.pipelines.scorers import SCORERS
from curation_audit.release_store import ReleaseStore
from curation_audit.releases.release import Release
from curation_audit.results import Adjacency
from curation_audit.streams import Streams

ROW: Final = "row"
OFFERED: Final = ("mean", "classifier", "nearest", "centroid_votes")


@dataclass(frozen=True, slots=True, kw_only=True)
class Curator:
    """Settings of a private curation; ``fit`` gives its release, which scores public rows.

    Args:
        scorer: what rows are valued by: ``"mean"`` (similarity to the private mean),
            ``"classifier"`` (private against background) or ``"nearest"`` (by public clusters).
        adjacency: which private sets are neighbours: ``"zero_out"``, ``"add_remove"`` or
            ``"replace_one"``.
        ledger: the file that keeps the budget of the private set; ``curation-audit ledger
            set-budget`` makes it. Releases lie beside it.
        unit: what is protected: a column of the private table whose rows belong together, or
            ``"row"``.
        features: the feature columns of tables, names or wildcards, e.g. one column of vectors;
            by default all columns but the unit.
        mechanism: the private form of the scorer, by default its natural one; a name or, with
            settings, an object such as ``DpGd(steps=30)``.
        standardise: ``"public"`` takes mean and scale of the background.
        seed: of what is random and public, such as clusters.
        noise: how good the noise is: ``"hardened"``, or ``"strict"`` (exact, by OpenDP) for a
            mechanism that releases one noisy sum.
    """

    scorer: Literal["mean", "classifier", "nearest"]
    adjacency: Adjacency
    ledger: Path | str
    unit: str = ROW
    features: Sequence[str] | None = None
    mechanism: str | ScorerMechanism | None = None
    standardise: Literal["public", "none"] = "public"
    seed: int = 0
    noise: ReleaseTier = "hardened"

    def fit(
        self,
        private: Any,
        *,
        budget: Budget,
        background: Any,
        new_version: bool = False,
        allow_research_noise: bool = False,
    ) -> Release:
        """The release for this private set: booked, drawn and stored; or the one stored before.

        This is the only look at private rows. The same data and settings give the same release
        again, and spend nothing.

        Args:
            private: a matrix (n, d), a data frame, a pyarrow table or a mapping of columns.
            budget: what this release may spend, within the ledger's.
            background: rows of the pool, or of one like it, which are public: means, scales,
                clusters and the other class of a classifier come from them. Keep them fixed from
                run to run: others ask for another release.
            new_version: the private set was changed since the last booking, and that is meant.
            allow_research_noise: draw noise that is not for release, too (a module in float32).

        Raises:
            InputError: for what the user can put right; then nothing was spent.
        """
        self._check(budget)
        if not isinstance(self.ledger, str | Path) or not str(self.ledger):
            hint = "name the file; 'curation-audit ledger set-budget FILE' makes it"
            raise SettingError("ledger", f"found {self.ledger!r}", hint)
        store = ReleaseStore.beside(Path(self.ledger))
        made, data = self.mechanism_on(private, budget=budget, background=background)
        return store.draw_once(
            made, data, new_version=new_version, allow_research=allow_research_noise
        ).release

    def mechanism_on(
        self, private: Any, *, budget: Budget, background: Any
    ) -> tuple[Protected, CurationData]:
        """The mechanism in place, and the checked data, as ``fit`` uses them; nothing is drawn.

        Raises:
            InputError: as ``fit``, but for the ledger, which is not looked at.
        """
        self._check(budget)
        data = self._data(private, background)
        return self._protected(self._protection(budget), data), data

    def _check(self, budget: Any) -> None:
        """Mistakes of a call that would otherwise fail late, or be booked as another release."""
        one_of("scorer", self.scorer, OFFERED)
        one_of("standardise", self.standardise, ("public", "none"))
        one_of("noise", self.noise, get_args(ReleaseTier))
        if not isinstance(self.seed, int) or isinstance(self.seed, bool) or self.seed < 0:
            raise SettingError("seed", f"found {self.seed!r}", "expected a whole number from 0 on")
        if isinstance(self.features, str):
            hint = "expected a list of columns"
            raise SettingError("features", f"found {self.features!r}", hint)
        if not isinstance(budget, Budget):
            hint = "expected curation_audit.Budget(epsilon=..., delta=...)"
            raise SettingError("budget", f"found a {type(budget).__name__}", hint)

    def _data(self, private: Any, background: Any) -> CurationData:
        return data_from_arrays(
            private,
            background,
            unit=None if self.unit == ROW else self.unit,
            features=self.features,
            standardise=self.standardise,
            dtype=np.float64,
            streams=Streams(self.seed),
        )

    def _protection(self, budget: Budget) -> ProtectSettings:
        own = None if isinstance(self.mechanism, str | None) else self.mechanism
        named = self.mechanism if isinstance(self.mechanism, str) else NATURAL[self.scorer]
        return ProtectSettings(
            mechanism=named if own is None else getattr(own, "name", type(own).__name__),
            adjacency=self.adjacency,
            budget=budget,
            unit=self.unit,
            scorer=own,
            noise_tier=self.noise,
        )

    def _protected(self, settings: ProtectSettings, data: CurationData) -> Protected:
        site = Site(
            private=data.private,
            pool=data.pool,
            scorer=SCORERS[self.scorer](),
            adjacency=self.adjacency,
            seed=self.seed,
            device="cpu",
        )
        return protect(settings, site, TopK(k=1), self.unit)
