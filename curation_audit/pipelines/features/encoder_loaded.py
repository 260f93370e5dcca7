"""A frozen encoder at work: the same in whatever batch, checked on public rows first."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

import numpy as np

from curation_audit.checks import InputError
from curation_audit.pipelines.data_sets import ReadSet
from curation_audit.pipelines.features.base import FeatureMap, with_features
from curation_audit.pipelines.features.texts import texts_of
from curation_audit.types import Features

Reads: TypeAlias = Literal["features", "texts"]
Encode: TypeAlias = Callable[[Any], Any]
N_PROBED: Final = 8
ALONE_AND_TOGETHER: Final = 1e-4
"""How far a row may move with its neighbours, beside the largest number: products round."""
LONGEST_REASON: Final = 200


@dataclass(frozen=True, slots=True)
class LoadedEncoder:
    """``encode`` maps float32 (rows, d), or a tuple of texts, to numbers (rows, p).

    ``settings`` tell it apart, the hash of its file or the version of its package among them.
    """

    name: str
    settings: Mapping[str, Any]
    encode: Encode
    batch: int
    reads: Reads = "features"

    def describe(self) -> dict[str, Any]:
        """What results are told apart by."""
        return dict(self.settings)

    def fit(self, pool: ReadSet) -> FeatureMap:
        """Nothing is fitted; some rows of the pool show whether the encoder is a map of rows.

        An encoder that mixes the rows of a batch would let private rows into each other's features,
        and one that draws at random would give a row other features each time it is seen.

        Raises:
            InputError: for either, and for an encoder that fails on these rows.
        """
        rows, where = self._rows_of(pool), self._where(pool)
        some = np.unique(np.linspace(0, len(rows) - 1, N_PROBED).astype(np.int64)).tolist()
        probed = [rows[i : i + 1] for i in some]
        joined = sum(probed, ()) if self.reads == "texts" else np.concatenate(probed)
        together, again = (self._encoded(joined, pool) for _ in range(2))
        if _differ(together, again):
            hint = "turn off what draws at random, e.g. dropout: module.eval() before it is saved"
            raise InputError(where, "gives the same rows other features when asked again", hint)
        alone = np.concatenate([self._encoded(one, pool) for one in probed])
        if _differ(together, alone):
            raise InputError(
                where,
                "gives a row other features alone than in a batch, so that rows reach each other",
                "save it in evaluation mode: batch normalisation then keeps its public moments",
            )

        def mapped(data: ReadSet) -> ReadSet:
            return with_features(data, self._encoded(self._rows_of(data), data), self.name)

        return mapped

    def _where(self, data: ReadSet) -> str:
        return f"{data.where}, step {self.name}"

    def _rows_of(self, data: ReadSet) -> Any:
        """What is encoded: float32 (rows, d), or a tuple of texts."""
        if self.reads == "texts":
            return texts_of(data)
        if not data.features.shape[1]:
            hint = "put a step that makes features of texts before it, or set reads: texts"
            raise InputError(data.where, f"{self.name} finds no features", hint)
        with np.errstate(over="ignore"):  # what is too large is told by what comes of it
            return data.features.astype(np.float32)

    def _encoded(self, rows: Any, data: ReadSet) -> Features:
        """All rows, a batch at a time, float32 (rows, p)."""
        starts = range(0, len(rows), self.batch)
        parts = [self._one_batch(rows[at : at + self.batch], data, at) for at in starts]
        widths = {part.shape[1] for part in parts}
        if len(widths) > 1:
            problem = f"gives {' or '.join(map(str, sorted(widths)))} numbers for a row"
            raise InputError(self._where(data), problem, "expected as many for every row")
        return np.concatenate(parts)

    def _one_batch(self, rows: Any, data: ReadSet, at: int) -> Features:
        where = self._where(data)
        try:
            found = np.asarray(self.encode(rows))
        except InputError:
            raise
        except Exception as error:  # another's code may fail in any way
            raise InputError(where, _told(error, rows, public=data.name == "public")) from None
        if found.ndim != 2 or len(found) != len(rows) or not found.shape[1]:
            problem = f"gave an array of shape {found.shape} for {len(rows)} rows"
            raise InputError(where, problem, "expected (rows, p)")
        if found.dtype.kind not in "biuf":
            raise InputError(where, f"gave {found.dtype} values", "expected numbers")
        with np.errstate(over="ignore"):
            features: Features = found.astype(np.float32)
        wrong = np.flatnonzero(~np.isfinite(features).all(axis=1))
        if len(wrong):
            problem = "gave numbers that are NaN, infinite or too large for float32"
            raise InputError(f"{where}, row {at + wrong[0] + 1}", problem)
        return features


def _differ(one: Features, other: Features) -> bool:
    """Whether two encodings of the same rows are apart by more than rounding."""
    if one.shape != other.shape:
        return True
    far = np.abs(one - other).max() > ALONE_AND_TOGETHER * np.abs(one).max()
    return bool(far)


def _told(error: Exception, rows: Any, *, public: bool) -> str:
    """What went wrong; the words of another's error only where they can quote public rows alone."""
    size = f"rows of {rows.shape[1]} features" if isinstance(rows, np.ndarray) else "texts"
    text = str(error).strip()
    # TorchScript tells a whole stack, with the cause at its end
    reason = text.splitlines()[-1] if "Traceback" in text else " ".join(text.split())
    quoted = f" ({reason[:LONGEST_REASON]})" if public and reason else ""
    return f"raised {type(error).__name__} for {size}{quoted}"
