"""Scores of the nearest private row, and what an attack that votes makes of them."""

import dataclasses

import numpy as np

from curation_audit.observations import KNOWABLE, Candidates, Knowledge, Observation, Selection
from curation_audit.streams import Streams
from tests.statistics.evidence import random_coins


def unit_rows(rng, n, d):
    rows = rng.standard_normal((n, d))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


@dataclasses.dataclass(frozen=True)
class Near:
    """Rows, the unit of each, rows that are always in, a pool and coins."""

    rows: np.ndarray
    unit: np.ndarray
    fixed: np.ndarray
    pool: np.ndarray
    inclusion: np.ndarray

    @classmethod
    def make(cls, seed=0, n=12, d=4, m=40, n_pairs=5, n_fixed=0):
        rng = np.random.default_rng(seed)
        unit = np.append(np.arange(n), [0, 1])
        return cls(
            unit_rows(rng, n + 2, d),
            unit,
            unit_rows(rng, n_fixed, d),
            unit_rows(rng, m, d),
            random_coins(rng, n_pairs, n),
        )

    def score(self, inclusion):
        similarity = np.concatenate([self.pool @ self.rows.T, self.pool @ self.fixed.T], axis=1)
        always = np.ones((len(inclusion), len(self.fixed)), dtype=bool)
        held = np.concatenate([inclusion[:, self.unit], always], axis=1)
        return np.where(held[:, None], similarity, -1).max(axis=2).astype(np.float32)

    def similarity(self):
        """Of every candidate, (m, N)."""
        alike = self.pool @ self.rows.T
        return np.stack(
            [alike[:, self.unit == n].max(axis=1) for n in range(self.unit.max() + 1)]
        ).T

    def attacked(self, attack, scores):
        n = self.inclusion.shape[1]
        seen = Observation(
            scores, Selection.from_mask(scores > 2), np.zeros((len(scores), n, 2), "f4")
        )
        knowledge = Knowledge(
            granted=KNOWABLE,
            pool=self.pool,
            candidates=Candidates(self.rows, self.unit, n),
            score=self.score,
        )
        streams = Streams(0).for_shadows("t", range(len(scores)))
        return attack.evidence(seen, self.inclusion, knowledge, streams=streams)
