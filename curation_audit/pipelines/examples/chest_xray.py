"""``chest_xray``: private chest X-rays find their like in a pool of any images.

PneumoniaMNIST, MedNIST, Fashion-MNIST and MNIST, all 28 x 28. Half of the X-rays for training
is private, the other half is in the pool with 18,000 images of other body regions, 20,000 of
clothes and 12,000 of digits; the official test set is the test set. Classes are source/class.
The embedding is a PCA of pool images only.
"""

import io
import zipfile
import zlib
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from curation_audit.checks import InputError
from curation_audit.pipelines.examples.files import DataFolder, data_file

N_COMPONENTS: Final = 60
# As many pool images as settle 60 components; more only takes longer.
N_FOR_PCA: Final = 8_000
SEED: Final = 0

FILES: Final = {
    "xray": "pneumoniamnist.npz",
    "mednist": "mednist_18k_28px.npz",
    "fashion": "fashion_mnist_25k.npz",
    "digit": "mnist_15k.npz",
}
CLASSES: Final = {
    "xray": ("normal", "pneumonia"),
    "mednist": ("AbdomenCT", "BreastMRI", "CXR", "ChestCT", "Hand", "HeadCT"),
    "fashion": (
        *("top", "trouser", "pullover", "dress", "coat"),
        *("sandal", "shirt", "sneaker", "bag", "boot"),
    ),
    "digit": tuple("0123456789"),
}
TRAIN, TEST = 0, 2

# What numpy and zipfile raise for broken archives, and KeyError for one without X or y.
_UNREADABLE = (
    *(OSError, ValueError, KeyError, EOFError, RuntimeError),
    *(zipfile.BadZipFile, zlib.error),
)


def table(part: str, folder: DataFolder | None = None) -> dict[str, NDArray[Any]]:
    """Columns ``image_id``, ``embedding`` float32 (rows, 60) and ``label`` of ``part``.

    Raises:
        InputError: where one of the four files is not in ``folder``, or is another file.
    """
    xray = _read("xray", folder)
    train = np.nonzero(xray["split"] == TRAIN)[0]
    order = np.random.default_rng(SEED).permutation(train)
    half = len(order) // 2
    rows = {"private": order[:half], "test": np.nonzero(xray["split"] == TEST)[0]}
    sources = {"xray": _taken(xray, np.sort(order[half:]))}
    for name in ("mednist", "fashion", "digit"):
        read = _read(name, folder)
        sources[name] = _taken(read, np.nonzero(read["split"] == TRAIN)[0])
    mean, components = _encoder(np.concatenate([s["X"] for s in sources.values()]))
    if part != "public":
        sources = {"xray": _taken(xray, np.sort(rows[part]))}
    return {
        "image_id": np.array([f"{n}-{row:05d}" for n, s in sources.items() for row in s["row"]]),
        "embedding": np.concatenate([_embed(s["X"], mean, components) for s in sources.values()]),
        "label": np.array([f"{n}/{CLASSES[n][y]}" for n, s in sources.items() for y in s["y"]]),
    }


def _read(name: str, folder: DataFolder | None) -> dict[str, NDArray[Any]]:
    content = data_file(folder, FILES[name], "chest_xray")
    try:
        archive = np.load(io.BytesIO(content), allow_pickle=False)
        arrays = {key: archive[key] for key in ("X", "y")}
        # A set without an official split is for training as a whole.
        split = archive["split"] if "split" in archive else np.full(len(arrays["y"]), TRAIN)
    except _UNREADABLE as error:
        raise InputError(FILES[name], "cannot be read as npz", "fetch it again") from error
    images = arrays["X"].reshape(len(arrays["X"]), -1)
    return {"X": images, "y": arrays["y"], "split": split, "row": np.arange(len(images))}


def _taken(arrays: dict[str, NDArray[Any]], rows: NDArray[Any]) -> dict[str, NDArray[Any]]:
    return {name: array[rows] for name, array in arrays.items()}


def _encoder(pool: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Mean (784,) and components (784, 60) of some pool images."""
    some = np.random.default_rng(SEED).choice(len(pool), N_FOR_PCA, replace=False)
    images = pool[np.sort(some)] / 255.0
    mean = images.mean(axis=0)
    images -= mean
    components = np.linalg.eigh(images.T @ images)[1][:, ::-1][:, :N_COMPONENTS]
    # The sign of an eigenvector is arbitrary and differs between linear-algebra libraries.
    largest = np.abs(components).argmax(axis=0)
    return mean, components * np.sign(components[largest, np.arange(N_COMPONENTS)])


def _embed(images: NDArray[Any], mean: NDArray[Any], components: NDArray[Any]) -> NDArray[Any]:
    # Rounded, so that equal images stay equal whatever the order of the sums.
    exact: NDArray[Any] = images @ (components / 255.0) - mean @ components
    return exact.round(4).astype(np.float32)
