"""Releases beside their budget ledger: each is booked once, drawn once, and used for ever.

The order is the guarantee: a release is booked before its noise is drawn and stored before it is
read, so that a crash can waste a budget and never overspend it. Whoever asks again on the same
data gets the stored release and spends nothing.
"""

import hashlib
import hmac
import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from curation_audit.checks import InputError
from curation_audit.dp.budget_ledger import BudgetLedger
from curation_audit.dp.events import Event
from curation_audit.dp.tiers import Tier
from curation_audit.pipelines.base import CurationData, Scorer
from curation_audit.pipelines.protection.protect import Protected
from curation_audit.pipelines.protection.releasing import (
    check_releasable,
    check_tier,
    make_release,
    tier_of,
)
from curation_audit.pipelines.scorers.noisy_sum import NoisySum
from curation_audit.pipelines.scorers.private_classifier import PrivateClassifier
from curation_audit.pipelines.scorers.private_module import PrivateModule
from curation_audit.pipelines.scorers.tuned import TunedScorer
from curation_audit.releases.maps_file import arrays_of, has_file
from curation_audit.releases.module_map import flat_parameters
from curation_audit.releases.release import Release
from curation_audit.storage import (
    TEMPORARY,
    array_digest,
    content_key,
    locked,
    read_or_make_key,
    sweep,
    write_atomically,
)

SECONDS_TO_WAIT: Final = 600.0
"""For another process that draws a release, which then is found and costs nothing."""

SPARE_BYTES: Final = 1 << 16
"""For the card, the head and what a file system adds."""


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
        path = self.ledger.path.resolve()  # a link to it is the same ledger
        return path.with_name(f"{path.name}.releases")

    def draw_once(
        self,
        protected: Protected,
        data: CurationData,
        *,
        new_version: bool = False,
        allow_research: bool = False,
    ) -> Drawn:
        """The release of this data by this mechanism, which is made where there is none yet.

        Two requests are the same where all that shapes weights and scores is: the private set, the
        mechanism's public constants, and the public rows that it looks at.

        Args:
            protected: the mechanism.
            data: the private set, and the public rows that the mechanism looks at.
            new_version: the private set was changed since the last booking, and that is meant.
            allow_research: draw noise that is not for release, too; the card says so.

        Raises:
            InputError: for a mechanism without a release, a budget that would be exceeded, a
                private set that changed or stands among the public rows, or a full disk.
        """
        check_releasable(protected)
        check_tier(protected, data, allow_research=allow_research)
        check_background(data)
        with locked(self.folder, wait=SECONDS_TO_WAIT):
            self.folder.chmod(0o700)
            sweep(self.folder)
            fingerprint = self.fingerprint(data)
            request = content_key(
                {
                    "private": fingerprint,
                    "unit": protected.protection.unit,
                    **shaped_by(protected, data),
                }
            )
            self.refuse_unbooked()
            stored = self.folder / f"{request}.npz"
            booked = not stored.exists()
            if booked:
                with _room_for(stored, protected, data):
                    tier = tier_of(protected, data)
                    self._book(protected, tier, fingerprint, request, new_version=new_version)
                    release = make_release(protected, data)
                self._store(release, stored)
            return Drawn(_loaded(stored), stored, booked)

    def refuse_unbooked(self) -> None:
        """A ledger that was made anew knows nothing of what was spent before."""
        known = {one.request for one in self.ledger.bookings()}
        found = [*self.folder.glob("*.npz"), *self.folder.glob("*.picks.json")]
        strange = sorted(p for p in found if p.name.split(".")[0] not in known)
        if strange:
            raise InputError(
                str(strange[0]),
                f"is a release that {self.ledger.path} never booked",
                "the ledger was replaced: bring the old one back",
            )

    def _store(self, release: Release, stored: Path) -> None:
        try:
            release.save(stored)
        except OSError as error:
            epsilon = release.card()["epsilon"]
            raise InputError(
                str(stored),
                f"cannot be written ({error.strerror}): epsilon {epsilon:.4g} was booked, and its "
                "release is lost",
                "make room BEFORE you try again: that books once more",
            ) from None

    def fingerprint(self, data: CurationData) -> str:
        """Of the private set, keyed: whoever reads the ledger can test no guess of the set by it.

        The key lies beside the ledger and not in a home folder: a job in a fresh container would
        make a new one there, take the set for another, and spend again.
        """
        key = read_or_make_key(self.folder / "fingerprint.key")
        return hmac.new(key, data.fingerprints["private"].encode(), hashlib.sha256).hexdigest()

    def _book(
        self,
        protected: Protected,
        tier: Tier,
        fingerprint: str,
        request: str,
        *,
        new_version: bool,
    ) -> None:
        self.ledger.book(
            _told(protected, tier),
            unit=protected.protection.unit,
            adjacency=protected.protection.adjacency,
            delta=protected.protection.delta,
            fingerprint=fingerprint,
            request=request,
            new_version=new_version,
        )


def _told(protected: Protected, tier: Tier) -> tuple[Event, ...]:
    """What is booked; where the noise is not for release, the ledger says so, too."""
    if tier.for_release:
        return protected.events
    return tuple(replace(one, what=f"{one.what}, {tier.name} noise") for one in protected.events)


def shaped_by(protected: Protected, data: CurationData) -> dict[str, Any]:
    """All but the private set that weights and scores follow from, as JSON values.

    Names and labels of public rows shape nothing, nor does the device: releases compute in float64.
    """
    scorer = protected.scorer
    if not isinstance(scorer, NoisySum | PrivateClassifier | PrivateModule | TunedScorer):
        raise TypeError(f"{type(scorer).__name__} cannot be released.")
    constants = _without_device(scorer.describe())
    arrays: dict[str, np.ndarray | None] = {"shift": data.shift, "scale": data.scale}
    if not isinstance(scorer, NoisySum):
        arrays["background"] = data.pool.features
    if isinstance(scorer, TunedScorer):
        arrays["compared with"] = scorer.quality.public(data.pool).features
    return {
        "mechanism": scorer.name,
        "constants": constants,
        "columns": list(data.columns),
        "public": array_digest(arrays),
    }


def _without_device(told: Any) -> Any:
    """The same description wherever it is computed."""
    if isinstance(told, Mapping):
        return {name: _without_device(one) for name, one in told.items() if name != "device"}
    return [_without_device(one) for one in told] if isinstance(told, list) else told


def check_background(data: CurationData) -> None:
    """Refuse public rows that are private ones, of which means and clusters would tell for free.

    Equal rows may be another person's, and a private row may have been published; but where half
    of the private set stands there, somebody has passed the wrong table.

    Raises:
        InputError: where half of the private rows stand among the public ones.
    """
    both = data.n_private_rows_in_pool
    if 2 * both >= len(data.private):
        raise InputError(
            "the public rows",
            f"hold {both} of the {len(data.private)} private rows",
            "what is computed from public rows is free of charge, and says all about these; take "
            "public rows only",
        )
    if both:
        warnings.warn(
            f"{both} private rows have equals among the public rows: if they are the same people, "
            "the release does not protect these.",
            stacklevel=4,
        )


@contextmanager
def _room_for(stored: Path, protected: Protected, data: CurationData) -> Iterator[None]:
    """Hold as much of the disk as the release will take, so that what is booked can be stored.

    Raises:
        InputError: where there is no room; nothing was booked.
    """
    width = data.pool.features.shape[1]
    scorer = protected.scorer
    runs = scorer.candidates if isinstance(scorer, TunedScorer) else (scorer,)
    of_map = max((_map_bytes(one, width) for one in runs), default=0)
    held = stored.with_name(f"{stored.name}.room{TEMPORARY}")
    try:
        write_atomically(held, os.urandom(SPARE_BYTES + of_map + 8 * 4 * (width + 1)))
    except OSError as error:
        raise InputError(
            str(stored.parent),
            f"has no room for a release ({error.strerror})",
            "nothing was booked",
        ) from None
    try:
        yield
    finally:
        held.unlink(missing_ok=True)


def _map_bytes(scorer: Scorer, width: int) -> int:
    """Of what a release holds beside weights on ``width`` features."""
    if isinstance(scorer, PrivateModule):
        return flat_parameters(scorer.fresh(width)).nbytes
    if isinstance(scorer, NoisySum | PrivateClassifier) and has_file(scorer.map):
        return sum(array.nbytes for array in arrays_of(scorer.map).values())
    return 0


def _loaded(stored: Path) -> Release:
    try:
        return Release.load(stored)
    except InputError:
        hint = (
            "bring a copy back, such as the release.npz of its picks; without it, it is booked anew"
        )
        raise InputError(str(stored), "is damaged", hint) from None
