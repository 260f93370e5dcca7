"""A release: the small private artefact of one real curation, made once and used for ever.

Scores, ranks and picks that are computed from it alone are post-processing: a retry scores again
and costs nothing. It is stored before anything reads it, as drawing the noise again would spend
the budget again.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from curation_audit.checks import InputError
from curation_audit.releases.maps_file import ScoringMap, arrays_of, check_weights, map_of
from curation_audit.releases.table import columns_of, with_column
from curation_audit.storage import array_digest, pack_arrays, unpack_arrays, write_atomically
from curation_audit.types import Features, Floats

if TYPE_CHECKING:
    import pyarrow as pa

FORMAT: Final = 1
NUMBERS_AT_ONCE: Final = 1 << 15
"""In float64 these, and as many of the shift and the scale, stay in a core's cache."""
LEAST_ROWS: Final = 256
SCORE: Final = "dp_score"


@dataclass(frozen=True, slots=True, eq=False)
class Release:
    """Private weights on public features, and the card that says what they guarantee.

    ``weights`` float64 (p,), or (p + 1,) with an ``intercept`` last; ``map``, and the ``shift`` and
    ``scale`` (d,) of features, are public. ``columns``: what it reads from a table, one column of
    vectors or one column per feature.

    It may be pickled between the workers of a job; on disk it is kept by ``save``.
    """

    map: ScoringMap
    weights: Floats
    facts: Mapping[str, Any]
    shift: Floats
    scale: Floats
    intercept: bool = False
    columns: tuple[str, ...] = ()

    def __repr__(self) -> str:
        """Short: jobs print what they run."""
        of = self.facts
        told = ", ".join(f"{name}={of[name]!r}" for name in ("mechanism", "epsilon") if name in of)
        return f"Release({told}{', ' if told else ''}columns={self.columns})"

    def card(self) -> dict[str, Any]:
        """What the release guarantees and what not; never the size of the private set."""
        return dict(self.facts)

    @property
    def fingerprint(self) -> str:
        """The sha256 of all that scores and guarantees follow from, in hex; for caches."""
        return array_digest(self._arrays())

    def reading(self, *columns: str) -> "Release":
        """The same release for tables that call its columns otherwise."""
        return replace(self, columns=columns)

    def __call__(self, table: "pa.Table") -> "pa.Table":
        """The table with a column ``dp_score`` (float64) appended.

        Pure, row by row and deterministic: a row's score depends on nothing but the row, to the
        last bit, whatever batch it comes in. A row with a missing or infinite feature scores NaN.

        Raises:
            InputError: where a column is missing, holds no numbers, or ``dp_score`` is taken.
        """
        return with_column(table, SCORE, self.score(columns_of(table, self.columns, self.width)))

    @property
    def width(self) -> int:
        """d, how many features a row has."""
        return len(self.shift)

    def score(self, features: Features) -> Floats:
        """Scores of rows as they are read, (rows, d) -> float64 (rows,): as ``__call__``.

        Raises:
            InputError: for rows with another number of features than the pool's.
        """
        rows = np.asarray(features)
        if rows.ndim != 2 or rows.shape[1] != self.width or rows.dtype.kind not in "biuf":
            raise InputError(
                "features",
                f"found an array of shape {rows.shape} ({rows.dtype})",
                f"expected rows with {self.width} numbers each, the pool's features",
            )
        slopes = self.weights[: len(self.weights) - self.intercept]
        scores = np.empty(len(rows))
        with np.errstate(over="ignore", invalid="ignore"):
            for at, block in self._scaled_blocks(rows):
                scores[at : at + len(block)] = self.map.scores(block, slopes)
            scores += self.weights[len(slopes) :].sum()
        scores[~np.isfinite(scores)] = np.nan
        return scores

    def _scaled_blocks(self, rows: Features) -> Iterator[tuple[int, Floats]]:
        """Shifted and scaled rows in float64, and where they begin; a block lasts until the next.

        The arrays are of one shape, as numpy is half as fast where it repeats a short row.
        """
        n = min(len(rows), max(LEAST_ROWS, NUMBERS_AT_ONCE // max(1, self.width)))
        buffer = np.empty((n, self.width))
        shift, factor = (np.tile(one, (n, 1)) for one in (self.shift, 1 / self.scale))
        for at in range(0, len(rows), max(1, n)):
            block = buffer[: min(n, len(rows) - at)]
            block[:] = rows[at : at + n]
            block -= shift[: len(block)]
            block *= factor[: len(block)]
            yield at, block

    def save(self, path: Path | str) -> Path:
        """Write to one npz file, without pickle; the file appears whole or not at all."""
        target = Path(path)
        write_atomically(target, pack_arrays(self._arrays()))
        return target

    def _arrays(self) -> dict[str, np.ndarray]:
        head = {
            "format": FORMAT,
            "map": self.map.name,
            "intercept": self.intercept,
            "columns": list(self.columns),
            "card": self.card(),
        }
        return {
            "head": np.frombuffer(json.dumps(head).encode(), dtype=np.uint8),
            "weights": self.weights,
            "feature_shift": self.shift,
            "feature_scale": self.scale,
            **arrays_of(self.map),
        }

    @classmethod
    def load(cls, path: Path | str) -> "Release":
        """Read what ``save`` wrote.

        Raises:
            InputError: for a file that is no release.
        """
        try:
            return cls._of(unpack_arrays(Path(path).read_bytes()))
        except FileNotFoundError:
            raise InputError(str(path), "is not there", "name a file that save() wrote") from None
        except Exception:  # numpy and zipfile have many words for a broken file
            raise InputError(str(path), "is no release", "name a file that save() wrote") from None

    @classmethod
    def _of(cls, arrays: Mapping[str, np.ndarray]) -> "Release":
        head = json.loads(arrays["head"].tobytes())
        if head["format"] != FORMAT:
            raise ValueError("another format")
        public, weights = map_of(head["map"], arrays), arrays["weights"]
        check_weights(weights, public, intercept=head["intercept"])
        return cls(
            map=public,
            weights=weights,
            facts=dict(head["card"]),
            shift=arrays["feature_shift"],
            scale=arrays["feature_scale"],
            intercept=head["intercept"],
            columns=tuple(head.get("columns", ())),
        )
