"""The example sets: what is in them, and that curation makes the difference the cards state."""

import hashlib
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from sklearn.datasets import load_breast_cancer, load_digits
from sklearn.linear_model import LogisticRegression

from curation_audit.checks import InputError, SettingError
from curation_audit.pipelines.data import CurationData, load_data
from curation_audit.pipelines.examples import EXAMPLES, PARTS, med, notes
from curation_audit.pipelines.examples.files import SHA256, DataFolder
from curation_audit.pipelines.features.hashed_ngrams import HashedNgrams
from curation_audit.pipelines.features.tokens import Tokens
from curation_audit.pipelines.scorers.decontaminate import Decontaminate
from curation_audit.pipelines.scorers.dsir import Dsir
from curation_audit.pipelines.scorers.perplexity import Perplexity
from curation_audit.pipelines.sources import Columns, ExampleSource, PrivateSpec, SetSpec
from curation_audit.streams import Streams

ROOT = Path(__file__).parents[2]
CARDS = ROOT / "datasets"
# The larger examples need files that are no part of this package.
FOLDER = Path(os.environ.get("CURATION_AUDIT_DATA", ROOT.parent / "shared" / "data"))

FEATURES = {
    "med": ("mean_*", "*_error", "worst_*"),
    "digits": ("pixel_*",),
    "surgical_ward": ("num*", "*=*"),
    "chest_xray": None,
    "notes": None,
    "clinical_notes": None,
}
LABEL = {
    "med": "diagnosis",
    "digits": "digit",
    "surgical_ward": "stay",
    "chest_xray": "label",
    "notes": "service",
    "clinical_notes": "field",
}
IDS = {
    "med": ("patient_id", "record_id"),
    "digits": ("image_id", "image_id"),
    "surgical_ward": ("encounter_id", "encounter_id"),
    "chest_xray": ("image_id", "image_id"),
    "notes": ("note_id", "note_id"),
    "clinical_notes": ("text_id", "text_id"),
}
TEXT = {"notes": "text", "clinical_notes": "text"}
UNIT = {"surgical_ward": "patient_nbr", "notes": "patient_id"}
NEEDS = {
    "surgical_ward": ["diabetes130.parquet"],
    "chest_xray": [
        "pneumoniamnist.npz",
        "mednist_18k_28px.npz",
        "fashion_mnist_25k.npz",
        "mnist_15k.npz",
    ],
    "clinical_notes": [
        "mtsamples.parquet",
        "medquad.parquet",
        "newsgroups20.parquet",
        "medabstracts_test2888.parquet",
    ],
}
# rows and candidates of (private, public, test), and features
SHAPES = {
    "med": (200, 200, 2000, 119, 30),
    "digits": (400, 400, 1247, 150, 64),
    "surgical_ward": (2259, 2044, 30608, 1223, 283),
    "chest_xray": (2354, 2354, 52354, 624, 60),
    "notes": (160, 130, 700, 150, 128),
    "clinical_notes": (1188, 1188, 35183, 1927, 128),
}


def example(name: str) -> CurationData:
    if missing := [file for file in NEEDS.get(name, []) if not (FOLDER / file).is_file()]:
        pytest.skip(f"the data files {missing} are not in {FOLDER} (CURATION_AUDIT_DATA)")

    def source(part: str) -> ExampleSource:
        return ExampleSource(name=name, part=part, folder=str(FOLDER))

    def columns(part: str) -> Columns:
        return Columns(
            id=IDS[name][part == "public"],
            label=LABEL[name],
            features=FEATURES[name],
            text=TEXT.get(name),
        )

    return load_data(
        PrivateSpec(source=source("private"), columns=columns("private"), unit=UNIT.get(name)),
        SetSpec(source=source("public"), columns=columns("public")),
        SetSpec(source=source("test"), columns=columns("test")),
        base=ROOT,
        standardise="none" if name == "surgical_ward" or name in TEXT else "public",
        dtype="float64",
        steps=(Tokens(length=128),) if name in TEXT else (),
        streams=Streams(0),
    )


def accuracy(data: CurationData, rows: Any) -> float:
    """Of a logistic model trained on some pool rows."""
    assert data.pool.labels is not None
    assert data.test is not None
    model = LogisticRegression(max_iter=5000)
    model.fit(data.pool.features[rows], data.pool.labels[rows])
    return float(model.score(data.test.features, data.test.labels))


def random_accuracy(data: CurationData, k: int) -> float:
    rng = np.random.default_rng(1)
    picks = [rng.choice(len(data.pool), k, replace=False) for _ in range(100)]
    return float(np.mean([accuracy(data, rows) for rows in picks]))


def classifier_picks(data: CurationData, k: int) -> Any:
    """The pool rows that look most private to a logistic model."""
    rows = np.concatenate([data.private.features, data.pool.features])
    private = np.arange(len(rows)) < len(data.private)
    model = LogisticRegression(max_iter=5000).fit(rows, private)
    return np.argsort(-model.decision_function(data.pool.features))[:k]


def cosines(data: CurationData) -> Any:
    """Between every pool row and every private row, (m, rows)."""
    pool, private = (
        x / np.linalg.norm(x, axis=1, keepdims=True)
        for x in (data.pool.features, data.private.features)
    )
    return pool @ private.T


@pytest.mark.parametrize("name", sorted(EXAMPLES))
def test_shapes(name: str) -> None:
    data = example(name)
    assert data.test is not None
    sizes = (len(data.private), data.private.n_candidates, len(data.pool), len(data.test))
    assert (*sizes, data.pool.features.shape[1]) == SHAPES[name]


@pytest.mark.parametrize("name", ["digits", "med", "notes"])
def test_the_small_examples_are_the_same_every_time(name: str) -> None:
    for part in PARTS:
        one, two = EXAMPLES[name](part, None), EXAMPLES[name](part, None)
        assert list(one) == list(two)
        for column in one:
            np.testing.assert_array_equal(one[column], two[column])


@pytest.mark.parametrize("name", ["digits", "med", "notes"])
def test_no_private_row_is_public_or_in_the_test_set(name: str) -> None:
    data = example(name)
    assert data.warnings == ()
    assert data.test is not None
    assert not set(data.private.ids) & {*data.pool.ids, *data.test.ids}


def test_med_has_one_clean_site_and_seven_bad_ones() -> None:
    pool = med.table("public")
    measured = [name for name in pool if name not in ("record_id", "site", "diagnosis")]
    values = np.column_stack([pool[name] for name in measured]).reshape(8, 250, 30)
    diagnosis = pool["diagnosis"].reshape(8, 250)
    clean, sd = values[0], values[0].std(axis=0)
    assert pool["record_id"][250 * 2 + 123] == "site3-0123"
    for site in range(1, 8):
        moved = (values[site] - clean) / sd
        shift = np.linalg.norm(moved.mean(axis=0)) / np.sqrt(30)
        assert 0.5 - 0.05 < shift < 1 + 0.05
        assert moved.std(axis=0).mean() == pytest.approx(0.3, abs=0.01)
        # 250 coins of .4: five standard deviations are .155
        assert np.mean(diagnosis[site] != diagnosis[0]) == pytest.approx(0.4, abs=0.155)


def test_med_patients_are_in_one_part_only() -> None:
    parts = {part: med.table(part) for part in PARTS}
    ids = [*parts["private"]["patient_id"], *parts["test"]["patient_id"]]
    assert len(set(ids)) == 319


def test_med_curation_makes_the_difference_that_its_card_states() -> None:
    data = example("med")
    similar = cosines(data)
    measured = {
        "classifier": accuracy(data, classifier_picks(data, 150)),
        "nearest": accuracy(data, np.argsort(-similar.max(axis=1))[:150]),
        "random": random_accuracy(data, 150),
        "mean": accuracy(data, np.argsort(-similar.mean(axis=1))[:150]),
    }
    card = yaml.safe_load((CARDS / "breast_cancer.yaml").read_text())
    stated = card["med"]["accuracy_of_150_picked_rows"]
    assert measured == pytest.approx({name: stated[name] for name in measured}, abs=0.02)
    assert measured["classifier"] > measured["nearest"] > measured["random"] > measured["mean"]


def test_digits_curation_beats_random_picks() -> None:
    data = example("digits")
    curated = accuracy(data, classifier_picks(data, 140))
    assert curated > random_accuracy(data, 140) + 0.03


def test_surgical_ward_units_are_patients() -> None:
    data = example("surgical_ward")
    assert len(data.private) > data.private.n_candidates
    assert data.classes == ("long", "short")
    numbers = data.pool.features[:, data.pool.features.min(axis=0) < 0]
    np.testing.assert_allclose(numbers.mean(axis=0), 0, atol=1e-9)
    np.testing.assert_allclose(numbers.std(axis=0), 1)
    assert numbers.shape[1] == 7


def test_chest_xray_reports_the_duplicates_of_the_original() -> None:
    data = example("chest_xray")
    assert data.n_private_rows_in_pool == 10
    assert any("private rows also stand in the public pool" in text for text in data.warnings)


def text_scores(data: CurationData, scorer: Any) -> Any:
    """Scores of all pool rows with all private rows in."""
    everybody = np.ones((1, data.private.n_candidates), dtype=bool)
    streams = Streams(0).for_shadows("real", [0])
    fitted = scorer.fit(data.private, everybody, data.pool, streams=streams)
    return fitted.score(data.pool.features)[0]


def text_accuracy(data: CurationData, rows: Any) -> float:
    """Of a logistic model of words trained on some pool rows; the test set's classes compete."""
    assert data.pool.labels is not None
    assert data.test is not None
    step = HashedNgrams(n=1, buckets=512, scale="unit")
    model = LogisticRegression(C=10, max_iter=5000)
    model.fit(step.of_tokens(data.pool.features[rows]), data.pool.labels[rows])
    asked = model.predict_proba(step.of_tokens(data.test.features))
    competing = np.isin(model.classes_, data.test.labels)
    return float(
        np.mean(model.classes_[competing][asked[:, competing].argmax(1)] == data.test.labels)
    )


def test_notes_curation_makes_the_difference_that_its_card_states() -> None:
    data = example("notes")
    scorers = {
        "dsir": Dsir(normalise="length", smoothing=0.1),
        "perplexity": Perplexity(against_pool=True),
    }
    rng = np.random.default_rng(1)
    picks = [rng.choice(len(data.pool), 120, replace=False) for _ in range(20)]
    measured = {"random": float(np.mean([text_accuracy(data, rows) for rows in picks]))}
    for name, scorer in scorers.items():
        best = np.argsort(-text_scores(data, scorer), kind="stable")[:120]
        measured[name] = text_accuracy(data, best)
    stated = yaml.safe_load((CARDS / "notes.yaml").read_text())["notes"]
    stated = stated["accuracy_of_120_picked_rows"]
    assert measured["random"] == pytest.approx(stated["random"], abs=0.05)
    assert measured["dsir"] == pytest.approx(stated["dsir"], abs=0.02)
    assert measured["perplexity"] == pytest.approx(stated["perplexity"], abs=0.02)


def test_notes_are_quoted_in_the_pool_and_hardly_alike_otherwise() -> None:
    table, data = notes.table("public"), example("notes")
    quoted = np.array([str(text).startswith("A case for discussion:") for text in table["text"]])
    shared = text_scores(data, Decontaminate()) < 0
    assert quoted.sum() == notes.N_QUOTES
    assert shared[quoted].all()
    assert shared[~quoted].mean() < 0.02
    assert {*table["service"]} == {*notes.SERVICES, "none"}


def test_clinical_notes_share_nothing_but_a_field() -> None:
    data = example("clinical_notes")
    assert data.n_private_rows_in_pool == 0
    assert data.classes == (
        *("cardiovascular", "digestive", "general", "neoplasms", "nervous", "other"),
    )
    assert data.test is not None
    assert data.test.labels is not None
    assert np.bincount(data.test.labels).tolist() == [610, 299, 0, 633, 385]


@pytest.mark.parametrize("name", sorted(NEEDS))
def test_a_file_that_is_no_data_is_told(name: str, tmp_path: Path) -> None:
    for file in NEEDS[name]:
        (tmp_path / file).write_text("not data")
    stated = dict.fromkeys(NEEDS[name], hashlib.sha256(b"not data").hexdigest().upper())
    with pytest.raises(InputError, match=r"cannot be read as \w+; fetch it again"):
        EXAMPLES[name]("private", DataFolder(path=tmp_path, sha256=stated))


@pytest.mark.parametrize("name", sorted(NEEDS))
def test_a_file_with_another_checksum_is_told_in_one_line(name: str, tmp_path: Path) -> None:
    source = FOLDER / NEEDS[name][0]
    content = bytearray(source.read_bytes() if source.is_file() else b"any file at all")
    content[len(content) // 2] ^= 1  # one bit
    (tmp_path / source.name).write_bytes(content)
    with pytest.raises(InputError, match=f"the sha256 of {source.name} is") as caught:
        EXAMPLES[name]("private", DataFolder(path=tmp_path))
    assert f"expected {SHA256[source.name]}" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("stated", "says"),
    [
        ({"diabetes.parquet": "0" * 64}, "no example reads; did you mean 'diabetes130.parquet'"),
        ({"diabetes130.parquet": "0" * 63}, "expected 64 hexadecimal digits"),
        ({"diabetes130.parquet": 7}, "found 7; expected 64 hexadecimal digits"),
    ],
)
def test_a_checksum_that_is_none_is_told(stated: Any, says: str, tmp_path: Path) -> None:
    source = ExampleSource(name="surgical_ward", part="test", folder=".", sha256=stated)
    with pytest.raises(SettingError, match=says):
        source.read(tmp_path)


def cards() -> dict[str, Any]:
    return {p.stem: yaml.safe_load(p.read_text()) for p in sorted(CARDS.glob("*.yaml"))}


def test_every_file_of_an_example_has_a_card_with_its_checksum() -> None:
    files = {card["file"]["name"]: card["file"] for card in cards().values() if "file" in card}
    assert sorted(files) == sorted(file for needed in NEEDS.values() for file in needed)
    assert {name: file["sha256"] for name, file in files.items()} == SHA256
    for name, file in files.items():
        if (FOLDER / name).is_file():
            assert hashlib.sha256((FOLDER / name).read_bytes()).hexdigest() == file["sha256"]


@pytest.mark.parametrize(
    ("card", "load"), [("breast_cancer", load_breast_cancer), ("digits", load_digits)]
)
def test_the_sets_of_scikit_learn_are_those_of_their_cards(card: str, load: Any) -> None:
    bunch = load()
    content = bunch.data.astype("<f8").tobytes() + bunch.target.astype("<i8").tobytes()
    assert hashlib.sha256(content).hexdigest() == cards()[card]["content"]["sha256"]


def test_cards_are_complete_and_cover_the_examples() -> None:
    used = set()
    for card in cards().values():
        assert {"name", "origin", "licence", "fetch", "schema", "used_by"} <= set(card)
        used |= set(card["used_by"])
    assert used == set(EXAMPLES)
    # A package called datasets would hide the library of that name.
    assert not (CARDS / "__init__.py").exists()
