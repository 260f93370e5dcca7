"""Picks for real: what is drawn and booked before, and what is written after."""

import json
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from curation_audit.auditing.plan import AuditPlan
from curation_audit.checks import InputError
from curation_audit.pick_store import KeptPicks, pick_once
from curation_audit.picks import Picks
from curation_audit.pipelines.protection import SELECTION
from curation_audit.pipelines.protection.keyed_selection import keyed_selection
from curation_audit.pipelines.protection.protect import Protected
from curation_audit.pipelines.rules.noisy_top import NoisyTopK
from curation_audit.pool_shards import FOLDER, begun
from curation_audit.release_store import Drawn, ReleaseStore
from curation_audit.releases.release import Release
from curation_audit.report.blocks import Block, Bullets, Heading, Paragraph
from curation_audit.report.markdown import written
from curation_audit.storage import locked, write_atomically

if TYPE_CHECKING:
    import pyarrow as pa


SCORED: Final = (
    "what is computed from this release alone: scores, picks and what is trained on them"
)
PICKED: Final = "the picks and what is trained on them; the scores behind them must never leave"


OF_RELEASES: Final = ("release.npz", "attestation.dsse.json")
"""What stands beside picks by scores, and never beside noisy picks."""


def draw_release(
    plan: AuditPlan, *, new_version: bool = False, allow_research: bool = False
) -> Drawn:
    """The release of a pipeline with ``curate.protect`` and ``private.ledger``.

    It is booked and drawn, or was stored before.

    Args:
        plan: the pipeline; how its rows are picked does not matter.
        new_version: the private set was changed since the last booking, and that is meant.
        allow_research: draw noise that is not for release, too; the card says so.

    Raises:
        InputError: for a pipeline that has no release, or a budget that would be exceeded.
    """
    protected, ledger = _checked(plan)
    mechanism = protected.protection.mechanism
    if SELECTION in mechanism:
        hint = "a private scorer covers its picks; leave the noise on the selection out"
        raise InputError("curate.protect.mechanism", f"found {mechanism!r}", hint)
    store = ReleaseStore.beside(ledger)
    return store.draw_once(
        protected, plan.data, new_version=new_version, allow_research=allow_research
    )


def draw_picks(plan: AuditPlan, *, new_version: bool = False) -> KeptPicks:
    """The picks of a pipeline with noise on the selection, of its whole pool and no score.

    They are booked and made, or were stored before.

    Raises:
        InputError: for a pipeline that has no such picks, or a budget that would be exceeded.
    """
    made, ledger = _checked(plan)
    if plan.claim is None:
        raise InputError("curate.protect.epsilon", "is infinite", "real picks need noise")
    if plan.bounded is None or not isinstance(plan.rule, NoisyTopK):
        raise ValueError("the noise does not lie on the selection alone.")
    selection = keyed_selection(
        scorer=plan.scorer,
        rule=plan.rule,
        bounded=plan.bounded,
        events=plan.events,
        protection=made.protection,
        data=plan.data,
    )
    store = ReleaseStore.beside(ledger)
    return pick_once(store, selection, plan.data, new_version=new_version)


def check_folder(out: Path) -> None:
    """Refuse a folder whose files would contradict a card that says that no score may leave.

    Raises:
        InputError: where it holds the release, the attestation or the scores of another curation.
    """
    if begun(out):
        raise InputError(
            str(out / FOLDER),
            "holds scores of another curation; of noisy picks none may leave",
            "name another folder with --out",
        )
    for name in OF_RELEASES:
        if (out / name).exists():
            raise InputError(
                str(out / name),
                "is of another curation, whose scores may leave; of noisy picks none may",
                "name another folder with --out",
            )


def write_kept(out: Path, kept: KeptPicks, n_pool: int) -> dict[str, Path]:
    """Write picks.parquet (id) and card.md; their paths by name.

    Raises:
        InputError: for a folder that holds another curation's release.
    """
    import pyarrow as pa

    check_folder(out)

    table = pa.table({"id": pa.array(kept.ids, pa.string())})
    paths = {name: out / name for name in ("picks.parquet", "card.md")}
    with locked(out):
        write_atomically(paths["picks.parquet"], _parquet(table, kept.facts["unit"], n_pool))
        write_atomically(paths["card.md"], render_release_card(kept.facts).encode())
    return paths


def write_picks(out: Path, release: Release, picks: Picks) -> dict[str, Path]:
    """Write picks.parquet (id, dp_score), release.npz and card.md; their paths by name."""
    import pyarrow as pa

    table = pa.table({"id": pa.array(picks.ids, pa.string()), "dp_score": picks.scores})
    content = _parquet(table, release.card()["unit"], picks.n_pool)
    paths = {name: out / name for name in ("picks.parquet", "release.npz", "card.md")}
    with locked(out):
        release.save(paths["release.npz"])
        write_atomically(paths["picks.parquet"], content)
        write_atomically(paths["card.md"], render_release_card(release.card()).encode())
    return paths


def _parquet(table: "pa.Table", unit: str, n_pool: int) -> bytes:
    import pyarrow.parquet as pq

    file, about = BytesIO(), json.dumps({"unit": unit, "n_pool": n_pool})
    pq.write_table(
        table.replace_schema_metadata({"curation_audit": about}), file, compression="zstd"
    )
    return file.getvalue()


def render_release_card(card: dict[str, Any]) -> str:
    """What a release guarantees and what not, as Markdown."""
    research = card.get("noise_tier") == "research"
    blocks: list[Block] = [
        Heading("A differentially private curation", 1),
        *([Heading("Research: not for release")] if research else []),
        Paragraph(
            f"Epsilon {card['epsilon']!r} at delta {card['delta']:g}, for one {card['unit']} "
            f"({card['adjacency']}), by noise of the {card.get('noise_tier', 'hardened')} tier. It "
            f"covers {SCORED if 'scores' in card['covers'] else PICKED}."
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
    if plan.fine_tuned is not None:
        hint = "leave it out: --set train=null; the model's training is for you to run and to book"
        raise InputError("train.fine_tune", "a curation for real trains no model", hint)
    if plan.ledger is None:
        hint = "name the file; 'curation-audit ledger set-budget FILE' makes it"
        raise InputError("private.ledger", "is missing", hint)
    if plan.data.n_canaries:
        hint = "leave them out: made-up records are no rows of a curation"
        raise InputError("attack.canaries", "stand in the private set", hint)
    if plan.configuration["features"].get("steps"):
        hint = "apply them before, and name the column that holds what they give"
        raise InputError("features.steps", "a release reads columns as they are", hint)
    protected = Protected(
        scorer=plan.scorer,
        rule=plan.rule,
        claim=plan.claim,
        protection=plan.protection,
        events=plan.events,
        bounded=plan.bounded,
    )
    return protected, plan.ledger
