"""A release: the small private artefact of one real curation, made once and used for ever.

Scores, ranks and picks that are computed from it alone are post-processing: a retry scores again
and costs nothing. It is stored before anything reads it, as drawing the noise again would spend
the budget again.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import Any, Final

import numpy as np

from curation_audit.checks import InputError
from curation_audit.dp.noise import SecureNoise, on_grid
from curation_audit.pipelines.base import CurationData
from curation_audit.pipelines.protection.protect import Protected
from curation_audit.pipelines.scorers.linear import LinearScorers
from curation_audit.pipelines.scorers.noisy_sum import NoisySum
from curation_audit.pipelines.scorers.private_classifier import PrivateClassifier
from curation_audit.pipelines.scorers.public_maps import MeanMap, PublicMap, VotesMap
from curation_audit.streams import Streams
from curation_audit.training.dp_noise import ArrayNoise, SecretRandomness
from curation_audit.types import Features, Floats
from curation_audit.version import __version__

FORMAT: Final = 1
NOT_COVERED: Final = (
    "the pool, and private rows that also stand in it",
    "what the private set has in common (its topic, its population)",
    "units that are near-duplicates of one another",
    "anything that was computed from the private set otherwise",
)
SOURCE: Final = (
    "AES-256 in counter mode, keyed by the operating system and never stored; float64, released on "
    "a grid 2^20 times finer than the noise; the guarantee is that of exact numbers, and not proven "
    "for floating-point ones"
)


@dataclass(frozen=True, slots=True, eq=False)
class Release:
    """Private weights on public features, and the card that says what they guarantee.

    ``weights`` float64 (p,), or (p + 1,) with an ``intercept`` last; ``map``, and the ``shift`` and
    ``scale`` (d,) of features, are public.
    """

    map: PublicMap
    weights: Floats
    facts: Mapping[str, Any]
    shift: Floats
    scale: Floats
    intercept: bool = False

    def card(self) -> dict[str, Any]:
        """What the release guarantees and what not; never the size of the private set."""
        return dict(self.facts)

    def score(self, features: Features) -> Floats:
        """Scores of rows as they are read, (rows, d) -> float64 (rows,): pure, deterministic.

        Raises:
            InputError: for rows with another number of features than the pool's.
        """
        rows = np.asarray(features, dtype=np.float64)
        try:
            if rows.ndim != 2:
                raise ValueError("these are no rows")
            return self.score_scaled((rows - self.shift) / self.scale)
        except (ValueError, IndexError):
            problem = f"found an array of shape {rows.shape}"
            hint = "expected rows with the pool's features"
            raise InputError("features", problem, hint) from None

    def score_scaled(self, features: Features) -> Floats:
        """Scores of rows that are shifted and scaled already, (rows, d) -> float64 (rows,)."""
        n_slopes = len(self.weights) - self.intercept
        queries = self.map.query(np.asarray(features, dtype=np.float64))
        scores: Floats = queries @ self.weights[:n_slopes] + self.weights[n_slopes:].sum()
        return scores

    def save(self, path: Path | str) -> Path:
        """Write to one npz file, without pickle; the file appears whole or not at all."""
        target = Path(path)
        head = {
            "format": FORMAT,
            "map": self.map.name,
            "intercept": self.intercept,
            "card": self.card(),
        }
        arrays: dict[str, Any] = {
            "head": np.frombuffer(json.dumps(head).encode(), dtype=np.uint8),
            "weights": self.weights,
            "feature_shift": self.shift,
            "feature_scale": self.scale,
            **_arrays_of(self.map),
        }
        temporary = target.with_name(f"{target.name}.{os.getpid()}.tmp")
        try:
            with temporary.open("wb") as file:
                np.savez(file, **arrays)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, target)
            _flush_folder(target.parent)
        except OSError:
            temporary.unlink(missing_ok=True)
            raise
        return target

    @classmethod
    def load(cls, path: Path | str) -> "Release":
        """Read what ``save`` wrote.

        Raises:
            InputError: for a file that is no release.
        """
        try:
            with np.load(BytesIO(Path(path).read_bytes()), allow_pickle=False) as stored:
                arrays = {name: stored[name] for name in stored.files}
            head = json.loads(arrays["head"].tobytes())
            if head["format"] != FORMAT:
                raise ValueError("another format")
            public, weights = _map_of(head["map"], arrays), arrays["weights"]
            _check_weights(weights, public, intercept=head["intercept"])
            shift, scale = arrays["feature_shift"], arrays["feature_scale"]
            return cls(public, weights, dict(head["card"]), shift, scale, head["intercept"])
        except FileNotFoundError:
            raise InputError(str(path), "is not there", "name a file that save() wrote") from None
        except Exception:  # numpy and zipfile have many words for a broken file
            raise InputError(str(path), "is no release", "name a file that save() wrote") from None


def make_release(protected: Protected, data: CurationData) -> Release:
    """Run the mechanism once for real, on the whole private set.

    The noise comes from the operating system and is never the same again: store the result before
    it is used.

    Raises:
        InputError: for a mechanism without noise, or one whose release is not a scorer.
    """
    scorer, private = protected.scorer, data.private
    check_releasable(protected)
    if data.shift is None or data.scale is None:
        raise ValueError("the scaling of the features must be known.")
    everyone = np.ones((1, private.n_units), dtype=bool)
    if isinstance(scorer, NoisySum):
        of = scorer.mechanism
        noisy = of.release(scorer.vectors(private), everyone, [SecureNoise()])[0]
        weights = on_grid(noisy, of.noise)
    elif isinstance(scorer, PrivateClassifier) and not scorer.settings.hidden:
        fitted = scorer.fit_units(
            replace(private, features=private.features.astype(np.float64)),
            everyone,
            replace(data.pool, features=data.pool.features.astype(np.float64)),
            streams=Streams(0).for_shadows("release", (0,)),
            secret=_operating_system(),
        )
        if not isinstance(fitted, LinearScorers):
            raise TypeError("a linear scorer has weights.")
        if fitted.weights.dtype != np.float64:
            raise TypeError("noise in fewer bits would show in the weights.")
        weights = on_grid(fitted.weights[0], scorer.settings.last_noise)
    else:
        raise TypeError(f"{type(scorer).__name__} cannot be released.")
    intercept = isinstance(scorer, PrivateClassifier)
    facts = _facts(protected)
    return Release(scorer.map, weights, facts, data.shift, data.scale, intercept)


def _flush_folder(folder: Path) -> None:
    """Make a rename last through a power cut: a lost release is a budget spent for nothing."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def check_releasable(protected: Protected) -> None:
    """Refuse what has no release: to be asked before anything is booked.

    Noise on the selection leaves the scorer bare, so that it must never leave.

    Raises:
        InputError: for a mechanism without noise, or one whose release is not a linear scorer.
    """
    if protected.claim is None:
        raise InputError("curate.protect.epsilon", "is infinite", "a release needs noise")
    if "scores" not in protected.protection.covers:
        raise InputError(
            "curate.protect.mechanism",
            f"{protected.protection.mechanism} puts noise on the selection only, so that its "
            "scorer must never leave",
            "use gaussian_mean, centroid_votes, dp_gd or dp_sgd without hidden layers",
        )
    scorer = protected.scorer
    linear = isinstance(scorer, PrivateClassifier) and not scorer.settings.hidden
    if not isinstance(scorer, NoisySum) and not linear:
        raise InputError(
            "curate.protect.mechanism",
            f"{protected.protection.mechanism} has no linear scorer to release",
            "use gaussian_mean, centroid_votes, dp_gd or dp_sgd without hidden layers",
        )


def _operating_system() -> SecretRandomness:
    """Noise and sampling that nobody can repeat."""
    return SecretRandomness([SecureNoise()], ArrayNoise(SecureNoise().standard_normal))


def _facts(protected: Protected) -> dict[str, Any]:
    of = replace(protected.protection, noise_source=SOURCE)
    return {
        "tool": f"curation-audit {__version__}",
        "mechanism": of.mechanism,
        "unit": of.unit,
        "adjacency": of.adjacency,
        "epsilon": of.epsilon,
        "delta": of.delta,
        "covers": list(of.covers),
        "events": list(of.events),
        "sensitivities": list(of.sensitivities),
        "assumptions": dict(of.assumptions),
        "tuning": of.tuning,
        "noise": of.noise_source,
        "not_covered": list(NOT_COVERED),
    }


def _arrays_of(public: PublicMap) -> dict[str, np.ndarray]:
    if isinstance(public, VotesMap):
        return {"centroids": public.centroids, "sizes": public.sizes}
    if isinstance(public, MeanMap):
        there = {"center": public.center, "root": public.root}
        arrays = {name: array for name, array in there.items() if array is not None}
        return {"metric": np.array(public.metric), **arrays}
    raise TypeError(f"{type(public).__name__} cannot be stored.")


def _map_of(name: str, arrays: Mapping[str, np.ndarray]) -> PublicMap:
    if name == VotesMap.name:
        return VotesMap(arrays["centroids"], arrays["sizes"])
    if name != MeanMap.name:
        raise ValueError("an unknown map")
    metric = str(arrays["metric"])
    if metric not in ("cosine", "inner_product"):
        raise ValueError("an unknown metric")
    return MeanMap(metric, arrays.get("center"), arrays.get("root"))  # type: ignore[arg-type]


def _check_weights(weights: np.ndarray, public: PublicMap, *, intercept: bool) -> None:
    """Raise ``ValueError`` for weights that are none, or belong to another map."""
    if weights.dtype != np.float64 or weights.ndim != 1 or not np.isfinite(weights).all():
        raise ValueError("these are no weights")
    if not isinstance(intercept, bool):
        raise TypeError("there is an intercept, or there is none")
    width = _width(public)
    if width is not None and len(weights) != width + intercept:
        raise ValueError("weights of another map")


def _width(public: PublicMap) -> int | None:
    """How many numbers a row is mapped to; ``None`` where that is the number of its features."""
    if isinstance(public, VotesMap):
        return len(public.centroids)
    if not isinstance(public, MeanMap):
        return None
    if public.root is not None:
        return int(public.root.shape[1])
    return None if public.center is None else len(public.center)
