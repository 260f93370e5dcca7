"""Canaries: made-up records that leak more than real ones, to be the candidates at stake.

They are made from the public pool and the seed only, so they tell nothing about the private set.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias, get_args

import numpy as np

from curation_audit.checks import SettingError, one_of
from curation_audit.pipelines.base import ALWAYS_IN, CurationData, PrivateRows, Rows, Scorer
from curation_audit.pipelines.data import MIN_CANDIDATES
from curation_audit.streams import Streams
from curation_audit.types import Features, Indices, Labels

Kind: TypeAlias = Literal["isolated", "rare_feature", "large_gradient"]
MOST_ROWS_SEARCHED = 20_000


@dataclass(frozen=True, slots=True, kw_only=True)
class CanarySettings:
    """How many canaries, and of which kind.

    ``isolated``: copies of pool rows that lie far from one another, for curators that look for
    near rows. ``large_gradient``: as long as the longest pool row, in directions as different as
    can be, for curators that average or fit. ``rare_feature``: one rarely used column each, for
    counts. ``auto`` goes by the scorer's family.
    """

    kind: Literal["auto", Kind] = "auto"
    count: int = 200

    def __post_init__(self) -> None:
        """Check the kind and the count."""
        one_of("attack.canaries.kind", self.kind, ("auto", *get_args(Kind)))
        if self.count < MIN_CANDIDATES:
            raise SettingError(
                "attack.canaries.count",
                f"found {self.count}",
                f"expected at least {MIN_CANDIDATES}",
            )

    def kind_for(self, scorer: Scorer) -> Kind:
        """The kind, where ``auto`` leaves it to the scorer's family."""
        if self.kind != "auto":
            return self.kind
        return "large_gradient" if scorer.family == "linear" else "isolated"


def with_canaries(
    data: CurationData, scorer: Scorer, settings: CanarySettings, streams: Streams
) -> CurationData:
    """The same data with canaries as the candidates, and all real private rows in every shadow.

    Raises:
        SettingError: if the pool does not give that many canaries of that kind.
    """
    features = canary_features(
        data.pool.features,
        kind=settings.kind_for(scorer),
        count=settings.count,
        seed=streams.seed,
        embed=scorer.embed,
    )
    real, names = data.private, _names(data.private, settings.count)
    labels = None
    if real.labels is not None and data.pool.labels is not None:
        labels = np.concatenate([real.labels, _labels_nearby(features, data.pool)])
    grown = PrivateRows(
        ids=real.ids + names,
        features=np.concatenate([real.features, features.astype(real.features.dtype)]),
        unit=np.append(np.full(len(real), ALWAYS_IN), np.arange(settings.count)).astype(np.int64),
        unit_ids=names,
        labels=labels,
        owner=np.append(real.owners, real.owners.max() + 1 + np.arange(settings.count)),
    )
    return replace(data, private=grown, n_canaries=settings.count)


def _names(private: PrivateRows, count: int) -> tuple[str, ...]:
    """Ids that no real record has."""
    prefix = "canary"
    while any(name.startswith(prefix) for name in (*private.ids, *private.unit_ids)):
        prefix += "-"
    return tuple(f"{prefix} {i}" for i in range(count))


def _labels_nearby(features: Features, pool: Rows) -> Labels:
    """The label of the nearest pool row, int64 (rows,)."""
    if pool.labels is None:
        raise ValueError("the pool has no labels.")
    distance = (pool.features**2).sum(axis=1) - 2 * features @ pool.features.T
    labels: Labels = pool.labels[distance.argmin(axis=1)]
    return labels


def canary_features(
    pool: Features,
    *,
    kind: Kind,
    count: int,
    seed: int = 0,
    embed: Callable[[Features], Features] | None = None,
) -> Features:
    """Features of canaries for a pool of one's own; see ``CanarySettings``.

    Args:
        pool: the public rows, (m, d).
        kind: what makes them leak.
        count: how many.
        seed: the same seed and pool give the same canaries.
        embed: the curator's embedding, (rows, d) -> (rows, p), in which ``isolated`` rows lie far
            from one another; the features themselves by default.

    Returns:
        (count, d), in the pool's dtype.

    Raises:
        SettingError: if the pool does not give that many.
    """
    rng = Streams(seed).generator("canaries")
    if kind == "isolated":
        rows = np.sort(rng.permutation(len(pool))[:MOST_ROWS_SEARCHED])
        searched = pool[rows]
        return searched[_far_apart(embed(searched) if embed else searched, count)]
    if kind == "rare_feature":
        return _rare_feature(pool, count, rng).astype(pool.dtype)
    return _large_gradient(pool, count, rng).astype(pool.dtype)


def _far_apart(rows: Features, count: int) -> Indices:
    """Indices of rows, each the farthest from those before it (Gonzalez 1985), outliers first."""
    embedded = rows.astype(np.float64)
    distance = ((embedded - embedded.mean(axis=0)) ** 2).sum(axis=1)
    chosen = [int(distance.argmax())]
    distance = np.full(len(rows), np.inf)
    for _ in range(count - 1):
        distance = np.minimum(distance, ((embedded - embedded[chosen[-1]]) ** 2).sum(axis=1))
        chosen.append(int(distance.argmax()))
        if not distance[chosen[-1]] > 0:
            raise _too_many(count, len(chosen) - 1, "different rows")
    return np.array(chosen)


def _rare_feature(pool: Features, count: int, rng: np.random.Generator) -> Features:
    """The pool's commonest row (medians), with the largest value of one of its rarest columns."""
    median, largest = np.median(pool, axis=0), pool.max(axis=0)
    used = (pool != median).sum(axis=0)
    able = np.flatnonzero(largest > median)
    if len(able) < count:
        raise _too_many(count, len(able), "columns that some row uses")
    able = rng.permutation(able)  # equally rare columns are drawn at random
    columns = able[np.argsort(used[able], kind="stable")[:count]]
    canaries = np.tile(median, (count, 1))
    canaries[np.arange(count), columns] = largest[columns]
    return canaries


def _large_gradient(pool: Features, count: int, rng: np.random.Generator) -> Features:
    """Random orthonormal bases, as many as are needed, at the length of the longest pool row."""
    d = pool.shape[1]
    bases = np.linalg.qr(rng.standard_normal((-(-count // d), d, d)))[0]
    longest = np.linalg.norm(pool, axis=1).max()
    canaries: Features = longest * bases.reshape(-1, d)[:count]
    return canaries


def _too_many(count: int, there: int, what: str) -> SettingError:
    return SettingError(
        "attack.canaries.count",
        f"found {count}, but the pool has {there} {what} to make them of",
        "ask for fewer, or for another kind",
    )
