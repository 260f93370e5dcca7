"""``med``: real patients, and a public registry of eight sites of which seven are bad.

The patients are scikit-learn's breast-cancer set (569 patients, 30 measurements of cell
nuclei). 200 are "our hospital" (private), 250 are public, 119 are for the test. The registry
holds the 250 public patients as site 1 measured them, and seven copies with simulated errors:
a calibration shift of the site, measurement noise, and miscoded diagnoses. Nothing of the
private or the test patients goes into the errors.
"""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from curation_audit.pipelines.examples.files import DataFolder

N_PRIVATE: Final = 200
N_PUBLIC: Final = 250
N_BAD_SITES: Final = 7
NOISE_SD: Final = 0.3
MISCODED: Final = 0.4
# How this seed was chosen, and what other seeds give, stands in datasets/breast_cancer.yaml.
SEED: Final = 18


def table(part: str, _folder: DataFolder | None = None) -> dict[str, NDArray[Any]]:
    """The columns of ``part``; no folder is needed.

    ``patient_id`` (private, test) or ``record_id`` and ``site`` (public), the 30 measurements,
    and ``diagnosis``.
    """
    from sklearn.datasets import load_breast_cancer

    bunch = load_breast_cancer()
    names = [str(name).replace(" ", "_") for name in bunch.feature_names]
    diagnoses = np.array([str(name) for name in bunch.target_names])
    rng = np.random.default_rng(SEED)
    order = rng.permutation(len(bunch.data))
    if part == "public":
        rows = order[N_PRIVATE : N_PRIVATE + N_PUBLIC]
        values, codes = _registry(bunch.data[rows], bunch.target[rows], rng)
        site = np.repeat(np.arange(1, N_BAD_SITES + 2), N_PUBLIC)
        record = np.tile(np.arange(N_PUBLIC), N_BAD_SITES + 1)
        ids = [f"site{s}-{r:04d}" for s, r in zip(site, record, strict=True)]
        columns = {"record_id": np.array(ids), "site": np.array([f"site{s}" for s in site])}
    else:
        rows = order[:N_PRIVATE] if part == "private" else order[N_PRIVATE + N_PUBLIC :]
        values, codes = bunch.data[rows], bunch.target[rows]
        columns = {"patient_id": np.array([f"patient-{row:04d}" for row in rows])}
    columns |= {name: values[:, i] for i, name in enumerate(names)}
    return columns | {"diagnosis": diagnoses[codes]}


def _registry(
    clean: NDArray[Any], codes: NDArray[Any], rng: np.random.Generator
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Site 1 as it is, and seven copies (rows, 30) with the errors of their sites."""
    sd = clean.std(axis=0)
    values, diagnoses = [clean], [codes]
    for _ in range(N_BAD_SITES):
        direction = rng.normal(size=clean.shape[1])
        length = rng.uniform(0.5, 1.0) * np.sqrt(clean.shape[1])
        shift = direction / np.linalg.norm(direction) * length
        noise = NOISE_SD * rng.normal(size=clean.shape)
        values.append(clean + sd * (shift + noise))
        diagnoses.append(np.where(rng.random(len(codes)) < MISCODED, 1 - codes, codes))
    return np.concatenate(values), np.concatenate(diagnoses)
