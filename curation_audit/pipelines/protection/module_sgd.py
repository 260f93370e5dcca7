"""DP-SGD of a torch module of the user's, by Opacus."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from curation_audit.dp.events import Event
from curation_audit.dp.module_sgd import ModuleSgdSettings
from curation_audit.pipelines.protection.base import PATH, Budget, ScorerPart, Site
from curation_audit.pipelines.protection.dp_sgd import DpSgd
from curation_audit.pipelines.scorers.private_module import PrivateModule
from curation_audit.releases.module_map import maker_of


@dataclass(frozen=True, slots=True, kw_only=True)
class ModuleSgd:
    """Settings of DP-SGD of a module; see ``DpSgd`` for those of the same name.

    ``module``: an entry point of ``curation_audit.modules`` in an installed package, or from Python
    a function ``make(d) -> torch.nn.Module`` from d features to one logit.
    """

    name: ClassVar[str] = "module_sgd"
    module: str | Callable[[int], Any] | None = None
    steps: int = 100
    sampling_rate: float = 0.1
    clip: float = 1.0
    learning_rate: float = 0.5
    momentum: float = 0.0
    l2: float = 0.0
    public_batch: int | None = None
    expected_units: float | None = None

    def prepare(self, budget: Budget, beside: Sequence[Event], site: Site) -> ScorerPart:
        """Calibrate as ``DpSgd`` does; only the gradients come from elsewhere."""
        shared = ("steps", "sampling_rate", "clip", "learning_rate", "momentum", "l2")
        same = {name: getattr(self, name) for name in (*shared, "expected_units")}
        settings, event = DpSgd(**same, precondition=False).calibrated(
            budget, beside, site, f"scorer ({self.name})"
        )
        scorer = PrivateModule(
            make=self._make(),
            entry_point=None if callable(self.module) else self.module,
            settings=ModuleSgdSettings(
                **{name: getattr(settings, name) for name in shared},
                noise_multiplier=settings.noise_multiplier,
                expected_units=settings.expected_units,
                public_batch=self.public_batch,
            ),
            adjacency_of_claim=site.adjacency,
            device=site.device,
        )
        return ScorerPart(scorer=scorer, event=event, sensitivity=DpSgd.argument(self.clip))

    def _make(self) -> Callable[[int], Any]:
        if callable(self.module):
            return self.module
        return maker_of(self.module, f"{PATH}.module")
