"""A private-against-pool classifier that is a torch module of the user's."""

import hashlib
import inspect
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch

from curation_audit.checks import InputError
from curation_audit.dp.module_sgd import ModuleSgdSettings, PrivateUnits, fit_module
from curation_audit.pipelines.base import Family, FittedScorers, PrivateRows, Rows
from curation_audit.releases.module_map import MakeModule, fresh, numbers_of
from curation_audit.results import Adjacency
from curation_audit.streams import ShadowStreams
from curation_audit.training.device import resolve_device
from curation_audit.training.dp_noise import SecretRandomness
from curation_audit.types import Features, Inclusion, Labels, Mask, Scores

if TYPE_CHECKING:
    from torch import nn

ROWS_PER_BLOCK = 8192


@dataclass(frozen=True, slots=True, kw_only=True)
class PrivateModule:
    """``make(d)`` gives a network from d features to one logit; Opacus trains it, once a shadow.

    A module has no shadow axis, so this adapter loops. Its first weights are public: ``make`` is
    called under one public seed, and every shadow starts from the same weights. ``entry_point``
    names it for a release; ``None`` for a function that was given in Python.
    """

    name: ClassVar[str] = "module_sgd"
    family: ClassVar[Family] = "other"
    make: MakeModule
    entry_point: str | None
    settings: ModuleSgdSettings
    adjacency_of_claim: Adjacency
    device: str = "auto"

    @property
    def adjacency(self) -> Adjacency:
        """The game that a coin plays: public constants make it zero-out."""
        return "add_remove" if self.adjacency_of_claim == "add_remove" else "zero_out"

    def describe(self) -> dict[str, Any]:
        """What results are told apart by: where the module is made, and that file's content."""
        named = self.make if hasattr(self.make, "__qualname__") else type(self.make)
        try:
            source = Path(inspect.getfile(named)).read_bytes()
        except (OSError, TypeError):
            raise InputError(
                "curate.protect.module",
                "is made by something that is defined in no file, so that its results cannot be "
                "told from an earlier version's",
                "put the function into a module",
            ) from None
        return {
            "make": f"{named.__module__}.{named.__qualname__}",
            "source": hashlib.sha256(source).hexdigest(),
            "device": resolve_device(self.device).type,
            "adjacency": self.adjacency_of_claim,
            **asdict(self.settings),
        }

    def embed(self, features: Features, labels: Labels | None = None) -> Features:
        """The features and a column of ones: what a linear surrogate of the module sees."""
        return np.concatenate([features, np.ones_like(features[:, :1])], axis=1)

    def fit(
        self, private: PrivateRows, inclusion: Inclusion, pool: Rows, *, streams: ShadowStreams
    ) -> FittedScorers:
        """One private training after another."""
        held, root = private.unit_inclusion(inclusion), streams.root
        device = resolve_device(self.device)
        modules = []
        for s, shadow in enumerate(streams.shadows):
            own = root.for_shadows(streams.scope, (shadow,))
            secret = SecretRandomness.of_streams(own, device)
            draws = root.generator("module_sgd/public")
            modules.append(self.fit_units(private, held[s], pool, secret=secret, draws=draws))
        return ModuleScorers(modules)

    def fit_units(
        self,
        private: PrivateRows,
        held: Mask,
        pool: Rows,
        *,
        secret: SecretRandomness,
        draws: np.random.Generator,
    ) -> "nn.Module":
        """One training on the units ``held`` (U,), with this noise and these coins.

        ``draws``: batches of public rows.
        """
        module = self.fresh(private.features.shape[1])
        numbers, rows = numbers_of(module), held[private.owners]
        return fit_module(
            module,
            PrivateUnits(
                private.features[rows].astype(numbers), private.owners[rows], private.n_units
            ),
            pool.features.astype(numbers),
            self.settings,
            secret=secret,
            public_draws=draws,
        )

    def fresh(self, d: int) -> "nn.Module":
        """The module before training."""
        return fresh(self.make, d).to(resolve_device(self.device))

    def linearise(self, private: PrivateRows, pool: Rows) -> None:
        """Nothing is known about the module."""
        return


@dataclass(frozen=True, slots=True)
class ModuleScorers:
    """S trained modules."""

    modules: list["nn.Module"]

    def score(self, features: Features, labels: Labels | None = None) -> Scores:
        """(rows, d) -> (S, rows)."""
        return np.stack([self._score(module, features) for module in self.modules])

    @staticmethod
    def _score(module: "nn.Module", features: Features) -> Features:
        device, rows = next(module.parameters()).device, features.astype(numbers_of(module))
        with torch.no_grad():
            parts = [
                module(torch.as_tensor(block, device=device)).reshape(-1)
                for block in np.array_split(rows, -(-len(rows) // ROWS_PER_BLOCK))
            ]
        scores: Features = torch.cat(parts).cpu().numpy().astype(features.dtype)
        return scores
