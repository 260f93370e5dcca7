"""``coord-check`` and ``lr-transfer-check`` from the command line: public rows, exit codes."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

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
