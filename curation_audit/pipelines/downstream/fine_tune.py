"""Private training on the labelled private rows, from the weights that the picks gave.

The second of the two stages of Yu et al. (arXiv:2305.13865): select public rows by a private
scorer, train on them, then train on the private rows by DP-SGD. The start weights are a function
of the curation's release, so each step is a mechanism on the private set that knows what was
released before, and its event composes with the curation's.
"""

from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from curation_audit.pipelines.base import FittedModels, PrivateRows
from curation_audit.pipelines.downstream.dense import DenseModels, dense_models, with_ones
from curation_audit.results import Adjacency
from curation_audit.streams import ShadowStreams
from curation_audit.training.device import resolve_device
from curation_audit.training.dp_batches import PaddedUnits
from curation_audit.training.dp_noise import SecretRandomness
from curation_audit.training.dp_sgd import DpSgdSettings, fit_dp_sgd
from curation_audit.types import Inclusion


@dataclass(frozen=True, slots=True, kw_only=True)
class FineTune:
    """DP-SGD of softmax cross-entropy, all rows of a unit clipped together.

    Shadows mask units and keep the public constants of ``settings``. The classes are the pool's: a
    private row of any other label counts as no row, which is a rule on that row alone.
    """

    settings: DpSgdSettings
    adjacency_of_claim: Adjacency
    device: str = "auto"

    @property
    def adjacency(self) -> Adjacency:
        """The game that a coin plays: public constants make it zero-out."""
        return "add_remove" if self.adjacency_of_claim == "add_remove" else "zero_out"

    def describe(self) -> dict[str, Any]:
        """What results are told apart by."""
        device = resolve_device(self.device).type
        return {"adjacency": self.adjacency_of_claim, "device": device, **asdict(self.settings)}

    def fit(
        self,
        models: FittedModels,
        private: PrivateRows,
        inclusion: Inclusion,
        *,
        streams: ShadowStreams,
        secret: SecretRandomness | None = None,
    ) -> DenseModels:
        """Train S models further, each on the private rows that it holds; ``inclusion`` (S, N)."""
        start = dense_models(models).layers
        units = self.units(private)
        layers = fit_dp_sgd(
            units,
            private.unit_inclusion(inclusion),
            np.zeros((0, units.features.shape[2]), units.features.dtype),
            self.settings,
            # a private scorer draws from the streams of these names, too
            streams=replace(streams, scope=f"{streams.scope}/fine-tuning"),
            device=resolve_device(self.device),
            secret=secret,
            start=start,
        )
        return DenseModels(layers)

    def units(self, private: PrivateRows) -> PaddedUnits:
        """All U units of the private set, with the rows that have a label of the pool.

        Raises:
            ValueError: if the private rows have no labels.
        """
        if private.labels is None:
            raise ValueError("fine-tuning needs labels of the private rows.")
        counts = (private.labels >= 0) & (private.labels < self.settings.outputs)
        rows = private.features[counts]
        return PaddedUnits.of_rows(
            rows if self.settings.hidden else with_ones(rows),
            private.owners[counts],
            private.n_units,
            private.labels[counts],
        )
