"""Attacks whose strength theory tells, and the order in which ties are picked.

Attacks, scorers and the audit are imported where they are used: they need torch, and a broken
torch is to be a failed check, not the end of the self-test.
"""

from typing import Final

import numpy as np
from scipy import special

from curation_audit.doctor.base import Check, Outcome, agrees
from curation_audit.game import paired_inclusion
from curation_audit.observations import Candidates, Knowledge, Observation, Selection
from curation_audit.pipelines.base import PrivateRows, Rows
from curation_audit.statistics import PairedEvidence, clustered_auc
from curation_audit.streams import Streams
from curation_audit.types import Features, Indices

N_MEMBERS, DIMENSION = 100, 64


def private_rows(features: Features, unit: Indices | None = None) -> PrivateRows:
    """Rows without labels; each a unit of its own where none are named."""
    unit = np.arange(len(features)) if unit is None else unit
    names = tuple(map(str, range(len(features))))
    return PrivateRows(names, features, unit, names[: int(unit.max()) + 1])


def lira() -> Outcome:
    """LiRA on a margin that is N(0, 1), and N(1, 1) with the candidate in.

    The log likelihood ratio is ``x - 1/2`` and its AUC ``Phi(1 / sqrt 2)``. Checked: the AUC, and
    slope and intercept of the evidence as a function of that ratio, over 12,800 margins.
    """
    from curation_audit.attacks.lira import Lira

    streams = Streams(101)
    inclusion = paired_inclusion(128, 100, streams)
    margin = streams.generator("margins").standard_normal(inclusion.shape) + inclusion
    of_label = special.expit(margin)
    seen = Observation(
        margin,
        Selection.from_mask(inclusion),
        np.stack([of_label, 1 - of_label], axis=2).astype(np.float32),
    )
    candidates = Candidates(np.zeros((100, 1)), np.arange(100), 100, np.zeros(100, dtype=np.int64))
    evidence = Lira(variance="shared").evidence(
        seen,
        inclusion,
        Knowledge(candidates=candidates),
        streams=streams.for_shadows("attack", range(128)),
    )
    slope, intercept = np.polyfit((margin - 0.5).ravel(), evidence.ravel(), 1)
    reached = clustered_auc(PairedEvidence.split(evidence, inclusion)).auc
    expected = [float(special.ndtr(np.sqrt(0.5))), 1.0, 0.0]
    return agrees(expected, [reached, float(slope), float(intercept)], 0.02)


def trace() -> Outcome:
    """Tracing in the mean of n of 2n standard normal rows of d columns: ``Phi(sqrt(d / n))``."""
    from curation_audit.attacks.trace import Trace
    from curation_audit.pipelines.scorers.mean import Mean

    streams = Streams(102)
    rng = streams.generator("rows")
    private = private_rows(rng.standard_normal((2 * N_MEMBERS, DIMENSION)))
    pool = Rows(tuple(map(str, range(300))), rng.standard_normal((300, DIMENSION)))
    inclusion = paired_inclusion(32, 2 * N_MEMBERS, streams)
    shadows = streams.for_shadows("shadow", range(32))
    scorer = Mean(metric="inner_product")
    scores = scorer.fit(private, inclusion, pool, streams=shadows).score(pool.features)
    nothing = np.zeros((32, 0, 0), dtype=np.float32)
    evidence = Trace().evidence(
        Observation(scores, Selection.from_mask(scores > 0), nothing),
        inclusion,
        Knowledge(
            pool=pool.features,
            candidates=Candidates(private.features, private.unit, private.n_candidates),
            linearisation=scorer.linearise(private, pool),
        ),
        streams=shadows,
    )
    reached = clustered_auc(PairedEvidence.split(evidence, inclusion)).auc
    return agrees([float(special.ndtr(np.sqrt(DIMENSION / N_MEMBERS)))], [reached], 0.02)


def tie_order() -> Outcome:
    """Rows of equal score are picked by a keyed hash of their id, wherever they stand."""
    from curation_audit.pipelines.rules import cut
    from curation_audit.pipelines.rules.top import best_rows

    names = [f"row {i}" for i in range(6)]
    picked = []
    for order in (names, names[::-1]):
        ranks = cut.tie_order(order, 17)
        rows = best_rows(np.zeros((1, 6)), ranks, 3).indices
        picked.append(", ".join(sorted(order[row].removeprefix("row ") for row in rows)))
    expected = "0, 1, 4"
    return Outcome(
        f"rows {expected}", f"rows {' and '.join(dict.fromkeys(picked))}", set(picked) == {expected}
    )


KNOWN_ATTACKS: Final = (
    Check("known answers", "LiRA on Gaussian margins", lira),
    Check("known answers", "tracing a mean", trace),
    Check("known answers", "order of ties", tie_order),
)
