"""Picks under noise beside their budget ledger: booked once, under a key for this query alone.

A key is written before its query is booked, sealed to the scores that it is for, and deleted once
the picks are on the disk: whoever has it has the picks without noise. So whatever crashes, a booked
query that is asked for again has the same key, scores and picks, or the picks themselves, and costs
nothing; and no key ever meets other scores.
"""

import hashlib
import hmac
import json
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from curation_audit.auditing.chunks import describe
from curation_audit.checks import InputError
from curation_audit.pipelines.base import CurationData
from curation_audit.pipelines.protection.keyed_selection import KEYED, KeyedSelection
from curation_audit.pipelines.protection.releasing import facts_of
from curation_audit.release_store import SECONDS_TO_WAIT, ReleaseStore, check_background
from curation_audit.storage import (
    array_digest,
    content_key,
    locked,
    remove_durably,
    sweep,
    write_atomically,
)
from curation_audit.training.device import one_thread
from curation_audit.types import Floats

KEY_BYTES: Final = 32


@dataclass(frozen=True, slots=True)
class KeptPicks:
    """Picked ids in an order that tells nothing, the card, and whether they were booked now."""

    ids: tuple[str, ...]
    facts: dict[str, Any]
    booked: bool


def pick_once(
    store: ReleaseStore,
    selection: KeyedSelection,
    data: CurationData,
    *,
    new_version: bool = False,
) -> KeptPicks:
    """The picks of this data by this selection; made and booked where there are none yet.

    Two requests are the same where all that shapes scores and picks is: the private set, the
    public rows and their ids, the settings.

    Args:
        store: the releases beside the ledger.
        selection: what is asked.
        data: the private set and the whole pool.
        new_version: the private set was changed since the last booking, and that is meant.

    Raises:
        InputError: for scores or ids that cannot be picked from, a budget that would be exceeded,
            or a key that is for other scores.
    """
    check_background(data)
    with locked(store.folder, wait=SECONDS_TO_WAIT):
        store.folder.chmod(0o700)
        sweep(store.folder)
        fingerprint = store.fingerprint(data)
        request = request_of(fingerprint, selection, data)
        store.refuse_unbooked()
        stored, key_file = (
            store.folder / f"{request}.{kind}" for kind in ("picks.json", "noise-key")
        )
        if stored.exists():
            kept = KeptPicks(*_loaded(stored), booked=False)
            remove_durably(key_file)  # there was a crash before it could be
            return kept
        with one_thread():  # the same bits whatever the machine does beside
            scores = selection.scores(data)
        key, is_new = _key_for(key_file, scores)
        try:  # scores and ids that cannot be picked from are refused before anything is booked
            ids = selection.query.best(scores, data.pool.ids, key).picks()
            booked = is_new or store.ledger.find(request) is None
            if booked:
                _book(store, selection, fingerprint, request, new_version=new_version)
        except InputError:  # nothing was booked, and nobody needs the key
            remove_durably(key_file)
            raise
        facts = facts_of(selection.protection, KEYED)
        content = json.dumps({"ids": ids, "card": facts})
        write_atomically(stored, content.encode(), mode=0o600)
        remove_durably(key_file)
        return KeptPicks(ids, facts, booked)


def _book(
    store: ReleaseStore,
    selection: KeyedSelection,
    fingerprint: str,
    request: str,
    *,
    new_version: bool,
) -> None:
    store.ledger.book(
        (selection.event,),
        unit=selection.protection.unit,
        adjacency=selection.protection.adjacency,
        delta=selection.protection.delta,
        fingerprint=fingerprint,
        request=request,
        new_version=new_version,
    )


def request_of(fingerprint: str, selection: KeyedSelection, data: CurationData) -> str:
    """The name of a query: the sha256 of all that its picks follow from."""
    public = {"pool": data.pool.features, "shift": data.shift, "scale": data.scale}
    return content_key(
        {
            "picks": selection.constants(),
            "scorer": {k: v for k, v in describe(selection.scorer).items() if k != "device"},
            "private": fingerprint,
            "unit": selection.protection.unit,
            "adjacency": selection.protection.adjacency,
            "columns": list(data.columns),
            "public": array_digest(public),
            "ids": content_key({"ids": list(data.pool.ids)}),
        }
    )


def _key_for(path: Path, scores: Floats) -> tuple[bytes, bool]:
    """The key of a query, and whether it was drawn just now; mode 0600.

    Raises:
        InputError: where it is for other scores, or damaged.
    """
    is_new = not path.exists()
    if is_new:
        key = secrets.token_bytes(KEY_BYTES)
        write_atomically(path, f"{key.hex()} {_seal(key, scores)}\n".encode(), mode=0o600)
    try:
        word, seal = path.read_text().split()
        key = bytes.fromhex(word)
    except (OSError, ValueError):
        raise InputError(str(path), "is no key", "bring a copy back, or remove it") from None
    if len(key) != KEY_BYTES or not hmac.compare_digest(seal, _seal(key, scores)):
        raise InputError(
            str(path),
            "is the key of other scores: this tool or machine computes them otherwise than the one "
            "that drew it",
            "pick there, or remove it, which books the picks once more under another key",
        )
    return key, is_new


def _seal(key: bytes, scores: Floats) -> str:
    return hmac.new(key, array_digest({"scores": scores}).encode(), hashlib.sha256).hexdigest()


def _loaded(stored: Path) -> tuple[tuple[str, ...], dict[str, Any]]:
    try:
        content = json.loads(stored.read_text())
        return tuple(map(str, content["ids"])), dict(content["card"])
    except (OSError, ValueError, KeyError, TypeError):
        hint = "bring a copy back; if you remove it, the picks are booked and made anew"
        raise InputError(str(stored), "is damaged", hint) from None
