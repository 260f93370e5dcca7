"""Private training of stacked networks against Opacus, in one run, on one thread.

Opacus is used as its tutorial has it: ``PrivacyEngine.make_private`` with Poisson batches from its
data loader, then ``loss.backward()`` and ``optimizer.step()``; some shadows are timed, one after
another, and the time is scaled to all. Ratios are medians over repeats; "CPU" ratios are of
processor seconds, which a busy machine moves less.

    python benchmarks/dp_sgd_speed.py [--cases small linear large] [--repeats 5]

Memory and allocator: most of what Opacus' hooks cost on a large network are page faults of
gradients per example. ``--tuned`` measures in a process whose glibc keeps its pages, and
``--memory`` the highest resident size above the start, in a process for each way.
"""

import argparse
import itertools
import os
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from opacus import GradSampleModule, PrivacyEngine
from opacus.optimizers import DPOptimizer
from torch.utils.data import DataLoader, TensorDataset

from curation_audit.streams import Streams
from curation_audit.training.device import one_thread
from curation_audit.training.dp_gradients import UnitBatch, clipped_sum
from curation_audit.training.dp_sgd import DpSgdSettings, PaddedUnits, fit_dp_sgd
from curation_audit.training.mlp import Layer

CPU = torch.device("cpu")
TUNED = {"MALLOC_MMAP_THRESHOLD_": "8589934592", "MALLOC_TRIM_THRESHOLD_": "17179869184"}
CLIP, NOISE, RATE = 1.0, 1.0, 0.05


@dataclass(frozen=True)
class Case:
    """A data set, a network and a schedule."""

    rows: int
    features: int
    hidden: tuple[int, ...]
    outputs: int
    batch: int
    steps: int
    momentum: float
    shadows: int
    timed: int  # of Opacus' shadows

    def data(self) -> tuple[np.ndarray, np.ndarray]:
        """Features and labels."""
        rng = np.random.default_rng(0)
        x = rng.standard_normal((self.rows, self.features), dtype=np.float32)
        return x, rng.integers(0, max(self.outputs, 2), self.rows)


CASES = {
    "small": Case(898, 64, (128,), 10, 64, 70, 0.9, 64, 4),
    "linear": Case(5000, 128, (), 1, 256, 100, 0.0, 64, 4),
    "large": Case(10_000, 784, (512, 256), 10, 256, 40, 0.9, 1, 1),
}


def ours(case: Case) -> Callable[[], None]:
    """All shadows, stacked, true Poisson masks."""
    x, y = case.data()
    if not case.hidden:
        x = np.concatenate([x, np.ones_like(x[:, :1])], axis=1)
    units = PaddedUnits(x[:, None], np.ones((len(x), 1), bool), y[:, None])
    if case.outputs == 1:
        units = PaddedUnits.of_rows(x)
    settings = DpSgdSettings(
        steps=case.steps,
        sampling_rate=case.batch / case.rows,
        clip=CLIP,
        noise_multiplier=NOISE,
        expected_units=case.batch,
        learning_rate=RATE,
        momentum=case.momentum,
        hidden=case.hidden,
        outputs=case.outputs,
    )
    held = np.ones((case.shadows, case.rows), bool)
    nothing = np.zeros((0, x.shape[1]), np.float32)

    def run() -> None:
        streams = Streams(0).for_shadows("shadow", range(case.shadows))
        fit_dp_sgd(units, held, nothing, settings, streams=streams, device=CPU)

    return run


def network(case: Case) -> torch.nn.Sequential:
    """The same network as a module."""
    widths = (case.features, *case.hidden, case.outputs)
    layers: list[torch.nn.Module] = []
    for i, o in itertools.pairwise(widths):
        layers += [torch.nn.Linear(i, o), torch.nn.ReLU()]
    return torch.nn.Sequential(*layers[:-1])


def loss_of(case: Case) -> tuple[torch.nn.Module, torch.Tensor]:
    """The loss, and targets as it takes them."""
    _, y = case.data()
    if case.outputs == 1:
        return torch.nn.BCEWithLogitsLoss(), torch.ones(len(y), 1)
    return torch.nn.CrossEntropyLoss(), torch.as_tensor(y)


def opacus(case: Case, mode: str) -> Callable[[], None]:
    """``case.timed`` shadows, one after another; mode ``hooks`` or ``ghost``."""
    criterion, targets = loss_of(case)
    rows = TensorDataset(torch.as_tensor(case.data()[0]), targets)

    def one() -> None:
        model = network(case)
        parts = PrivacyEngine().make_private(
            module=model,
            optimizer=torch.optim.SGD(model.parameters(), lr=RATE, momentum=case.momentum),
            data_loader=DataLoader(rows, batch_size=case.batch),
            noise_multiplier=NOISE,
            max_grad_norm=CLIP,
            grad_sample_mode=mode,
            **({"criterion": criterion} if mode == "ghost" else {}),
        )
        private, optimiser, *other = parts
        loss = other[0] if mode == "ghost" else criterion
        done = 0
        while done < case.steps:
            for x, y in other[-1]:
                optimiser.zero_grad()
                loss(private(x), y).backward()
                optimiser.step()
                done += 1
                if done == case.steps:
                    break

    def run() -> None:
        for _ in range(case.timed):
            one()

    return run


def plain(case: Case) -> Callable[[], None]:
    """Training that is not private, by shuffled batches: the yardstick for memory."""
    criterion, targets = loss_of(case)
    rows = TensorDataset(torch.as_tensor(case.data()[0]), targets)

    def run() -> None:
        model = network(case)
        optimiser = torch.optim.SGD(model.parameters(), lr=RATE, momentum=case.momentum)
        loader = DataLoader(rows, batch_size=case.batch, shuffle=True)
        for x, y in loader:
            optimiser.zero_grad()
            criterion(model(x), y).backward()
            optimiser.step()

    return run


def disagreement(case: Case) -> float:
    """How far one batch's clipped sum is from Opacus', relative to its largest entry."""
    model = network(case)
    dense = [part for part in model if isinstance(part, torch.nn.Linear)]
    layers = [
        Layer(one.weight.detach().T[None].clone(), one.bias.detach()[None, None]) for one in dense
    ]
    x, y = torch.as_tensor(case.data()[0][: case.batch]), loss_of(case)[1][: case.batch]
    if not case.hidden:  # the bias is the weight of a column of ones
        layers = [Layer(torch.cat([layers[0].weight, layers[0].bias], 1), 0 * layers[0].bias)]
    ones = torch.ones(len(x), 1)
    rows = x if case.hidden else torch.cat([x, ones], dim=1)
    labels = None if case.outputs == 1 else y[None, :, None]
    units = UnitBatch(rows[None, :, None], ones.bool()[None], labels)
    found = clipped_sum(layers, units, CLIP)
    private = GradSampleModule(model, loss_reduction="sum")
    optimiser = DPOptimizer(
        torch.optim.SGD(private.parameters(), lr=RATE),
        noise_multiplier=0.0,
        max_grad_norm=CLIP,
        expected_batch_size=1,
        loss_reduction="sum",
    )
    criterion = loss_of(case)[0]
    criterion.reduction = "sum"
    criterion(private(x), y).backward()
    optimiser.clip_and_accumulate()
    worst = 0.0
    for one, layer in zip(dense, found, strict=True):
        wanted = one.weight.summed_grad.T
        off = (layer.weight[0, : len(wanted)] - wanted).abs().max() / wanted.abs().max()
        worst = max(worst, float(off))
    return worst


def timed(run: Callable[[], None]) -> tuple[float, float]:
    """Wall clock and processor seconds."""
    wall, cpu = time.perf_counter(), time.process_time()
    run()
    return time.perf_counter() - wall, time.process_time() - cpu


def compare(name: str, repeats: int) -> None:
    """Print times and ratios of a case, each for all its shadows."""
    case = CASES[name]
    off = disagreement(case)
    if off > 1e-5:
        raise SystemExit(f"{name}: clipped sums differ by {off:.1e}; nothing to compare")
    ways = {"ours": ours(case), "hooks": opacus(case, "hooks"), "ghost": opacus(case, "ghost")}
    if name == "large":
        ways["plain"] = plain(case)
    untimed = case.shadows / case.timed
    scale = {"ours": 1.0, "plain": 1.0, "hooks": untimed, "ghost": untimed}
    ways["ours"]()
    times: dict[str, list[tuple[float, float]]] = {way: [] for way in ways}
    for _ in range(repeats):
        for way, run in ways.items():
            wall, cpu = timed(run)
            times[way].append((wall * scale[way], cpu * scale[way]))
    print(
        f"{name}: {case.shadows} of {case.features}-{case.hidden}-{case.outputs}, clipped sums "
        f"within {off:.0e} of Opacus'"
    )
    for way, found in times.items():
        seconds = np.median(found, axis=0)
        ratios = np.median(np.array(found) / np.array(times["ours"]), axis=0)
        print(
            f"  {way:6} {seconds[0]:8.3f} s   ratio {ratios[0]:6.2f}   CPU {ratios[1]:6.2f}",
            flush=True,
        )


def peak(name: str, way: str) -> None:
    """Print the highest resident size above the start, MiB."""
    case = CASES[name]
    run = {"ours": ours, "plain": plain}.get(way, lambda case: opacus(case, way))(case)
    torch.randn(512, 512) @ torch.randn(512, 512)  # the library's own buffers
    Path("/proc/self/clear_refs").write_text("5")  # forget the highest size so far
    before = resident("VmRSS")
    run()
    highest = resident("VmHWM")
    print(f"  {way:6} {highest - before:8.1f} MiB above {before:.0f} MiB", flush=True)


def resident(field: str) -> float:
    """A size of this process, MiB; Linux only."""
    status = Path("/proc/self/status").read_text()
    return int(status.split(field + ":")[1].split()[0]) / 1024


def again(*arguments: str, **environment: str) -> None:
    """Run this script in a process of its own."""
    command = [sys.executable, __file__, *arguments]
    subprocess.run(command, env=os.environ | environment, check=True)


def main() -> None:
    """Print what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", nargs="+", choices=CASES, default=[*CASES])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--tuned", action="store_true", help="again with glibc keeping its pages")
    parser.add_argument("--memory", action="store_true", help="peak memory of the large case")
    parser.add_argument("--peak", help=argparse.SUPPRESS)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    if options.peak:
        return peak("large", options.peak)
    with one_thread():
        for name in options.cases:
            compare(name, options.repeats)
    if options.tuned:
        print("glibc keeps its pages:", flush=True)
        again("--cases", *options.cases, "--repeats", str(options.repeats), **TUNED)
    if options.memory:
        print("peak memory, large:", flush=True)
        for way in ("plain", "ours", "ghost", "hooks"):
            again("--peak", way)
    return None


if __name__ == "__main__":
    main()
