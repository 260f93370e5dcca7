"""Releases beside their budget ledger: each is booked once, drawn once, and used for ever.

The order is the guarantee: a release is booked before its noise is drawn and stored before it is
read, so that a crash can waste a budget and never overspend it. Whoever asks again on the same
data gets the stored release and spends nothing.
"""

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from curation_audit.checks import InputError
from curation_audit.dp.budget_ledger import BudgetLedger
from curation_audit.pipelines.base import CurationData
from curation_audit.pipelines.protection.protect import Protected
from curation_audit.pipelines.protection.releasing import check_releasable, make_release
from curation_audit.releases.release import Release
from curation_audit.storage import content_key, locked, read_or_make_key

SECONDS_TO_WAIT: Final = 600.0
"""For another process that draws a release, which then is found and costs nothing."""


@dataclass(frozen=True, slots=True)
class Drawn:
    """A release, the file that keeps it, and whether it was booked just now."""

    release: Release
    file: Path
    booked: bool


@dataclass(frozen=True, slots=True)
class ReleaseStore:
    """The releases of one private set, in the folder ``<ledger>.releases`` beside its ledger.

    The two belong together: where they are copied to another machine, copy both.
    """

    ledger: BudgetLedger

    @classmethod
    def beside(cls, ledger: Path) -> "ReleaseStore":
        """The store of a ledger file; raises ``InputError`` where there is no such ledger."""
        return cls(BudgetLedger.open(ledger))

    @property
    def folder(self) -> Path:
        """Where releases lie; mode 0700, as it holds the key of the fingerprints too."""
        path = self.ledger.path
        return path.with_name(f"{path.name}.releases")

    def draw_once(
        self,
        protected: Protected,
        data: CurationData,
        settings: Mapping[str, Any],
        *,
        new_version: bool = False,
    ) -> Drawn:
        """The release of this data under these settings, which is made where there is none yet.

        Args:
            protected: the mechanism.
            data: the private set, and the public rows that the mechanism looks at.
            settings: JSON values that tell releases of one private set apart.
            new_version: the private set was changed since the last booking, and that is meant.

        Raises:
            InputError: for a mechanism without a release, a budget that would be exceeded, or a
                private set that changed.
        """
        check_releasable(protected)
        with locked(self.folder, wait=SECONDS_TO_WAIT):
            self.folder.chmod(0o700)
            fingerprint = self._fingerprint(data)
            request = content_key(
                {
                    "private": fingerprint,
                    "public": data.fingerprints["public"],
                    "unit": protected.protection.unit,
                    "settings": dict(settings),
                }
            )
            stored = self.folder / f"{request}.npz"
            booked = not stored.exists()
            if booked:
                self._book(protected, fingerprint, request, new_version=new_version)
                make_release(protected, data).save(stored)
            elif self.ledger.find(request) is None:
                raise InputError(
                    str(stored),
                    f"is a release that {self.ledger.path} never booked",
                    "the ledger was replaced: bring the old one back, or remove the release",
                )
            return Drawn(Release.load(stored), stored, booked)

    def _fingerprint(self, data: CurationData) -> str:
        """Of the private set, keyed: whoever reads the ledger can test no guess of the set by it.

        The key lies beside the ledger and not in a home folder: a job in a fresh container would
        make a new one there, take the set for another, and spend again.
        """
        key = read_or_make_key(self.folder / "fingerprint.key")
        return hmac.new(key, data.fingerprints["private"].encode(), hashlib.sha256).hexdigest()

    def _book(
        self, protected: Protected, fingerprint: str, request: str, *, new_version: bool
    ) -> None:
        self.ledger.book(
            protected.events,
            unit=protected.protection.unit,
            adjacency=protected.protection.adjacency,
            delta=protected.protection.delta,
            fingerprint=fingerprint,
            request=request,
            new_version=new_version,
        )
