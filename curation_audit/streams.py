"""Randomness: one seed, and an independent stream for every purpose and shadow.

A stream is keyed by what it is for, never by the order of the draws, so that a shadow's stream
depends neither on the chunks nor on the number of workers nor on what ran before.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class Streams:
    """The tree of streams below one seed."""

    seed: int

    def generator(self, purpose: str, *indices: int) -> np.random.Generator:
        """The stream of ``purpose`` and ``indices``; the same arguments give the same stream."""
        key = int.from_bytes(hashlib.sha256(purpose.encode()).digest()[:8], "big")
        return np.random.default_rng(np.random.SeedSequence(self.seed, spawn_key=(key, *indices)))

    def for_shadows(self, scope: str, shadows: Sequence[int]) -> "ShadowStreams":
        """The streams of some shadows of one family, e.g. ``scope="shadow"`` or ``"null"``."""
        return ShadowStreams(self, scope, tuple(shadows))


@dataclass(frozen=True, slots=True)
class ShadowStreams:
    """One stream per shadow for each purpose.

    ``runs``: which run of its shadow each is, where a shadow has several; see ``of_runs``.
    """

    root: Streams
    scope: str
    shadows: tuple[int, ...]
    runs: tuple[int, ...] | None = None

    def generators(self, purpose: str) -> list[np.random.Generator]:
        """One generator per shadow, in the order of ``shadows``."""
        name = f"{self.scope}/{purpose}"
        if self.runs is None:
            return [self.root.generator(name, s) for s in self.shadows]
        keys = zip(self.shadows, self.runs, strict=True)
        return [self.root.generator(f"{name}, run", s, run) for s, run in keys]

    def of_runs(self, places: Sequence[int], runs: Sequence[int]) -> "ShadowStreams":
        """The streams of some runs (R,): of the shadow at which place each is, and its number."""
        if self.runs is not None:
            raise ValueError("runs have no runs of their own.")
        shadows = tuple(self.shadows[place] for place in places)
        return ShadowStreams(self.root, self.scope, shadows, tuple(runs))
