"""Small encoders as files of every kind, written here, and what each computes.

The ONNX file is written field by field (as onnx.proto has it), so that no tool is needed.
"""

import io
import warnings
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save

from curation_audit.pipelines.features.base import FeatureStep
from curation_audit.pipelines.features.encoder import Encoder
from curation_audit.pipelines.features.encoder_onnx import Onnx
from curation_audit.pipelines.features.encoder_safetensors import Safetensors
from curation_audit.pipelines.features.encoder_torchscript import TorchScript

P = 3


def encoder_cases(d: int) -> dict[str, FeatureStep]:
    """A step of every kind that reads ``d`` features; files lie in the current folder."""
    return {
        "encoder": Encoder(function=halves),
        "onnx": Onnx(file="encoder.onnx", batch=2),
        "safetensors": Safetensors(file="encoder.safetensors", activation="tanh"),
        "torchscript": TorchScript(file="encoder.pt", batch=2, device="cpu"),
    }


def halves(rows: np.ndarray) -> np.ndarray:
    return rows[:, : rows.shape[1] // 2] + 2 * rows[:, rows.shape[1] // 2 :]


def write_encoders(folder: Path, d: int) -> Path:
    module = perceptron(d)
    (folder / "encoder.pt").write_bytes(scripted(module))
    (folder / "encoder.safetensors").write_bytes(save(module.state_dict()))
    (folder / "encoder.onnx").write_bytes(onnx_gemm(*gemm(d)))
    return folder


def perceptron(d: int) -> torch.nn.Sequential:
    torch.manual_seed(d)
    return torch.nn.Sequential(torch.nn.Linear(d, 5), torch.nn.Tanh(), torch.nn.Linear(5, P))


def gemm(d: int) -> tuple[np.ndarray, np.ndarray]:
    """A weight (d, P) and a bias (P,)."""
    rng = np.random.default_rng(d)
    return rng.normal(size=(d, P)).astype(np.float32), rng.normal(size=P).astype(np.float32)


def scripted(module: torch.nn.Module) -> bytes:
    """A module as TorchScript."""
    held = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"`torch\.jit\.\w+` is", DeprecationWarning)
        torch.jit.save(torch.jit.script(module), held)
    return held.getvalue()


def field(number: int, value: int | str | bytes) -> bytes:
    """One field of a protocol buffer: a number, or anything that has a length."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    held = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(held)) + held


def varint(value: int) -> bytes:
    held = bytearray()
    while value > 127:
        held.append(value & 127 | 128)
        value >>= 7
    return bytes([*held, value])


def tensor(name: str, values: np.ndarray) -> bytes:
    dims = b"".join(field(1, length) for length in values.shape)
    return dims + field(2, 1) + field(8, name) + field(9, values.astype("<f4").tobytes())


def elsewhere(name: str, shape: tuple[int, ...], location: str) -> bytes:
    """A tensor whose numbers lie in another file."""
    dims = b"".join(field(1, length) for length in shape)
    entry = field(1, "location") + field(2, location)
    return dims + field(2, 1) + field(8, name) + field(13, entry) + field(14, 1)


def value_info(name: str, width: int, kind: int = 1) -> bytes:
    shape = field(1, field(2, "n")) + field(1, field(1, width))
    return field(1, name) + field(2, field(1, field(1, kind) + field(2, shape)))


def node(op: str, inputs: tuple[str, ...], output: str) -> bytes:
    return b"".join(field(1, name) for name in inputs) + field(2, output) + field(4, op)


def onnx_model(
    nodes: list[bytes], tensors: list[bytes], inputs: list[bytes], outputs: list[bytes]
) -> bytes:
    graph = b"".join(field(1, one) for one in nodes) + field(2, "graph")
    graph += b"".join(field(5, one) for one in tensors)
    graph += b"".join(field(11, one) for one in inputs)
    graph += b"".join(field(12, one) for one in outputs)
    return field(1, 8) + field(8, field(1, "") + field(2, 17)) + field(7, graph)


def onnx_gemm(weight: np.ndarray, bias: np.ndarray) -> bytes:
    """``relu(x @ weight + bias)``."""
    return onnx_model(
        [node("Gemm", ("x", "w", "b"), "z"), node("Relu", ("z",), "y")],
        [tensor("w", weight), tensor("b", bias)],
        [value_info("x", len(weight))],
        [value_info("y", len(bias))],
    )
