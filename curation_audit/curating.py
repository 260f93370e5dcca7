"""One real curation: book what it spends, draw the release, store it, pick.

The order is the guarantee: a release is booked before its noise is drawn and stored before it is
read, so that a crash can waste a budget and never overspend it. Whoever asks again on the same
data gets the stored release and spends nothing; scores and picks are computed from it alone.
"""

import hashlib
import hmac
import json
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, Final

import numpy as np

from curation_audit.auditing.curation import tie_order
from curation_audit.auditing.plan import AuditPlan
from curation_audit.auditing.release import id_key
from curation_audit.checks import InputError
from curation_audit.dp.budget_ledger import BudgetLedger
from curation_audit.pipelines.protection import SELECTION
from curation_audit.pipelines.protection.protect import Protected
from curation_audit.pipelines.protection.release import Release, check_releasable, make_release
from curation_audit.report.blocks import Block, Bullets, Heading, Paragraph
from curation_audit.report.markdown import written
from curation_audit.storage import content_key, locked, write_atomically
from curation_audit.types import Floats, Indices

ROWS: Final = 1 << 16  # scored at once


@dataclass(frozen=True, slots=True)
class Curated:
    """What a curation wrote: ``picks`` (parquet), ``release`` and ``card``; what it booked."""

    n_picked: int
    n_pool: int
    picks: Path
    release: Path
    card: Path
    booked: bool
    spent: float
    budget: float


def curate(plan: AuditPlan, out: Path, *, new_version: bool = False) -> Curated:
    """Pick rows of the pool by a private scorer that is paid for.

    Args:
        plan: a pipeline with ``curate.protect`` and ``private.ledger``.
        out: the folder for picks.parquet, release.npz and card.md.
        new_version: the private set was changed since the last booking, and that is meant.

    Raises:
        InputError: for a pipeline that has no release, or a budget that would be exceeded.
    """
    protected, ledger_path = _checked(plan)
    ledger = BudgetLedger.open(ledger_path)
    folder = ledger_path.with_name(f"{ledger_path.name}.releases")
    with locked(folder), locked(out):
        request = _request(plan)
        stored = folder / f"{request}.npz"
        booked = not stored.exists()
        if booked:
            _book(plan, protected, ledger, request, new_version=new_version)
            make_release(protected, plan.data).save(stored)
        elif ledger.find(request) is None:
            raise InputError(
                str(stored),
                f"is a release that {ledger_path} never booked",
                "the ledger was replaced: bring the old one back, or remove the release",
            )
        release = Release.load(stored)
        write_atomically(out / "release.npz", stored.read_bytes())
        scores = _scores(release, plan)
        picked = _picked(plan, scores)
        write_atomically(out / "picks.parquet", _picks(plan, scores, picked))
        write_atomically(out / "card.md", render_release_card(release.card()).encode())
    return Curated(
        n_picked=len(picked),
        n_pool=len(plan.data.pool),
        picks=out / "picks.parquet",
        release=out / "release.npz",
        card=out / "card.md",
        booked=booked,
        spent=ledger.spent_epsilon(),
        budget=ledger.budget.epsilon,
    )


def render_release_card(card: dict[str, Any]) -> str:
    """What a release guarantees and what not, as Markdown."""
    blocks: list[Block] = [
        Heading("A differentially private curation", 1),
        Paragraph(
            f"Epsilon {card['epsilon']!r} at delta {card['delta']:g}, for one {card['unit']} "
            f"({card['adjacency']}). It covers what is computed from this release alone: scores, "
            "picks and what is trained on them."
        ),
        Heading("Events"),
        Bullets(tuple(card["events"])),
        Heading("Sensitivity"),
        Bullets(tuple(card["sensitivities"])),
        Heading("Assumptions"),
        Bullets(tuple(f"{step}: {who}" for step, who in card["assumptions"].items())),
        Heading("Not covered"),
        Bullets(tuple(card["not_covered"])),
        Paragraph(f"Noise: {card['noise']}. Tuning: {card['tuning']}. Written by {card['tool']}."),
    ]
    return written(blocks)


def _checked(plan: AuditPlan) -> tuple[Protected, Path]:
    """All that can be refused before anything is booked."""
    if plan.protection is None:
        raise InputError(
            "curate.protect", "is missing", "a curation for real needs a private mechanism"
        )
    if plan.ledger is None:
        hint = "name the file; 'curation-audit ledger set-budget FILE' makes it"
        raise InputError("private.ledger", "is missing", hint)
    if plan.data.n_canaries:
        hint = "leave them out: made-up records are no rows of a curation"
        raise InputError("attack.canaries", "stand in the private set", hint)
    if SELECTION in plan.protection.mechanism:
        hint = "a private scorer covers its picks; leave the noise on the selection out"
        raise InputError("curate.protect.mechanism", f"found {plan.protection.mechanism!r}", hint)
    protected = Protected(
        scorer=plan.scorer,
        rule=plan.rule,
        claim=plan.claim,
        protection=plan.protection,
        events=plan.events,
    )
    check_releasable(protected)
    return protected, plan.ledger


def _fingerprint(plan: AuditPlan) -> str:
    """Of the private set, keyed: whoever reads the ledger can test no guess of the set by it."""
    digest = plan.data.fingerprints["private"]
    return hmac.new(id_key(plan), digest.encode(), hashlib.sha256).hexdigest()


def _request(plan: AuditPlan) -> str:
    """Names a release: the data, and every setting that shapes it; how rows are picked does not."""
    settings = plan.configuration
    return content_key(
        {
            "private": _fingerprint(plan),
            "unit": plan.unit,
            "pool": plan.data.fingerprints["public"],
            "scorer": settings["curate"]["scorer"],
            "protect": settings["curate"]["protect"],
            "features": settings["features"],
            "dtype": settings["run"]["dtype"],
            "seed": plan.seed,
        }
    )


def _book(
    plan: AuditPlan,
    protected: Protected,
    ledger: BudgetLedger,
    request: str,
    *,
    new_version: bool,
) -> None:
    ledger.book(
        plan.events,
        unit=protected.protection.unit,
        adjacency=protected.protection.adjacency,
        delta=protected.protection.delta,
        fingerprint=_fingerprint(plan),
        request=request,
        new_version=new_version,
    )


def _scores(release: Release, plan: AuditPlan) -> Floats:
    """Of every row of the pool, float64 (m,); memory holds some rows in float64 at a time."""
    features = plan.data.pool.features
    starts = range(0, len(features), ROWS)
    return np.concatenate([release.score_scaled(features[i : i + ROWS]) for i in starts])


def _picked(plan: AuditPlan, scores: Floats) -> Indices:
    """The picked rows, best first; of equal scores the earlier of the tie order."""
    rank = tie_order(plan.data.pool.ids, plan.seed)
    rows = plan.rule.select(scores[None], rank).indices
    order: Indices = rows[np.lexsort((rank[rows], -scores[rows]))]
    return order


def _picks(plan: AuditPlan, scores: Floats, picked: Indices) -> bytes:
    """Parquet: id, dp_score."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    ids = pa.array([plan.data.pool.ids[i] for i in picked], pa.string())
    table = pa.table({"id": ids, "dp_score": scores[picked]})
    about = {"curation_audit": json.dumps({"unit": plan.unit, "n_pool": len(plan.data.pool)})}
    file = BytesIO()
    pq.write_table(table.replace_schema_metadata(about), file, compression="zstd")
    return file.getvalue()
