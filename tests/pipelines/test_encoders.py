"""Encoders: what each computes, what is read, what is refused, and that private rows stay apart."""

import hashlib
import io
import json
import os
import pickle
import re
import sys
import warnings
import zipfile
from dataclasses import fields
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import save

from curation_audit import audit, load_pipeline
from curation_audit.checks import InputError
from curation_audit.pipelines.data_sets import ReadSet
from curation_audit.pipelines.features import STEPS
from curation_audit.pipelines.features.encoder import Encoder
from curation_audit.pipelines.features.encoder_onnx import Onnx
from curation_audit.pipelines.features.encoder_safetensors import Safetensors
from curation_audit.pipelines.features.encoder_torchscript import TorchScript
from tests.pipelines.encoder_cases import (
    P,
    elsewhere,
    field,
    gemm,
    node,
    onnx_gemm,
    onnx_model,
    perceptron,
    scripted,
    tensor,
    value_info,
    write_encoders,
)

D = 6
ROWS = np.random.default_rng(0).normal(size=(37, D)).astype(np.float32)


def data_of(rows=ROWS, name="public", texts=None) -> ReadSet:
    ids = tuple(map(str, range(len(rows))))
    names = tuple(map(str, range(rows.shape[1])))
    return ReadSet(name, name, ids, rows, names, True, None, None, texts=texts)


def encoded(step, rows=ROWS, pool=ROWS, **more) -> np.ndarray:
    return step.fit(data_of(pool, **more))(data_of(rows, "private")).features


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return write_encoders(tmp_path, D)


def torchscript(held: bytes, **settings) -> TorchScript:
    Path("other.pt").write_bytes(held)
    return TorchScript(file="other.pt", device="cpu", **settings)


def onnx(held: bytes, **settings) -> Onnx:
    pytest.importorskip("onnxruntime", reason="ONNX Runtime is an extra")
    Path("other.onnx").write_bytes(held)
    return Onnx(file="other.onnx", **settings)


def safetensors(held: bytes, **settings) -> Safetensors:
    Path("other.safetensors").write_bytes(held)
    return Safetensors(file="other.safetensors", device="cpu", **settings)


# --- what is computed -------------------------------------------------------------------------


def by_hand(rows: np.ndarray) -> np.ndarray:
    """The perceptron of the files, in numpy."""
    w1, b1, w2, b2 = (one.numpy().astype(float) for one in perceptron(D).state_dict().values())
    return np.tanh(rows @ w1.T + b1) @ w2.T + b2


@pytest.mark.parametrize("batch", [1, 5, 1024])
def test_a_torchscript_archive_and_its_weights_give_what_numpy_gives(batch, folder):
    script = TorchScript(file="encoder.pt", batch=batch, device="cpu")
    np.testing.assert_allclose(encoded(script), by_hand(ROWS), atol=1e-6)
    weights = Safetensors(file="encoder.safetensors", activation="tanh", batch=batch)
    np.testing.assert_allclose(encoded(weights), by_hand(ROWS), atol=1e-6)
    assert encoded(script).dtype == encoded(weights).dtype == np.float32


@pytest.mark.parametrize("batch", [1, 5, 1024])
def test_an_onnx_graph_gives_what_numpy_gives(batch, folder):
    weight, bias = gemm(D)
    step = onnx(onnx_gemm(weight, bias), batch=batch)
    np.testing.assert_allclose(encoded(step), np.maximum(ROWS @ weight + bias, 0), atol=1e-5)


@pytest.mark.parametrize(
    ("name", "function"),
    [
        ("relu", torch.nn.ReLU),
        ("gelu", torch.nn.GELU),
        ("silu", torch.nn.SiLU),
        ("tanh", torch.nn.Tanh),
        ("none", torch.nn.Identity),
    ],
)
def test_weights_alone_give_what_torchs_own_module_gives(name, function, folder):
    """More than ten layers, so that their order is that of numbers and not of names."""
    torch.manual_seed(3)
    layers = [one for _ in range(6) for one in (torch.nn.Linear(D, D, bias=False), function())]
    module = torch.nn.Sequential(*layers, torch.nn.Linear(D, 2))
    with torch.no_grad():
        wanted = module(torch.from_numpy(ROWS)).numpy()
    found = encoded(safetensors(save(module.state_dict()), activation=name))
    np.testing.assert_allclose(found, wanted, atol=1e-6)


def test_one_layer_alone_and_narrow_numbers(folder):
    layer = torch.nn.Linear(D, P).half()
    wanted = ROWS @ layer.weight.detach().numpy().astype(float).T
    wanted = wanted + layer.bias.detach().numpy().astype(float)
    found = encoded(safetensors(save(layer.state_dict())))
    np.testing.assert_allclose(found, wanted, atol=1e-6)


def test_rows_as_images(folder):
    """Images of 2 channels of 3 numbers each, and the sum over their channels."""
    layer = torch.nn.Conv1d(2, 1, 1, bias=False)
    torch.nn.init.ones_(layer.weight)
    module = torch.nn.Sequential(layer, torch.nn.Flatten())
    found = encoded(torchscript(scripted(module), shape=(2, 3)))
    np.testing.assert_allclose(found, ROWS[:, :3] + ROWS[:, 3:], atol=1e-6)
    held = onnx_model(
        [node("ReduceSum", ("x", "axes"), "y") + field(5, keep_no_dimension())],
        [axes(1)],
        [images("x", 2, 3)],
        [value_info("y", 3)],
    )
    np.testing.assert_allclose(encoded(onnx(held, shape=(2, 3))), found, atol=1e-6)


def keep_no_dimension() -> bytes:
    return field(1, "keepdims") + field(3, 0) + field(20, 2)


def axes(axis: int) -> bytes:
    return field(1, 1) + field(2, 7) + field(8, "axes") + field(9, np.int64(axis).tobytes())


def images(name: str, *shape: int) -> bytes:
    dims = field(1, field(2, "n")) + b"".join(field(1, field(1, length)) for length in shape)
    return field(1, name) + field(2, field(1, field(1, 1) + field(2, dims)))


def test_texts_go_to_a_function_a_batch_at_a_time():
    sizes = []

    def lengths(texts, scale):
        sizes.append(len(texts))
        assert isinstance(texts, tuple)
        return [[len(text) * scale, 1] for text in texts]

    step = Encoder(function=lengths, params={"scale": 2}, reads="texts", batch=2)
    texts = ("a", "", "abc")
    found = step.fit(data_of(ROWS[:3, :0], texts=texts))(data_of(ROWS[:3, :0], texts=texts))
    assert found.features.tolist() == [[2, 1], [0, 1], [6, 1]]
    assert found.feature_names == ("encoder[0]", "encoder[1]")
    assert max(sizes) == 2


def test_evaluation_mode_is_set_for_the_user(folder):
    """Dropout and batch normalisation that were saved in training mode: eval() turns them off."""
    module = torch.nn.Sequential(torch.nn.BatchNorm1d(D), torch.nn.Dropout(0.5))
    assert module.training
    found = encoded(torchscript(scripted(module)))
    np.testing.assert_allclose(found, ROWS / np.sqrt(1 + 1e-5), rtol=1e-6)


def test_the_same_bits_again_whatever_is_encoded_before(folder):
    step = TorchScript(file="encoder.pt", batch=8, device="cpu")
    mapped = step.fit(data_of())
    first = mapped(data_of()).features
    for _ in range(3):
        np.testing.assert_array_equal(mapped(data_of()).features, first)
    np.testing.assert_array_equal(encoded(step), first)


# --- rows stay apart --------------------------------------------------------------------------

MIXED = "gives a row other features alone than in a batch, so that rows reach each other"


@pytest.mark.parametrize(
    ("channels", "settings", "message"),
    [
        (2, {"shape": (2, 3)}, MIXED),
        (D, {}, r"raised ValueError|raised Error .*Expected more than 1 value per channel"),
    ],
)
def test_normalisation_by_each_batch_is_refused(channels, settings, message, folder):
    """Without running moments it uses those of the batch, in evaluation mode, too."""
    norm = torch.nn.BatchNorm1d(channels, track_running_stats=False)
    module = torch.nn.Sequential(norm, torch.nn.Flatten())
    with pytest.raises(InputError, match=message):
        encoded(torchscript(scripted(module), **settings))


@pytest.mark.parametrize("share", [1.0, 1e-3])
def test_a_function_that_mixes_rows_is_refused(share):
    step = Encoder(function=lambda rows: rows - share * rows.mean(axis=0))
    with pytest.raises(InputError, match=MIXED):
        encoded(step)
    # rows of one batch only can mix
    np.testing.assert_allclose(
        encoded(Encoder(function=lambda rows: rows - rows.mean(axis=0), batch=1)), 0, atol=1e-6
    )


def test_a_function_that_draws_at_random_is_refused(folder):
    rng = np.random.default_rng(1)
    step = Encoder(function=lambda rows: rows * rng.choice([0, 2], rows.shape))
    with pytest.raises(InputError, match="other features when asked again; turn off what draws"):
        encoded(step)

    class Noisy(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + torch.rand_like(x)

    with pytest.raises(InputError, match="other features when asked again"):
        encoded(torchscript(scripted(Noisy())))


def test_rounding_is_no_mixing():
    step = Encoder(function=lambda rows: rows * (1 + 1e-6 * len(rows)))
    assert encoded(step).shape == ROWS.shape


# --- what is refused --------------------------------------------------------------------------


def test_the_hash_is_that_of_the_bytes_that_are_loaded(folder, monkeypatch):
    held = (folder / "encoder.pt").read_bytes()
    digest = hashlib.sha256(held).hexdigest()
    step = TorchScript(file="encoder.pt", sha256=digest.upper(), device="cpu").opened(folder)
    assert step.describe()["sha256"] == digest
    assert step.describe()["file"] == "encoder.pt"
    (folder / "encoder.pt").write_bytes(b"another file now")  # it is not read again
    np.testing.assert_allclose(encoded(step), by_hand(ROWS), atol=1e-6)
    absolute = Safetensors(file=str(folder / "encoder.safetensors")).opened(Path("/"))
    assert absolute.describe()["file"] == "encoder.safetensors"


@pytest.mark.parametrize("kind", [TorchScript, Onnx, Safetensors])
def test_another_hash_is_refused_before_anything_is_loaded(kind, folder, monkeypatch):
    (folder / "encoder").write_bytes(b"not a model at all")
    wrong = kind(file="encoder", sha256="ab" * 32)
    found = hashlib.sha256(b"not a model at all").hexdigest()
    message = rf"^features.steps: encoder: its sha256 is {found}; expected {'ab' * 32}: another"
    with pytest.raises(InputError, match=message):
        wrong.opened(folder)
    with pytest.raises(InputError, match=r"sha256: found 'abc'; expected 64 hexadecimal digits"):
        kind(file="encoder", sha256="abc")
    with pytest.raises(ValueError, match="batch must be positive, got 0"):
        kind(file="encoder", batch=0)


def test_a_pickle_is_never_run(folder):
    """Neither one of its own nor one in the place of an archive's: torch refuses what it names."""
    pickled = pickle.dumps(Touch(), 2)
    archive = zipfile.ZipFile(io.BytesIO(scripted(perceptron(D))))
    for part in ("data.pkl", "constants.pkl"):
        held = io.BytesIO()
        with zipfile.ZipFile(held, "w") as made:
            for name in archive.namelist():
                made.writestr(name, pickled if name.endswith(part) else archive.read(name))
        with pytest.raises(InputError, match=r"other.pt: is no TorchScript archive; expected what"):
            encoded(torchscript(held.getvalue()))
    with pytest.raises(InputError, match="is no TorchScript archive"):
        encoded(torchscript(pickled))
    assert not (folder / "touched").exists()


class Touch:
    def __reduce__(self):
        return os.system, ("touch touched",)


def state_dict() -> bytes:
    held = io.BytesIO()
    torch.save(perceptron(D).state_dict(), held)
    return held.getvalue()


class Pair(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return x, x


class Total(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.sum(1)


class Logarithm(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.log(x)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: b"", "is no TorchScript archive"),
        (lambda: scripted(perceptron(D))[:900], "is no TorchScript archive"),
        (state_dict, "is no TorchScript archive; expected what torch.jit.script"),
        (lambda: scripted(Pair()), "gives a tuple; expected one tensor"),
        (lambda: scripted(Total()), r"gave an array of shape \(8,\) for 8 rows; expected \(rows"),
        (
            lambda: scripted(Logarithm()),
            "public, step torchscript, row 1: gave numbers that are NaN, infinite or too large",
        ),
        (
            lambda: scripted(torch.nn.Linear(5, 2)),
            r"raised RuntimeError for rows of 6 features \(.*cannot be multiplied \(8x6 and 5x2\)",
        ),
    ],
)
def test_archives_that_are_none_or_do_not_fit(make, message, folder):
    with pytest.raises(InputError, match=message):
        encoded(torchscript(make()))


def test_a_shape_that_rows_do_not_have(folder):
    with pytest.raises(InputError, match=r"for rows of 6 features \(.*into shape \(8,4,2\)"):
        encoded(torchscript(scripted(perceptron(D)), shape=(4, 2)))
    with pytest.raises(ValueError, match="shape must be positive, got 0"):
        TorchScript(file="encoder.pt", shape=(0, 2))


def two_of_each() -> bytes:
    return onnx_model(
        [node("Relu", ("x",), "y"), node("Neg", ("x",), "z")],
        [],
        [value_info("x", D)],
        [value_info("y", D), value_info("z", D)],
    )


def sum_of_two() -> bytes:
    inputs = [value_info("x", D), value_info("more", D)]
    return onnx_model([node("Add", ("x", "more"), "y")], [], inputs, [value_info("y", D)])


def whole_numbers() -> bytes:
    return onnx_model(
        [node("Abs", ("x",), "y")], [], [value_info("x", D, 7)], [value_info("y", D, 7)]
    )


def of_other_file(location: str) -> bytes:
    bias = tensor("b", gemm(D)[1])
    gemm_node = [node("Gemm", ("x", "w", "b"), "y")]
    weights = [elsewhere("w", (D, P), location), bias]
    return onnx_model(gemm_node, weights, [value_info("x", D)], [value_info("y", P)])


@pytest.mark.parametrize(
    ("make", "settings", "message"),
    [
        (lambda: b"hello", {}, "cannot be loaded as ONNX"),
        (lambda: b"", {}, "cannot be loaded as ONNX"),
        (lambda: onnx_gemm(*gemm(5)), {}, r"for rows of 6 features \(.*Got: 6 Expected: 5"),
        (two_of_each, {}, "has 2 outputs; set output: y or z"),
        (two_of_each, {"output": "w"}, "has no output 'w'; expected one of y, z"),
        (two_of_each, {"output": "y", "input": "xx"}, "has no input 'xx'"),
        (sum_of_two, {}, "has 2 inputs; set input: x or more"),
        (sum_of_two, {"input": "x"}, "needs inputs beside 'x': more"),
        (whole_numbers, {}, r"reads tensor\(int64\); expected tensor\(float\)"),
        (lambda: of_other_file("w.bin"), {}, "keeps weights in another file, which its hash mis"),
    ],
)
def test_graphs_that_are_none_or_do_not_fit(make, settings, message, folder):
    (folder / "w.bin").write_bytes(gemm(D)[0].tobytes())
    with pytest.raises(InputError, match=message):
        encoded(onnx(make(), **settings))


def test_one_output_of_several_can_be_named(folder):
    for name, wanted in (("y", np.maximum(ROWS, 0)), ("z", -ROWS)):
        np.testing.assert_array_equal(encoded(onnx(two_of_each(), output=name)), wanted)


def test_other_files_stay_closed_even_if_the_bytes_hide_that_there_are_some(folder, monkeypatch):
    """The session is told an empty folder to look in, whatever the current one holds."""
    monkeypatch.setattr("curation_audit.pipelines.features.encoder_onnx.EXTERNAL", b"no such bytes")
    (folder / "w.bin").write_bytes(gemm(D)[0].tobytes())
    for location in ("w.bin", str(folder / "w.bin"), "../" * 9 + str(folder / "w.bin")[1:]):
        with pytest.raises(InputError, match="cannot be loaded as ONNX"):
            encoded(onnx(of_other_file(location)))


def stack(**shapes: tuple[int, ...]) -> bytes:
    return save({name.replace("_", "."): torch.ones(shape) for name, shape in shapes.items()})


@pytest.mark.parametrize(
    ("held", "message"),
    [
        (b"", "is no safetensors file; expected what safetensors.torch.save_file"),
        (b"\x05" + bytes(20), "is no safetensors file"),
        (stack(), "holds no tensor"),
        (stack(encoder_weight=(2, D)), r"holds 'encoder.weight' of shape \(2, 6\), no part of a"),
        (stack(weight=(2, D, 1)), "no part of a linear layer"),
        (stack(bias=(2,)), "layer 0 has a bias and no weight"),
        (stack(weight=(2, D), bias=(3,)), "layer 0 has 2 rows and 3 biases"),
        (
            save({"0.weight": torch.ones(4, D), "2.weight": torch.ones(2, 5)}),
            "layer 2 reads 5 numbers, the one before it gives 4",
        ),
        (stack(weight=(2, 5)), "other.safetensors: reads 5 features, but there are 6"),
    ],
)
def test_weights_that_are_none_or_do_not_fit(held, message, folder):
    with pytest.raises(InputError, match=message):
        encoded(safetensors(held))


def test_an_activation_that_is_not_known():
    with pytest.raises(InputError, match=r"activation: found 'rel'; did you mean 'relu'"):
        Safetensors(file="x", activation="rel")
    with pytest.raises(InputError, match=r"reads: found 'text'; did you mean 'texts'"):
        Encoder(function=len, reads="text")
    with pytest.raises(ValueError, match="batch must be positive"):
        Encoder(function=len, batch=0)


@pytest.mark.parametrize(
    ("module", "kind", "extra"),
    [("onnxruntime", Onnx, "onnx"), ("safetensors.torch", Safetensors, "safetensors")],
)
def test_a_library_that_is_missing_is_told_with_its_command(
    module, kind, extra, folder, monkeypatch
):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(
        InputError, match=rf"not installed; pip install 'curation-audit\[{extra}\]'"
    ):
        kind(file="encoder.pt").opened(folder)


def test_what_another_says_is_told_of_public_rows_only():
    """The pool's own error may be quoted; that on a private set could hold a private value."""

    def refuses(rows):
        if len(rows) > 8:
            raise KeyError(f"secret {rows[0, 0]}")
        return rows

    mapped = Encoder(function=refuses).fit(data_of())
    with pytest.raises(InputError) as caught:
        mapped(data_of(name="private"))
    assert str(caught.value) == "private, step encoder: raised KeyError for rows of 6 features"
    with pytest.raises(InputError, match=r"public, step encoder: raised KeyError .*\('secret"):
        mapped(data_of())


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda rows: rows[:, 0], r"gave an array of shape \(8,\) for 8 rows"),
        (lambda rows: rows[:-1], r"gave an array of shape \(7, 6\) for 8 rows"),
        (lambda rows: rows[:, :0], r"gave an array of shape \(8, 0\)"),
        (lambda rows: rows.astype(str), "gave <U32 values; expected numbers"),
        (lambda rows: rows * np.float64(1e39), "row 1: gave numbers that are NaN, infinite or too"),
        (lambda rows: np.tile(rows, len(rows)), "gives a row other features alone than in a batch"),
        (lambda: None, "raised TypeError for rows of 6 features"),
    ],
)
def test_functions_that_give_something_else(function, message):
    with pytest.raises(InputError, match=message):
        encoded(Encoder(function=function))


def test_batches_of_other_widths_are_told():
    step = Encoder(function=lambda rows: rows if len(rows) <= 8 else rows[:, :2], batch=30)
    with pytest.raises(InputError, match="private, step encoder: gives 2 or 6 numbers for a row"):
        encoded(step)


def test_without_features_there_is_nothing_to_encode():
    with pytest.raises(InputError, match="public: encoder finds no features; put a step that"):
        encoded(Encoder(function=len), pool=ROWS[:, :0])


# --- in a pipeline file -----------------------------------------------------------------------


def written(folder: Path, steps: list[dict], **more) -> Path:
    rng = np.random.default_rng(4)
    for name, n in (("private", 12), ("public", 40)):
        rows = rng.normal(size=(n, D))
        columns = {f"x{i}": rows[:, i] for i in range(D)}
        columns |= {"id": [f"{name}{i}" for i in range(n)], "note": ["a b", "c"] * (n // 2)}
        pq.write_table(pa.table(columns), folder / f"{name}.parquet")
    columns = {"id": "id", "features": ["x*"], "text": "note"}
    tree = {
        "version": 1,
        "name": "encoded",
        **{
            name: {"source": {"kind": "parquet", "path": f"{name}.parquet"}, "columns": columns}
            for name in ("private", "public")
        },
        "features": {"steps": steps, "standardise": "none"},
        "curate": {"scorer": {"method": "mean"}, "select": {"rule": "top_k", "k": 4}},
        "run": {"device": "cpu"},
    }
    (folder / "encoded.yaml").write_text(json.dumps(tree | more, indent=1))
    return folder / "encoded.yaml"


def test_paths_count_from_the_pipeline_file_and_the_hash_is_in_its_configuration(
    tmp_path, monkeypatch
):
    """And a step that is written out in full again gives the same."""
    (tmp_path / "models").mkdir()
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    write_encoders(tmp_path / "models", D)
    step = {"kind": "torchscript", "file": "models/encoder.pt"}
    plan = load_pipeline(written(tmp_path, [step]))
    private = pq.read_table(tmp_path / "private.parquet").to_pandas()
    wanted = by_hand(private[[f"x{i}" for i in range(D)]].to_numpy())
    np.testing.assert_allclose(plan.data.private.features, wanted, atol=1e-6)
    (stated,) = plan.configuration["features"]["steps"]
    digest = hashlib.sha256((tmp_path / "models" / "encoder.pt").read_bytes()).hexdigest()
    assert stated == step | {"sha256": digest, "batch": 1024, "shape": None}
    again = load_pipeline(written(tmp_path, [stated]))
    assert again.configuration == plan.configuration
    np.testing.assert_array_equal(again.data.pool.features, plan.data.pool.features)


def test_an_audit_through_an_encoder_names_it_in_its_report(tmp_path):
    write_encoders(tmp_path, D)
    steps = [
        {"kind": "safetensors", "file": "encoder.safetensors"},
        {"kind": "pca", "components": 2},
    ]
    attack = {"shadows": 8, "methods": {"scores": ["lira_best_row"], "selection": ["binary_lira"]}}
    result = audit(load_pipeline(written(tmp_path, steps, attack=attack, train=None)))
    first, second = result.report["configuration"]["features"]["steps"]
    digest = hashlib.sha256((tmp_path / "encoder.safetensors").read_bytes()).hexdigest()
    assert first["sha256"] == digest
    assert second == {"kind": "pca", "components": 2, "whiten": False}


def offer(folder: Path, monkeypatch, code: str) -> None:
    """Install a package with the entry point ``ours``, as pip would leave it."""
    info = folder / "our_encoders-1.5.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: our-encoders\nVersion: 1.5\n")
    (info / "entry_points.txt").write_text(
        "[curation_audit.encoders]\nours = our_encoders:encode\n"
    )
    (folder / "our_encoders.py").write_text(code)
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.delitem(sys.modules, "our_encoders", raising=False)


def test_an_entry_point_is_named_with_its_version_and_its_source(tmp_path, monkeypatch):
    code = "def encode(texts, scale=1):\n    return [[len(t) * scale, 1.0] for t in texts]\n"
    offer(tmp_path, monkeypatch, code)
    step = {"kind": "encoder", "function": "ours", "reads": "texts", "params": {"scale": 3}}
    plan = load_pipeline(written(tmp_path, [step]))
    assert plan.data.private.features[:2].tolist() == [[9, 1], [3, 1]]
    (stated,) = plan.configuration["features"]["steps"]
    assert stated == step | {
        "batch": 1024,
        "defined": "our_encoders.encode",
        "source": hashlib.sha256(code.encode()).hexdigest(),
        "version": "our-encoders 1.5",
    }


@pytest.mark.parametrize(
    ("step", "message"),
    [
        (
            {"kind": "torchscript", "file": "encodr.pt"},
            r"encodr.pt: no such file or folder \(looked at .*did you mean 'encoder.pt'",
        ),
        (
            {"kind": "torchscript", "file": "encoder.onnx"},
            r"yaml:\d+:3: features.steps: encoder.onnx: is no",
        ),
        ({"kind": "torchscript"}, r"'file' is missing"),
        ({"kind": "torchscript", "file": "*"}, "names .* files; expected one"),
        ({"kind": "encoder", "function": "our"}, "is no entry point of 'curation_audit.encoders'"),
        ({"kind": "torchscript", "file": "encoder.pt", "shape": ["a"]}, "found 'a'"),
        (
            {"kind": "torchscript", "file": "encoder.pt", "device": "cpu"},
            "unknown setting 'device'",
        ),
    ],
)
def test_errors_in_a_file_name_the_place(step, message, tmp_path):
    write_encoders(tmp_path, D)
    with pytest.raises(InputError, match=message) as caught:
        load_pipeline(written(tmp_path, [step]))
    assert "\n" not in str(caught.value)


# --- the page about them ----------------------------------------------------------------------

PAGE = (Path(__file__).parents[2] / "docs" / "features.md").read_text()


def test_the_page_names_every_step_and_every_setting_of_an_encoder():
    assert all(f"| `{name}` |" in PAGE for name in STEPS)
    for kind in (TorchScript, Onnx, Safetensors, Encoder):
        names = {one.name for one in fields(kind)} - {"device"}
        assert all(f"`{name}`" in PAGE for name in names)


def test_the_recipe_for_images_runs(tmp_path, monkeypatch):
    """As it stands, in the folder of a pipeline of the page's own YAML."""
    monkeypatch.chdir(tmp_path)
    python = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)[0]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"`torch\.jit\.\w+` is", DeprecationWarning)
        exec(python, {})
    rng = np.random.default_rng(6)
    for name, n in (("private", 8), ("public", 20)):
        np.savez(tmp_path / f"{name}.npz", pixels=rng.normal(size=(n, 28, 28)), id=np.arange(n))
    (images,) = [b for b in re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL) if "npz" in b]
    rest = (
        "version: 1\nname: images\ncurate: {scorer: {method: mean}, select: {rule: top_k, k: 4}}\n"
    )
    (tmp_path / "images.yaml").write_text(rest + images)
    plan = load_pipeline(tmp_path / "images.yaml", "run.device=cpu")
    assert plan.data.pool.features.shape == (20, 8 * 4)
