"""What every feature step owes, and what each computes, by hand and by scikit-learn."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from sklearn.decomposition import PCA
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer

from curation_audit import load_pipeline
from curation_audit.checks import InputError
from curation_audit.pipelines.data_sets import ReadSet
from curation_audit.pipelines.features import STEPS
from curation_audit.pipelines.features.base import FeatureStep, fit_steps
from curation_audit.pipelines.features.hashed_ngrams import HashedNgrams
from curation_audit.pipelines.features.pca import Pca
from curation_audit.pipelines.features.tfidf import Tfidf
from curation_audit.pipelines.features.tokens import (
    CODES,
    Tokens,
    first_words,
    ngram_buckets,
    ngram_counts,
    ngram_hashes,
    token_code,
)
from tests.pipelines.encoder_cases import encoder_cases, write_encoders

POOL = (
    "The heart beats. The heart stops!",
    "A knee, a hip and a heart",
    "",
    "soup is soup is soup",
    "The knee the knee the hip",
    "   ",
)
PRIVATE = ("Heart and soup", "never seen before", "", "the HEART beats. a knee")
TEXT_STEPS: dict[str, FeatureStep] = {
    "hashed_ngrams": HashedNgrams(n=2, buckets=64, length=5),
    "tfidf": Tfidf(n=2, most_features=12),
    "tokens": Tokens(length=4),
}
CASES: dict[str, tuple[FeatureStep, ...]] = {
    **{name: (step,) for name, step in TEXT_STEPS.items()},
    "pca": (TEXT_STEPS["tfidf"], Pca(components=3)),
    "pca, whitened": (TEXT_STEPS["hashed_ngrams"], Pca(components=2, whiten=True)),
}
CASES |= {name: (TEXT_STEPS["hashed_ngrams"], one) for name, one in encoder_cases(64).items()}


def of_texts(texts: tuple[str, ...], name: str = "public") -> ReadSet:
    ids = tuple(map(str, range(len(texts))))
    nothing = np.zeros((len(texts), 0), dtype=np.float32)
    return ReadSet(name, name, ids, nothing, (), False, None, None, texts=texts)


def of_numbers(features: np.ndarray) -> ReadSet:
    ids = tuple(map(str, range(len(features))))
    names = tuple(map(str, range(features.shape[1])))
    return ReadSet("public", "public", ids, features, names, True, None, None)


def mapped(steps: tuple[FeatureStep, ...], texts: tuple[str, ...], pool=POOL) -> np.ndarray:
    return fit_steps(steps, of_texts(pool))[1](of_texts(texts, "private")).features


def words(text: str) -> list[str]:
    return first_words(text, 1000)


def test_every_step_has_a_row_here():
    assert {step.name for steps in CASES.values() for step in steps} == set(STEPS)
    assert all(STEPS[name].name == name for name in STEPS)


@pytest.fixture(scope="module")
def encoders(tmp_path_factory):
    return write_encoders(tmp_path_factory.mktemp("encoders"), 64)


@pytest.fixture(params=CASES)
def steps(request, encoders, monkeypatch):
    if request.param == "onnx":
        pytest.importorskip("onnxruntime", reason="ONNX Runtime is an extra")
    monkeypatch.chdir(encoders)
    return CASES[request.param]


def test_other_private_rows_change_nothing(steps):
    """The map is the pool's alone: a row's features are the same in whatever set it stands."""
    alone = [mapped(steps, (text,))[0] for text in PRIVATE]
    np.testing.assert_allclose(mapped(steps, PRIVATE), alone, atol=1e-12)
    np.testing.assert_allclose(mapped(steps, PRIVATE[::-1]), alone[::-1], atol=1e-12)


def test_the_same_pool_gives_the_same_bits_and_another_order_the_same_map(steps):
    np.testing.assert_array_equal(mapped(steps, PRIVATE), mapped(steps, PRIVATE))
    other = mapped(steps, PRIVATE, pool=POOL[::-1])
    np.testing.assert_allclose(mapped(steps, PRIVATE), other, atol=1e-6)


def test_the_pool_is_mapped_as_any_other_set(steps):
    pool, map_of = fit_steps(steps, of_texts(POOL))
    np.testing.assert_array_equal(pool.features, map_of(of_texts(POOL)).features)
    assert pool.feature_names == tuple(
        f"{steps[-1].name}[{i}]" for i in range(len(pool.features.T))
    )
    assert pool.from_vectors
    assert pool.columns == ()
    assert np.isfinite(pool.features).all()


@pytest.mark.parametrize("name", sorted(TEXT_STEPS))
def test_an_empty_text_is_a_row_of_zeros(name):
    assert not mapped((TEXT_STEPS[name],), ("", " \n")).any()


@pytest.mark.parametrize("name", sorted(TEXT_STEPS))
def test_missing_texts_are_told(name):
    message = "public: a feature step reads texts, but no column of texts is named; name it by"
    with pytest.raises(InputError, match=message):
        TEXT_STEPS[name].fit(of_numbers(np.ones((3, 2))))
    without = replace(of_texts(PRIVATE, "private"), texts=None)
    with pytest.raises(InputError, match="private: a feature step reads texts"):
        TEXT_STEPS[name].fit(of_texts(POOL))(without)


def test_tokens_are_words_and_runs_of_signs_in_lower_case():
    assert words("Don't stop -- 3.5mg!?\n") == [
        "don",
        "'",
        "t",
        "stop",
        "--",
        "3",
        ".",
        "5mg",
        "!?",
    ]
    assert first_words("one two three", 2) == ["one", "two"]
    row = mapped((Tokens(length=4),), ("Stop the STOP",))[0]
    assert row.dtype == np.float32
    assert row.tolist() == [token_code("stop"), token_code("the"), token_code("stop"), 0]


@given(st.lists(st.text(max_size=30), min_size=1, max_size=5), st.integers(1, 6))
def test_token_codes_survive_float32_and_end_in_padding(texts, length):
    rows = mapped((Tokens(length=length),), tuple(texts))
    for row, text in zip(rows, texts, strict=True):
        wanted = [token_code(word) for word in words(text)[:length]]
        assert row.tolist() == wanted + [0] * (length - len(wanted))
        assert all(1 <= code < CODES for code in wanted)


def test_codes_of_many_words_are_as_distinct_as_chance_allows():
    """50,000 words in 2^24 codes: 74.5 pairs are expected to share one, sd 8.6; five sd apart."""
    distinct = len({token_code(f"word{i}") for i in range(50_000)})
    assert 74.5 - 43 < 50_000 - distinct < 74.5 + 43


def test_an_ngram_is_the_same_wherever_it_stands_and_never_runs_over_the_end():
    hashes, whole = ngram_hashes(np.array([[7, 8, 9, 7, 8], [8, 7, 8, 0, 0]]), 2)
    assert whole.tolist() == [[True] * 4 + [False], [True, True, False, False, False]]
    assert hashes[0, 0] == hashes[0, 3] == hashes[1, 1]
    assert len({*hashes[0, :3].tolist(), hashes[1, 0]}) == 4  # 78, 89, 97, 87
    assert hashes[0, 0] != ngram_hashes(np.array([[7, 8, 9]]), 3)[0][0, 0]
    assert not ngram_hashes(np.array([[7, 8]]), 3)[1].any()


def test_ngrams_spread_over_buckets_evenly():
    """Chi-squared of 20,000 random triples in 50 buckets: 49 expected, above 94 once in 10,000."""
    tokens = np.random.default_rng(0).integers(1, CODES, (20_000, 3))
    found = ngram_buckets(tokens, [3], 50)[:, 0]
    counts = np.bincount(found, minlength=50)
    assert ((counts - 400) ** 2 / 400).sum() < 94


@pytest.mark.parametrize("n", [1, 2, 3])
def test_counts_are_scikit_learns_up_to_the_order_of_columns(n):
    """In so many buckets no two of these n-grams share one."""
    tokens = mapped((Tokens(length=50),), POOL)
    counts = ngram_counts(tokens, n, 1 << 16)
    used = np.unique(counts.indices)
    vectoriser = CountVectorizer(
        tokenizer=words, token_pattern=None, lowercase=False, ngram_range=(1, n)
    )
    wanted = vectoriser.fit_transform(POOL).toarray()
    found = counts.toarray()[:, used]
    assert found.shape == wanted.shape
    assert Counter(map(tuple, found.T)) == Counter(map(tuple, wanted.T.astype(float)))


def test_hashed_ngrams_are_counts_by_length_or_of_unit_length():
    """aab: words a, a, b and pairs aa, ab: 5 n-grams, squares 4 + 1 + 1 + 1."""
    assert len({*ngram_buckets(np.array([[5, 5, 6]]), [1, 2], 512)[0].tolist()} - {-1}) == 4
    for scale, wanted in (
        ("none", [1, 1, 1, 2]),
        ("length", [0.2, 0.2, 0.2, 0.4]),
        ("unit", [1 / 7**0.5] * 3 + [2 / 7**0.5]),
    ):
        step = HashedNgrams(n=2, buckets=512, scale=scale)
        found = step.of_tokens(np.array([[5, 5, 6, 0], [0, 0, 0, 0]]))
        np.testing.assert_allclose(np.sort(found[0][found[0] > 0]), wanted, atol=1e-7)
        assert not found[1].any()
        assert found.dtype == np.float32


def test_more_rows_than_a_block_are_counted_alike():
    tokens = np.random.default_rng(1).integers(0, 4, (2500, 6))
    tokens[:, 3:] *= (np.arange(2500) % 3 > 0)[:, None]
    counts = ngram_counts(tokens, 2, 32)
    for some in (0, 1023, 1024, 2499):
        alone = ngram_counts(tokens[some : some + 1], 2, 32).toarray()[0]
        np.testing.assert_array_equal(counts[[some]].toarray()[0], alone)
    assert ngram_counts(tokens[:0], 2, 32).shape == (0, 32)


def test_tfidf_is_scikit_learns_with_the_pools_vocabulary():
    vectoriser = TfidfVectorizer(
        tokenizer=words, token_pattern=None, lowercase=False, ngram_range=(1, 2)
    ).fit(POOL)
    wanted = vectoriser.transform(PRIVATE).toarray()
    np.testing.assert_allclose(mapped((Tfidf(n=2),), PRIVATE), wanted, atol=1e-6)


def test_tfidf_by_hand():
    """Of four rows two have x and one y: idf 1 + log(5 / 3) and 1 + log(5 / 2)."""
    found = mapped((Tfidf(),), ("x x y", "z", "y"), pool=("x y", "x", "", "w"))
    x, y = 2 * (1 + np.log(5 / 3)), 1 + np.log(5 / 2)
    size = np.hypot(x, y)
    # w, x, y in alphabetical order; z is not in the pool
    np.testing.assert_allclose(found, [[0, x / size, y / size], [0, 0, 0], [0, 0, 1]], atol=1e-6)


def test_tfidf_keeps_the_commonest_and_only_the_first_words():
    pool = ("a a a b b c", "a b")
    assert mapped((Tfidf(most_features=2),), ("c",), pool).tolist() == [[0, 0]]
    assert mapped((Tfidf(length=3),), ("a",), pool).shape == (1, 2)  # c is never reached
    with pytest.raises(InputError, match="public: no text has a word"):
        Tfidf().fit(of_texts(("", " ")))


def test_pca_is_scikit_learns_up_to_signs(rng):
    features = rng.normal(size=(50, 6)) @ rng.normal(size=(6, 6))
    for whiten in (False, True):
        data = of_numbers(features)
        found = Pca(components=4, whiten=whiten).fit(data)(data).features
        wanted = PCA(4, svd_solver="full").fit_transform(features)
        if whiten:
            wanted /= wanted.std(axis=0)
        np.testing.assert_allclose(np.abs(found), np.abs(wanted), atol=1e-9)


def test_pca_does_not_blow_up_what_does_not_vary(rng):
    """A third component of rank-two data is rounding; whitened it would be anything."""
    features = rng.normal(size=(40, 2)) @ rng.normal(size=(2, 5))
    found = Pca(components=3, whiten=True).fit(of_numbers(features))(of_numbers(features)).features
    np.testing.assert_allclose(found[:, :2].std(axis=0), 1)
    np.testing.assert_allclose(found[:, 2], 0, atol=1e-6)
    apart = Pca(components=3, whiten=True).fit(of_numbers(features))(of_numbers(features + 1))
    assert np.abs(apart.features).max() < 100


def test_pca_of_texts_or_with_too_many_components_is_told():
    with pytest.raises(InputError, match="public: pca finds no features; put a step that"):
        fit_steps((Pca(components=2),), of_texts(POOL))
    with pytest.raises(InputError, match="found pca with 7 components of 12 features and 6 rows"):
        fit_steps((TEXT_STEPS["tfidf"], Pca(components=7)), of_texts(POOL))


def test_texts_without_a_step_are_told():
    with pytest.raises(InputError, match="public: has a column of texts and no features; add a"):
        fit_steps((), of_texts(POOL))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Tokens(length=0), "length must be positive, got 0"),
        (lambda: HashedNgrams(n=0), "n must be positive, got 0"),
        (lambda: Tfidf(most_features=0), "most_features must be positive, got 0"),
        (lambda: Pca(components=0), "components must be positive, got 0"),
    ],
)
def test_settings_out_of_range(make, message):
    with pytest.raises(ValueError, match=message):
        make()
    with pytest.raises(InputError, match=r"features.steps.scale: found 'row'; expected one of"):
        HashedNgrams(scale="row")


STEPS_IN_YAML = {
    "tokens": [{"kind": "tokens", "length": 5}],
    "hashed_ngrams": [{"kind": "hashed_ngrams", "buckets": 32, "scale": "unit"}],
    "tfidf, pca": [{"kind": "tfidf", "most_features": 9}, {"kind": "pca", "components": 3}],
}


TEXTS = tuple(f"{a} sits on {b}" for a in ("cat", "dog", "owl", "cow") for b in ("mat", "roof"))


def written(folder: Path, steps: list[dict], **private) -> Path:
    """A pipeline of texts on disk; ``private`` are columns of the private file."""
    mine = {"id": [f"p{i}" for i in range(8)], "note": list(TEXTS)} | private
    pool = {"id": list(range(16)), "note": list(TEXTS * 2), "kind": ["a", "b"] * 8}
    pq.write_table(pa.table(mine), folder / "private.parquet")
    pq.write_table(pa.table(pool), folder / "public.parquet")
    tree = {
        "version": 1,
        "name": "texts",
        "private": {
            "source": {"kind": "parquet", "path": "private.parquet"},
            "columns": {"id": "id", "text": "note"},
        },
        "public": {
            "source": {"kind": "parquet", "path": "public.parquet"},
            "columns": {"id": "id", "text": "note", "label": "kind"},
        },
        "features": {"steps": steps, "standardise": "none"},
        "curate": {"scorer": {"method": "mean"}, "select": {"rule": "top_k", "k": 4}},
    }
    (folder / "texts.yaml").write_text(yaml.safe_dump(tree))
    return folder / "texts.yaml"


@pytest.mark.parametrize("name", STEPS_IN_YAML)
def test_steps_of_a_pipeline_file_give_its_features(name, tmp_path):
    plan = load_pipeline(written(tmp_path, STEPS_IN_YAML[name]))
    built = tuple(STEPS[one["kind"]](**without_kind(one)) for one in STEPS_IN_YAML[name])
    pool, private = mapped(built, TEXTS * 2, TEXTS * 2), mapped(built, TEXTS, TEXTS * 2)
    np.testing.assert_array_equal(plan.data.pool.features, pool.astype(np.float32))
    np.testing.assert_array_equal(plan.data.private.features, private.astype(np.float32))
    assert plan.data.n_private_rows_in_pool == 8


def without_kind(one: dict) -> dict:
    return {key: value for key, value in one.items() if key != "kind"}


@pytest.mark.parametrize(
    ("steps", "private", "message"),
    [
        (
            [{"kind": "tokens"}],
            {"note": ["x"] * 3 + [None] * 5},
            r"private \(private.parquet\), column 'note', row 4: the text is missing \(5 such",
        ),
        (
            [{"kind": "tokens"}],
            {"note": [[1.0]] * 8},
            "column 'note': holds vectors, expected one text",
        ),
        ([{"kind": "tokns"}], {}, "found 'tokns'; did you mean 'tokens'"),
        ([{"kind": "tfidf", "m": 3}], {}, "unknown setting 'm'"),
        ([], {}, "has a column of texts and no features"),
    ],
)
def test_errors_name_the_file_and_the_place(steps, private, message, tmp_path):
    path = written(tmp_path, steps, **private)
    with pytest.raises(InputError, match=message):
        load_pipeline(path)
