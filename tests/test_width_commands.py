"""``coord-check`` and ``lr-transfer-check`` from the command line: public rows, exit codes."""

import dataclasses
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.metrics import log_loss

from curation_audit.checks import SettingError
from curation_audit.observations import Selection
from curation_audit.pipelines.base import Rows
from curation_audit.pipelines.downstream.module import Module
from curation_audit.pipelines.width_tasks import transfer_probe_of
from curation_audit.streams import Streams
from curation_audit.training.spectral_modules import spectral_mlp
from curation_audit.width_commands import advice
from tests.config.test_bad_input import assert_one_line

FEW = ("--widths", "8,16,32", "--networks", "2")


@pytest.fixture
def wide(small):
    """The small pipeline with a perceptron as its model, and another as its scorer."""

    def edit(tree):
        tree["train"] = {
            "model": "mlp",
            "hidden": [16],
            "optimiser": "adamw",
            "learning_rate": 0.01,
            "epochs": 4,
            "parametrization": "spectral",
            "base_width": 16,
        }
        tree["curate"]["scorer"] = {"method": "mlp_classifier", "hidden": [16]}

    return small(edit)


def test_coord_check_passes_by_its_limit(wide, command, tmp_path):
    plot = tmp_path / "widths.png"
    asked = ("coord-check", "--pipeline", wide, *FEW, "--json", "--plot", plot)
    code, out, err = command(*asked, "--limit", 3)
    found = json.loads(out)
    assert (code, found["exit_code"], err) == (0, 0, "")
    assert found["rows"] == "public pool only"
    assert found["parametrization"] == "spectral"
    assert len(found["slopes"]["change of weights"]) == 2  # hidden layer and readout
    assert plot.read_bytes().startswith(b"\x89PNG")
    assert command(*asked, "--limit", 1e-9)[0] == 1


def test_lr_transfer_check_tells_drift_and_edge(wide, command, tmp_path):
    plot = tmp_path / "rates.svg"
    asked = ("lr-transfer-check", "--pipeline", wide, *FEW, "--octaves", 1, "--plot", plot)
    code, out, _ = command(*asked, "--json", "--limit", 50)
    found = json.loads(out)
    assert code == (1 if found["at_edge"] else 0)
    assert np.shape(found["losses"]) == (3, 3)
    assert found["rates"] == pytest.approx([0.005, 0.01, 0.02])
    assert "<svg" in plot.read_text()
    code, out, _ = command(*asked, "--limit", 1e-9)
    assert code == 1
    assert "none private" in out
    assert "leakage" in out


def test_pool_rows_that_stand_in_the_private_set_are_not_called_none(wide, command, small, tables):
    asked = ("coord-check", "--pipeline", wide, *FEW, "--limit", 9)
    assert "public rows, none private." in command(*asked)[1]
    tables["public"]["Vektor"][:3] = tables["private"]["Vektor"][:3]
    small(tables=tables, text=wide.read_text())
    code, out, _ = command(*asked)
    assert code == 0
    assert "none private" not in out
    assert "public rows, 3 of the private set stand in the pool, too." in out
    assert json.loads(command(*asked, "--json")[1])["n_private_rows_in_pool"] == 3


def test_one_step_is_said_to_be_too_few_before_a_readout_of_zero(wide, command):
    once = ("--steps", 1, "--set", "train.weight_decay=0")
    found = command("coord-check", "--pipeline", wide, *FEW, *once)
    assert_one_line(*found, ["readout of zero", "more steps"])


def told(**changes):
    tree = {
        "widths": (64, 128, 256),
        "base_width": 64,
        "parametrization": "spectral",
        "exit_code": 0,
        "chosen_rate": 0.03125,
    }
    return advice(tree | changes, "train")


def test_a_rate_is_told_where_it_holds_and_nowhere_else():
    assert told().splitlines() == [
        "Put this into train, for every width:",
        "  learning_rate: 0.03125",
    ]
    assert "No rate" in told(exit_code=1)
    assert "one width" in told(parametrization="standard")
    assert "begin with base_width (32)" in told(base_width=32)


def test_the_rate_that_is_told_is_the_best_at_the_narrowest_width(wide, command):
    asked = ("lr-transfer-check", "--pipeline", wide, "--widths", "16,32,64", "--octaves", 3)
    code, out, _ = command(*asked, "--json", "--limit", 50)
    found = json.loads(out)
    assert found["chosen_rate"] == found["rates"][int(np.argmin(found["losses"][0]))]
    pasted = f"learning_rate: {found['chosen_rate']:.6g}"
    code, out, _ = command(*asked, "--limit", 50)
    assert (pasted in out) == (code == 0)


@pytest.fixture
def images(small, tables, tmp_path):
    """The small pipeline with four features in place of three."""

    def edit(tree):
        tree["train"] = {
            "model": "cnn",
            "shape": [2, 2],
            "channels": [4],
            "epochs": 3,
            "learning_rate": 0.1,
            "parametrization": "spectral",
            "base_width": 4,
        }

    path = small(edit)
    for name in ("private", "public", "test"):
        rows = [[*one, one[0] * one[1]] for one in tables[name]["Vektor"]]
        pq.write_table(pa.table(tables[name] | {"Vektor": rows}), tmp_path / f"{name}.parquet")
    return path


def test_the_rate_of_a_convolution_is_found_too(images, command):
    asked = ("lr-transfer-check", "--pipeline", images, "--widths", "4,8,16", "--octaves", 1)
    code, out, err = command(*asked, "--json", "--limit", 50)
    found = json.loads(out)
    assert code == (1 if found["at_edge"] else 0), err
    assert np.shape(found["losses"]) == (3, 3)
    assert (found["parametrization"], found["base_width"]) == ("spectral", 4)
    assert_one_line(*command("coord-check", "--pipeline", images), ["no perceptron"])


def test_the_rate_of_a_module_is_found_by_its_loss():
    rng = np.random.default_rng(0)
    features = rng.normal(size=(40, 3))
    pool = Rows(tuple(map(str, range(40))), features, (features[:, 0] > 0).astype(np.int64))

    def network(n_features, n_classes, width):
        return spectral_mlp((n_features, width, n_classes))

    model = Module(module=network, width=8, epochs=4, learning_rate=0.1, device="cpu")
    probe = transfer_probe_of(model, pool, "model", 512, 0)
    found = probe.transfer((8, 16, 32), (0.01, 0.1, 1e30), 2)
    assert found.losses.shape == (3, 3, 2)
    assert (found.losses[:, 2] > 10).all()  # steps that are far too large
    # by the model itself, at one width and rate
    everything = Selection.from_mask(np.ones((2, 40), dtype=bool))
    streams = Streams(0).for_shadows("width check", range(2))
    fitted = dataclasses.replace(model, width=16).fit(pool, everything, 2, streams=streams)
    wanted = [log_loss(pool.labels, one) for one in fitted.predict_proba(features)]
    assert found.losses[1, 1] == pytest.approx(wanted, abs=1e-6)


def test_a_module_without_a_width_has_no_rate_by_width():
    model = Module(module=lambda n, c: spectral_mlp((n, 4, c)), device="cpu")
    pool = Rows(("a", "b"), np.eye(2), np.array([0, 1]))
    with pytest.raises(SettingError, match=r"train\.width: is missing"):
        transfer_probe_of(model, pool, "model", 512, 0)


def test_a_scorer_is_tried_on_halves_of_the_pool(wide, command):
    code, out, _ = command(
        "coord-check", "--pipeline", wide, *FEW, "--part", "scorer", "--limit", 9, "--json"
    )
    assert (code, json.loads(out)["parametrization"]) == (0, "standard")


@pytest.mark.parametrize("part", ["model", "scorer"])
def test_no_private_row_changes_what_is_found(wide, command, tmp_path, tables, part):
    asked = ("coord-check", "--pipeline", wide, *FEW, "--part", part, "--json")
    before = command(*asked)[1]
    changed = tables["private"] | {"Vektor": (np.array(tables["private"]["Vektor"]) * 7).tolist()}
    pq.write_table(pa.table(changed), tmp_path / "private.parquet")
    assert command(*asked)[1] == before
    changed = tables["public"] | {"Vektor": (np.array(tables["public"]["Vektor"]) ** 3).tolist()}
    pq.write_table(pa.table(changed), tmp_path / "public.parquet")
    assert command(*asked)[1] != before  # the pool does


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (("--widths", "8,16"), "widths must be 3 or more"),
        (("--widths", "8,x"), "no list of whole numbers"),
        (("--plot", "picture.gif"), "--plot"),
        (("--set", "train={model: logistic}"), "no perceptron with hidden layers"),
        (("--set", "train.hidden=[]"), "no perceptron with hidden layers"),
        (("--set", "train.parametrization=mup"), "parametrization"),
        (("--set", "train.base_width=0"), "base_width"),
        (("--set", "train.learning_rate=1e30", "--set", "train.optimiser=sgd"), "diverged"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(wide, command, options, expected):
    found = command("coord-check", "--pipeline", wide, *options)
    assert_one_line(*found, [expected])
