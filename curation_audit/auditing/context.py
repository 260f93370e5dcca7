"""The declared release context: what leaves, to whom, and why. Nothing of it is measured."""

from dataclasses import dataclass
from datetime import date

from curation_audit.checks import SettingError, some_of
from curation_audit.observations import OBSERVED_STAGES, ObservedStage

PATH = "report.context"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseContext:
    """What the owner of a curation declares about its release; every field may be left out.

    ``artefacts``: the stages whose output leaves; ``recipients``: who gets it; ``safeguards``:
    contracts, access control and the like; ``prior``: the share of members among the people that
    an adversary would ask about; ``review_date``: when to audit again, ``YYYY-MM-DD``.
    """

    purpose: str | None = None
    operator: str | None = None
    contact: str | None = None
    artefacts: tuple[ObservedStage, ...] = ()
    recipients: str | None = None
    safeguards: str | None = None
    prior: float | None = None
    review_date: str | None = None

    def __post_init__(self) -> None:
        """Check the words, the share and the date."""
        some_of(f"{PATH}.artefacts", self.artefacts, OBSERVED_STAGES)
        if self.prior is not None and not 0 < self.prior < 1:
            raise SettingError(f"{PATH}.prior", f"found {self.prior}", "expected between 0 and 1")
        if self.review_date is not None:
            try:
                date.fromisoformat(self.review_date)
            except ValueError:
                raise SettingError(
                    f"{PATH}.review_date", f"found {self.review_date!r}", "expected YYYY-MM-DD"
                ) from None


def unattacked(context: ReleaseContext | None, observed: tuple[str, ...]) -> list[str]:
    """Warnings for artefacts that leave and were not attacked."""
    if context is None:
        return []
    bare = [stage for stage in context.artefacts if stage not in observed]
    if not bare:
        return []
    return [
        f"The release context declares that {', '.join(bare)} leave, but this audit did not attack "
        "them (threat.observes)."
    ]
