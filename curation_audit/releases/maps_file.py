"""Public maps as named arrays, for the file of a release."""

from collections.abc import Mapping
from typing import Final, Protocol, TypeGuard

import numpy as np

from curation_audit.releases.density_maps import FourierMap, RatioMap
from curation_audit.releases.module_map import PROBED, ModuleMap
from curation_audit.releases.public_maps import MeanMap, PublicMap, StatisticMap, VotesMap
from curation_audit.types import Floats

STORED: Final = (MeanMap, VotesMap, FourierMap, RatioMap)


def has_file(of: StatisticMap) -> TypeGuard[PublicMap]:
    """Whether rows can be scored by this map from a file alone."""
    return isinstance(of, STORED)


class ScoringMap(Protocol):
    """What a release needs of a map: a name, and how rows are scored."""

    @property
    def name(self) -> str:
        """The mechanism that releases it."""
        ...

    def scores(self, rows: Floats, weights: Floats) -> Floats:
        """float64 (rows, d), (p,) -> (rows,), to the last bit whatever rows stand beside."""
        ...


def arrays_of(public: ScoringMap) -> dict[str, np.ndarray]:
    """What a map is made of; raises ``TypeError`` for one that has no file."""
    if isinstance(public, ModuleMap):
        return {"entry_point": np.array(public.entry_point), "expected": public.expected}
    if isinstance(public, VotesMap):
        arrays = {"centroids": public.centroids, "sizes": public.sizes}
        return arrays if public.votes == 1 else {**arrays, "votes": np.array(public.votes)}
    if isinstance(public, FourierMap):
        return {"frequencies": public.frequencies}
    if isinstance(public, RatioMap):
        width = np.array(public.width)
        return {"centers": public.centers, "inverse": public.inverse, "width": width}
    if isinstance(public, MeanMap):
        there = {"center": public.center, "root": public.root}
        arrays = {name: array for name, array in there.items() if array is not None}
        return {"metric": np.array(public.metric), **arrays}
    raise TypeError(f"{type(public).__name__} cannot be stored.")


def map_of(name: str, arrays: Mapping[str, np.ndarray]) -> ScoringMap:
    """The inverse of ``arrays_of``; raises ``ValueError`` or ``KeyError`` for anything else."""
    if name == VotesMap.name:
        votes = int(arrays["votes"]) if "votes" in arrays else 1
        if not 1 <= votes <= len(arrays["centroids"]):
            raise ValueError("more votes than centroids, or none")
        return VotesMap(arrays["centroids"], arrays["sizes"], votes)
    if name == FourierMap.name:
        return FourierMap(_matrix(arrays["frequencies"]))
    if name == RatioMap.name:
        return _ratio_map(arrays)
    if name == ModuleMap.name:
        return ModuleMap(str(arrays["entry_point"]), _probed(arrays["expected"]))
    if name != MeanMap.name:
        raise ValueError("an unknown map")
    metric = str(arrays["metric"])
    if metric not in ("cosine", "inner_product"):
        raise ValueError("an unknown metric")
    return MeanMap(metric, arrays.get("center"), arrays.get("root"))  # type: ignore[arg-type]


def _ratio_map(arrays: Mapping[str, np.ndarray]) -> RatioMap:
    centers, inverse, width = (
        _matrix(arrays["centers"]),
        _matrix(arrays["inverse"]),
        float(arrays["width"]),
    )
    if inverse.shape != (len(centers), len(centers)) or not 0 < width < np.inf:
        raise ValueError("centers, inverse and width do not belong together")
    return RatioMap(centers, inverse, width)


def _probed(array: np.ndarray) -> np.ndarray:
    if array.dtype != np.float64 or array.shape != (PROBED,) or not np.isfinite(array).all():
        raise ValueError("these are no logits of public rows")
    return array


def _matrix(array: np.ndarray) -> np.ndarray:
    if array.dtype != np.float64 or array.ndim != 2 or not np.isfinite(array).all():
        raise ValueError("this is no matrix of finite numbers")
    return array


def check_weights(weights: np.ndarray, public: ScoringMap, *, intercept: bool) -> None:
    """Raise ``ValueError`` for weights that are none, or belong to another map."""
    if weights.dtype != np.float64 or weights.ndim != 1 or not np.isfinite(weights).all():
        raise ValueError("these are no weights")
    if not isinstance(intercept, bool):
        raise TypeError("there is an intercept, or there is none")
    width = _width(public)
    if width is not None and len(weights) != width + intercept:
        raise ValueError("weights of another map")


def _width(public: ScoringMap) -> int | None:
    """How many numbers a row is mapped to; ``None`` where that is the number of its features."""
    if isinstance(public, VotesMap):
        return len(public.centroids)
    if isinstance(public, FourierMap):
        return 2 * int(public.frequencies.shape[1])
    if isinstance(public, RatioMap):
        return len(public.centers)
    if not isinstance(public, MeanMap):
        return None
    if public.root is not None:
        return int(public.root.shape[1])
    return None if public.center is None else len(public.center)
