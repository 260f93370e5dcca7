"""The scorer guessed from the picks, by a regression on analytic shadows."""

from dataclasses import dataclass
from typing import ClassVar

from curation_audit.attacks.analytic_shadows import check_enough, drawn_inversion, read_back
from curation_audit.attacks.base import OtherPairs, known_linearisation, known_pool
from curation_audit.observations import Knowledge, Observation, Stage
from curation_audit.streams import ShadowStreams
from curation_audit.types import Evidence, Inclusion, Mask, Scores


@dataclass(frozen=True, slots=True, kw_only=True)
class AnalyticPicks:
    """Regress the scorer on what the real rule picks of drawn scorers, then filter.

    It asks nothing of the rule: rules that no single cut explains (per group, with diversity)
    are run, not modelled. ``shadows`` scorers are drawn, none is trained.
    """

    name: ClassVar[str] = "analytic_picks"
    title: ClassVar[str] = "Scorer guessed from the picks by analytic shadows"
    stage: ClassVar[Stage] = "selection"
    needs: ClassVar[frozenset[str]] = frozenset(
        {"algorithm", "candidates", "linear scorer", "other candidates", "pool"}
    )
    source: ClassVar[str] = "this project; influence after Koh & Liang 2017"
    cost: ClassVar[str] = (
        "H m p + H^2 q + H^3 + S p N, H analytic shadows, q rows not always picked"
    )

    shadows: int = 1024

    def __post_init__(self) -> None:
        """Check the number of shadows."""
        check_enough(self.shadows)

    def evidence(
        self,
        observation: Observation,
        inclusion: Inclusion,
        knowledge: Knowledge,
        *,
        streams: ShadowStreams,
    ) -> Evidence:
        """Float64 (S, N)."""
        select = knowledge.select
        if select is None:
            raise ValueError("this attack needs the algorithm.")

        def picks(scores: Scores, trials: range) -> Mask:
            return select(scores, trials).mask()

        rng = streams.root.generator(self.name)
        inversion, wanted = knowledge.memo.of(
            f"{self}",
            (known_pool(knowledge), known_linearisation(knowledge), select),
            lambda: drawn_inversion(knowledge, picks, self.shadows, rng),
        )
        guess = inversion.guess(observation.selection.mask()[:, wanted])
        return read_back(guess, inversion, OtherPairs.of(knowledge, inclusion))
