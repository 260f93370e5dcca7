"""DP-SGD for a torch module of the user's, with Opacus' gradients per example.

As ``training/dp_sgd.py``, for one network of any shape: private units enter a step by coins of
their own and are clipped as a whole, the noise goes onto their sum, the divisor is a public
constant, and the gradient of public rows of target 0, at the already private weights, is free.
Opacus' data loader is not used: its rate is one over the number of batches, and not what was
asked for.
"""

import copy
import itertools
import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from curation_audit.checks import InputError, SettingError
from curation_audit.training.dp_noise import SecretRandomness
from curation_audit.training.poisson import poisson_batches
from curation_audit.types import Features, Indices

PATH = "module_sgd"
PROBED = 8  # public rows that tell whether a row's logit depends on its neighbours


@dataclass(frozen=True, slots=True, kw_only=True)
class ModuleSgdSettings:
    """The public constants of a run, as in ``DpSgdSettings``.

    ``units_at_once``: gradients per example are held of so many units, which bounds memory and
    changes nothing else. ``poisson_sampling`` and ``early_stopping`` are there to be refused.
    """

    steps: int
    sampling_rate: float
    clip: float
    noise_multiplier: float
    expected_units: float
    learning_rate: float
    momentum: float = 0.0
    l2: float = 0.0
    public_batch: int | None = None
    units_at_once: int = 256
    poisson_sampling: bool = True
    early_stopping: bool = False

    def __post_init__(self) -> None:
        """Refuse what has no guarantee, and what is out of range."""
        if not self.poisson_sampling:
            raise SettingError(
                f"{PATH}.poisson_sampling",
                "shuffled batches are not what amplification by sampling is proved for",
                "leave it true, or set sampling_rate: 1",
            )
        if self.early_stopping:
            raise SettingError(
                f"{PATH}.early_stopping",
                "stopping by private rows reveals them beyond the stated epsilon",
                "fix the number of steps beforehand",
            )
        positive = ("steps", "clip", "expected_units", "learning_rate", "units_at_once")
        for name in (*positive, "noise_multiplier", "l2"):
            value = getattr(self, name)
            if not 0 <= value < math.inf or (name in positive and value == 0):
                raise SettingError(f"{PATH}.{name}", f"found {value}, out of range")
        if not 0 < self.sampling_rate <= 1:
            raise SettingError(f"{PATH}.sampling_rate", f"found {self.sampling_rate}", "in (0, 1]")
        if not 0 <= self.momentum < 1:
            raise SettingError(f"{PATH}.momentum", f"found {self.momentum}", "expected in [0, 1)")
        if self.public_batch is not None and self.public_batch < 1:
            raise SettingError(f"{PATH}.public_batch", f"found {self.public_batch}")

    @property
    def last_noise(self) -> float:
        """The standard deviation of the last step's noise on each trained number."""
        return self.learning_rate * self.noise_multiplier * self.clip / self.expected_units


@dataclass(frozen=True, slots=True)
class PrivateUnits:
    """Rows (n, ...) of N units; ``unit`` int (n,) says whose each is. A unit may have none."""

    rows: Features
    unit: Indices
    n_units: int


def fit_module(
    module: nn.Module,
    private: PrivateUnits,
    public: Features,
    settings: ModuleSgdSettings,
    *,
    secret: SecretRandomness,
    public_draws: np.random.Generator,
) -> nn.Module:
    """A trained copy of ``module``, which gives one logit for each row.

    Args:
        module: maps (r, ...) to (r,) or (r, 1); its weights are where training starts.
        private: rows of target 1.
        public: rows (m, ...) of target 0, whose mean gradient is neither clipped nor noised.
        settings: public constants.
        secret: coins (one source) and noise, filled as (1, trainable numbers).
        public_draws: batches of public rows.

    Raises:
        InputError: where Opacus is missing, or the module has no private training.
    """
    opacus = _opacus()
    model = copy.deepcopy(module).train()
    check_module(model, public)
    device = next(model.parameters()).device
    cuda = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(cuda), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Opacus and torch's hooks are chatty
        _train(opacus, model, private, public, settings, secret, public_draws)
    return _with_trained(module, model).eval()


def _with_trained(module: nn.Module, model: nn.Module) -> nn.Module:
    """A copy of ``module`` with the parameters that noise protects, and nothing else of ``model``.

    A forward pass may have put private rows anywhere else: into buffers, frozen parameters, fields.
    """
    copied = copy.deepcopy(module)
    with torch.no_grad():
        for kept, trained in zip(copied.parameters(), model.parameters(), strict=True):
            if kept.requires_grad:
                kept.copy_(trained)
    return copied


def check_module(module: nn.Module, public: Features) -> None:
    """Raise ``SettingError`` for a module that private training cannot take."""
    where = f"{PATH}.module"
    found = _opacus().validators.ModuleValidator.validate(module, strict=False)
    mixing = [
        part for part in module.modules() if isinstance(part, nn.modules.batchnorm._BatchNorm)
    ]
    if mixing or found:
        names = sorted({type(part).__name__ for part in mixing}) or [type(found[0]).__name__]
        raise SettingError(
            where,
            f"{names[0]} mixes rows or has no gradient per example",
            "use GroupNorm or LayerNorm, and layers that Opacus' ModuleValidator accepts",
        )
    _refuse_dropout(module)
    if not any(parameter.requires_grad for parameter in module.parameters()):
        raise SettingError(where, "no parameter asks for a gradient")
    device = next(module.parameters()).device
    rows = torch.as_tensor(public[:PROBED], device=device)
    rows = torch.cat([rows, -3 * rows.flip(0)])  # rows of a pool may be all alike
    try:
        for probed, mode in itertools.product((module, _redrawn(module)), (False, True)):
            _probe(probed.train(mode), rows)
            _refuse_moving(probed, rows)
    except (RuntimeError, TypeError, ValueError, IndexError):
        raise SettingError(where, "does not take the rows of the pool") from None
    finally:
        module.train()


def _refuse_dropout(module: nn.Module) -> None:
    drops = (nn.modules.dropout._DropoutNd, nn.RReLU)
    found = [type(part).__name__ for part in module.modules() if isinstance(part, drops)]
    if found:
        raise SettingError(f"{PATH}.module", f"{found[0]} draws at random", "leave it out")


def _redrawn(module: nn.Module) -> nn.Module:
    """A copy with other weights: a head that starts at zero hides whatever comes before it."""
    copied = copy.deepcopy(module)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in copied.parameters():
            drawn = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            parameter.copy_(drawn / math.sqrt(max(1, parameter.shape[-1:].numel())))
    return copied


def _probe(module: nn.Module, rows: Tensor) -> None:
    """Raise ``SettingError`` where the logit of a row is more than a function of the row.

    A batch norm of one's own mixes rows. Masks of dropout come from one stream over all rows of a
    batch, so that a unit that leaves would change the masks of all others: its gradient alone is
    clipped, theirs are not bounded.
    """
    where = f"{PATH}.module"
    with torch.no_grad():
        together = _logits(module, rows)
        apart = [_logits(module, row[None]) for row in rows]
        again = _logits(module, rows)
    if not torch.equal(together, again):
        raise SettingError(where, "draws at random", "leave dropout and noise of its own out")
    if apart and not torch.allclose(together, torch.cat(apart), rtol=1e-3, atol=1e-4):
        raise SettingError(where, "the logit of a row depends on the rows beside it")


def _refuse_moving(module: nn.Module, rows: Tensor) -> None:
    """Raise ``SettingError`` where a forward pass writes: no noise covers what it writes."""
    before = _state(module)
    with torch.no_grad():
        _logits(module, rows)
    _logits(module, rows)  # some write only where gradients are asked for
    now = dict(_tensors(module))
    same = before.keys() == now.keys() and all(_equal(old, now[n]) for n, old in before.items())
    if not same:
        raise SettingError(
            f"{PATH}.module",
            "changes a parameter or a buffer in its forward pass, which no noise covers",
            "leave running means and codebooks out, or fill them by public rows beforehand",
        )


def _tensors(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    return itertools.chain(module.named_parameters(), module.named_buffers())


def _state(module: nn.Module) -> dict[str, Tensor]:
    """Copies of all parameters and buffers, by name."""
    return {name: one.detach().clone() for name, one in _tensors(module)}


def _equal(one: Tensor, other: Tensor) -> bool:
    if one.shape != other.shape:
        return False
    return bool(((one == other) | ((one != one) & (other != other))).all())


def _opacus() -> Any:
    """The package, which is an extra."""
    try:
        import opacus  # type: ignore[import-untyped, import-not-found, unused-ignore]
        import opacus.optimizers  # type: ignore[import-untyped, import-not-found, unused-ignore]
        import opacus.validators  # type: ignore[import-untyped, import-not-found, unused-ignore]
    except ModuleNotFoundError:
        raise InputError(
            "opacus", "is not installed", "pip install 'curation-audit[opacus]'"
        ) from None
    return opacus


def _logits(model: nn.Module, rows: Tensor) -> Tensor:
    """(r,), checked."""
    found: Tensor = model(rows)
    if found.shape not in ((len(rows),), (len(rows), 1)):
        shape = tuple(found.shape[1:])
        raise SettingError(f"{PATH}.module", f"gives {shape} for a row", "expected one logit")
    return found.reshape(-1)


def _train(
    opacus: Any,
    model: nn.Module,
    private: PrivateUnits,
    public: Features,
    settings: ModuleSgdSettings,
    secret: SecretRandomness,
    public_draws: np.random.Generator,
) -> None:
    """Train in place."""
    try:
        wrapped = opacus.GradSampleModule(model, loss_reduction="sum")
    except NotImplementedError:
        raise SettingError(
            f"{PATH}.module", "keeps buffers, which may hold private values"
        ) from None
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimiser = torch.optim.SGD(
        trained, settings.learning_rate, settings.momentum, weight_decay=settings.l2
    )
    clipper = opacus.optimizers.DPOptimizer(
        optimiser,
        noise_multiplier=0.0,  # the noise is ours, from the source that was given
        max_grad_norm=settings.clip,
        expected_batch_size=1,
        loss_reduction="sum",
    )
    noise = torch.zeros(
        (1, sum(p.numel() for p in trained)), dtype=trained[0].dtype, device=trained[0].device
    )
    for joined in _joined(private, settings, secret):
        clipper.zero_grad()
        for start in range(0, len(joined), settings.units_at_once):
            some = joined[start : start + settings.units_at_once]
            _add_clipped(wrapped, clipper, trained, private, some)
        wrapped.disable_hooks()
        free = _public_gradients(model, trained, public, settings, public_draws)
        wrapped.enable_hooks()
        if settings.noise_multiplier:
            secret.noise.fill(noise)
        start = 0
        for p, gradient in zip(trained, free, strict=True):
            noisy = settings.noise_multiplier * settings.clip * noise[0, start : start + p.numel()]
            start += p.numel()
            summed = getattr(p, "summed_grad", None)  # None where nobody joined
            noisy = noisy.view_as(p) if summed is None else noisy.view_as(p) + summed.view_as(p)
            p.grad = noisy / settings.expected_units + gradient
        optimiser.step()
    clipper.zero_grad(set_to_none=True)
    wrapped.remove_hooks()


def _joined(
    private: PrivateUnits, settings: ModuleSgdSettings, secret: SecretRandomness
) -> Iterator[Indices]:
    """The units of every step."""
    if settings.sampling_rate == 1:
        for _ in range(settings.steps):
            yield np.arange(private.n_units)
        return
    everyone = np.ones((1, private.n_units), dtype=bool)
    for units, _ in poisson_batches(
        everyone, settings.sampling_rate, settings.steps, secret.sampling
    ):
        yield units[0]


def _add_clipped(
    wrapped: Any, clipper: Any, trained: list[nn.Parameter], private: PrivateUnits, units: Indices
) -> None:
    """Add the clipped gradients of some units, as wholes, to what Opacus has summed so far."""
    place = np.full(private.n_units, -1)
    place[units] = np.arange(len(units))
    chosen = np.flatnonzero(place[private.unit] >= 0)
    if not len(chosen):
        return
    device = trained[0].device
    rows = torch.as_tensor(private.rows[chosen], device=device)
    owner = torch.as_tensor(place[private.unit[chosen]], device=device)
    with _unchanged(wrapped):
        logits = _logits(wrapped, rows)
        nn.functional.softplus(-logits).sum().backward()  # type: ignore[no-untyped-call]
    sums = []
    for p in trained:
        of_rows = p.grad_sample  # type: ignore[attr-defined]
        zero = of_rows.new_zeros((len(units), *of_rows.shape[1:]))
        sums.append(zero.index_add_(0, owner, of_rows))
    usable = torch.stack([one.flatten(1).isfinite().all(dim=1) for one in sums]).all(dim=0)
    for p, one in zip(trained, sums, strict=True):
        one[~usable] = 0  # a value that is not finite would show that its unit is there
        p.grad_sample = one  # type: ignore[attr-defined]
    clipper.clip_and_accumulate()
    for p in trained:
        p.grad_sample = None  # type: ignore[attr-defined]


@contextmanager
def _unchanged(module: nn.Module) -> Iterator[None]:
    """Undo what a forward pass writes, so that no later gradient hangs on it.

    The probes have seen few rows; a module may write on others only.
    """
    before = _state(module)
    yield
    with torch.no_grad():
        for name, one in _tensors(module):
            if name in before:
                one.copy_(before[name])


def _public_gradients(
    model: nn.Module,
    trained: list[nn.Parameter],
    public: Features,
    settings: ModuleSgdSettings,
    draws: np.random.Generator,
) -> list[Tensor]:
    """The mean gradient of this step's public rows."""
    if not len(public):
        return [torch.zeros_like(p) for p in trained]
    rows = public
    if settings.public_batch is not None and settings.public_batch < len(public):
        rows = public[draws.choice(len(public), settings.public_batch, replace=False)]
    with _unchanged(model):
        logits = _logits(model, torch.as_tensor(rows, device=trained[0].device))
        return list(torch.autograd.grad(nn.functional.softplus(logits).mean(), trained))
