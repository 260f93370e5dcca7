"""Private training on CUDA: the same clipped sums and, with the same noise, the same networks."""

import numpy as np
import pytest
import torch

from curation_audit.streams import Streams
from curation_audit.training.dp_noise import ArrayNoise, SecretRandomness
from curation_audit.training.dp_sgd import DpSgdSettings, PaddedUnits, fit_dp_sgd

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA here"),
]


@pytest.mark.parametrize("hidden", [(), (6, 5)], ids=["linear", "mlp"])
@pytest.mark.parametrize("rate", [1.0, 0.2])
@pytest.mark.parametrize("frozen", [True, False], ids=["noise from the CPU", "its own noise"])
def test_networks(rng, hidden, rate, frozen):
    unit = rng.integers(0, 50, 120)
    units = PaddedUnits.of_rows(rng.normal(size=(120, 7)), unit, 50)
    held, public = rng.random((5, 50)) < 0.5, rng.normal(size=(80, 7)) - 1
    streams = Streams(0).for_shadows("shadow", range(5))
    settings = DpSgdSettings(
        steps=10,
        sampling_rate=rate,
        clip=1.0,
        noise_multiplier=1.0 if frozen else 0.0,
        expected_units=50 * rate,
        learning_rate=0.2,
        momentum=0.5,
        hidden=hidden,
        public_batch=16,
    )
    found = []
    for name in ("cpu", "cuda"):
        secret = SecretRandomness(
            streams.generators("sampling"), ArrayNoise(np.random.default_rng(0).standard_normal)
        )
        layers = fit_dp_sgd(
            units,
            held,
            public,
            settings,
            streams=streams,
            device=torch.device(name),
            secret=secret if frozen else None,
        )
        found.append(torch.cat([layer.weight.flatten(1).cpu() for layer in layers], dim=1))
    torch.testing.assert_close(found[1], found[0], rtol=0, atol=1e-10)


def test_noise_on_the_device():
    """A million draws: the mean's and the variance's error are below 5 standard errors."""
    from curation_audit.training.dp_noise import TorchNoise

    generators = Streams(0).for_shadows("shadow", range(2)).generators("noise")
    noise = TorchNoise.of_streams(generators, torch.device("cuda"))
    out = torch.empty((2, 500_000), device="cuda")
    noise.fill(out)
    assert abs(float(out.mean())) < 5e-3
    assert abs(float(out.var()) - 1) < 5e-3 * np.sqrt(2)
    assert abs(float((out[0] * out[1]).mean())) < 5e-3 * np.sqrt(2)
