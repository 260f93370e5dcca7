"""One audit from end to end: the plain curation, the two interfaces, units, threats, secrets."""

import hashlib
import hmac
import json
import pickle
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from curation_audit.api import Pipeline, audit
from curation_audit.attacks import ATTACKS
from curation_audit.auditing.chunks import run_curations
from curation_audit.auditing.curation import measure_utility
from curation_audit.auditing.engine import utility_of
from curation_audit.auditing.plan import AttackSettings, RunSettings, Threat
from curation_audit.auditing.progress import Silence
from curation_audit.checks import InputError, SettingError
from curation_audit.game import check_pairs, paired_inclusion
from curation_audit.observations import STAGES
from curation_audit.pipelines.downstream.logistic import Logistic
from curation_audit.pipelines.downstream.mlp import Mlp
from curation_audit.pipelines.rules.cut import tie_order
from curation_audit.pipelines.rules.threshold import Threshold
from curation_audit.pipelines.rules.top import TopFraction, TopK
from curation_audit.pipelines.scorers.classifier import Classifier
from curation_audit.pipelines.scorers.mean import Mean
from curation_audit.pipelines.scorers.nearest import Nearest
from curation_audit.results import to_plain
from curation_audit.storage import ChunkStore
from curation_audit.streams import Streams
from tests.pipelines import reference

ATTACK = AttackSettings(shadows=16)
N, M, Q, D, SEED = 16, 50, 25, 4, 9
LABELS = {
    "private": np.arange(N) % 2,
    "public": np.random.default_rng(4).integers(0, 2, M),
    "test": np.arange(Q) % 2,
}


def sets(n=N) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(3)
    shapes = {"private": n, "public": M, "test": Q}
    return {name: rng.standard_normal((rows, D)) for name, rows in shapes.items()}


def pipeline(**settings) -> Pipeline:
    basic = {"labels": LABELS, "scorer": Mean(), "select": TopK(k=15), "attack": ATTACK}
    return Pipeline(**sets() | basic | {"seed": SEED} | settings)


NETWORK = {"epochs": 2, "batch_size": 4, "learning_rate": 0.1}
WHOLE = {
    "mean, top_k, logistic": (
        {"scorer": Mean(), "select": TopK(k=15), "train": Logistic(l2=0.3)},
        reference.mean_similarity,
        lambda scores, ties: reference.top_k(scores, ties, 15),
    ),
    "nearest, top_fraction, mlp": (
        {
            "scorer": Nearest(),
            "select": TopFraction(fraction=0.25),
            "train": Mlp(hidden=(5,), **NETWORK),
        },
        reference.nearest,
        lambda scores, ties: reference.top_fraction(scores, ties, 0.25),
    ),
    "classifier, threshold, logistic": (
        {
            "scorer": Classifier(l2=2.0),
            "select": Threshold(minimum=-2.0),
            "train": Logistic(l2=0.3),
        },
        lambda private, pool: reference.private_against_pool(private, pool, 2.0),
        lambda scores, ties: reference.threshold(scores, -2.0),
    ),
}


def model_of(train, rows, labels, asked, scope, shadow):
    if train.name == "logistic":
        return reference.logistic_model(rows, labels, 2, 0.3, asked)
    streams = Streams(SEED).for_shadows(scope, [shadow])
    return reference.mlp_model(
        rows,
        labels,
        2,
        asked,
        initial=streams.generators("initial weights")[0],
        order=streams.generators("row order")[0],
        hidden=(5,),
        momentum=0.9,
        weight_decay=1e-4,
        **NETWORK,
    )


@pytest.mark.parametrize("unit", [None, np.arange(N) // 2], ids=["rows", "patients"])
@pytest.mark.parametrize("whole", WHOLE.values(), ids=WHOLE)
def test_every_curation_equals_the_plain_reference(whole, unit):
    """Real, shadow and null curations, from the inclusion to the utility, in float64."""
    settings, score, pick = whole
    n_shadows = 20  # a whole chunk and a part of one
    run, attack = RunSettings(dtype="float64"), AttackSettings(shadows=n_shadows)
    plan = pipeline(**settings, unit=unit, run=run, attack=attack).plan()
    found = run_curations(plan, ChunkStore(None), Silence())
    data, n_units = plan.data, N if unit is None else N // 2
    ties = tie_order(data.pool.ids, SEED)
    coins = paired_inclusion(n_shadows, n_units, Streams(SEED))
    everyone = np.ones((1, n_units), dtype=bool)
    unit = np.arange(N) if unit is None else unit

    def check(curated, scope, shadow, scores, at):
        seen = curated.observation
        np.testing.assert_allclose(seen.scores[at], scores, rtol=0, atol=1e-10)
        picked = pick(list(scores), ties.tolist())
        mask = np.isin(np.arange(M), picked)
        np.testing.assert_array_equal(seen.selection.mask()[at], mask)
        rows, labels = data.pool.features[mask], data.pool.labels[mask]
        asked = np.concatenate([data.private.features, data.test.features])
        wanted = model_of(plan.downstream, rows, labels, asked, scope, shadow)
        np.testing.assert_allclose(seen.probabilities[at], wanted[:N], rtol=0, atol=1e-6)
        hits = [row.argmax() == y for row, y in zip(wanted[N:], LABELS["test"], strict=True)]
        assert curated.utility[at] == pytest.approx(np.mean(hits))

    for curated, scope, inclusion in (
        (found.real, "real", everyone),
        (found.shadows, "shadow", coins),
    ):
        for s, held in enumerate(inclusion):
            mine = data.private.features[reference.held_rows(held, unit)]
            check(curated, scope, s, np.array(score(mine, data.pool.features)), s)
    for s in range(n_shadows):
        scores = found.null.observation.scores[s]
        np.testing.assert_array_equal(np.sort(scores), np.sort(found.real.observation.scores[0]))
        check(found.null, "null", s, scores, s)
    assert len({tuple(one) for one in found.null.observation.scores}) == n_shadows


def test_the_result_holds_what_an_audit_found():
    result = audit(pipeline())
    assert [stage.stage for stage in result.stages] == list(STAGES)
    check_pairs(result.inclusion)
    assert result.inclusion.shape == (16, N)
    run = {one.attack for stage in result.stages for one in stage.attacks if one.status == "run"}
    assert set(result.evidence) == run
    for evidence in result.evidence.values():
        assert evidence.shape == (16, N)
        assert np.isfinite(evidence).all()
    assert result.report["verdict"] == to_plain(result.verdict)
    assert result.report["stages"] == to_plain(result.stages)
    assert result.report["data"]["private"]["fingerprint"] is None  # no key without a folder
    assert result.run["workers"] == 1
    assert result.utility is not None
    assert result.utility.n_picked == 15
    assert result.utility.n_random == 16
    assert result.report_path is None


def test_the_same_plan_gives_the_same_result_and_another_seed_another():
    one, two, other = (audit(pipeline(seed=seed)) for seed in (1, 1, 2))
    assert one.report == two.report
    assert not np.array_equal(one.inclusion, other.inclusion)


def test_arrays_frames_and_the_command_line_agree(small, command, tables, tmp_path):
    names = {"private": "Besuch", "public": "Satz", "test": "Satz"}
    columns = ["Blutwert α", "Puls", "raucht"]

    def edit(tree):
        for name in names:
            tree[name]["columns"] |= {"features": list(columns)}
            del tree[name]["columns"]["embedding"]

    code, _, err = command("attack", "--pipeline", small(edit), "--quiet")
    assert code == 0, err
    release = tmp_path / "run" / "release"
    report = json.loads((release / "report.json").read_text())
    with np.load(release.parent / "evidence.npz", allow_pickle=False) as written:
        keyed = set(written["candidate"].tolist())
    for stage in report["stages"]:
        worst = stage["headline"]["records"]["worst"]
        assert len({record["id"] for record in worst} & keyed) == len(worst) == 10
        for record in worst:  # only what writes a folder has a key to hide ids with
            record["id"] = None

    settings = {"scorer": "mean", "select": TopK(k=40), "attack": ATTACK, "seed": 5}
    frames = {
        name: pd.DataFrame({key: list(values) for key, values in table.items()})
        for name, table in tables.items()
    }
    by_frames = audit(
        Pipeline(**frames, **settings, labels="Befund", ids=names, unit="Pat.Nr", features=columns)
    )
    matrices = {
        name: np.column_stack([np.asarray(table[column], dtype=float) for column in columns])
        for name, table in tables.items()
    }
    by_arrays = audit(
        Pipeline(
            **matrices,
            **settings,
            labels={name: table["Befund"] for name, table in tables.items()},
            ids={name: tables[name][column] for name, column in names.items()},
            unit=tables["private"]["Pat.Nr"],
        )
    )
    with np.load(release.parent / "evidence.npz", allow_pickle=False) as written:
        for result in (by_frames, by_arrays):
            assert to_plain(result.stages) == report["stages"]
            assert to_plain(result.controls) == report["controls"]["results"]
            assert to_plain(result.utility) == report["utility"]
            np.testing.assert_array_equal(result.inclusion, written["inclusion"])
            for name, evidence in result.evidence.items():
                np.testing.assert_array_equal(evidence, written[f"evidence_{name}"])


@pytest.mark.parametrize("scorer", ["mean", "nearest"])
def test_patients_with_every_row_twice_are_attacked_like_single_rows(scorer):
    """Neither a mean nor a maximum sees the copies, so the audit of units is that of rows."""
    data = sets()
    double = np.repeat(np.arange(N), 2)
    labels = LABELS | {"private": LABELS["private"][double]}
    once = audit(pipeline(scorer=scorer, run=RunSettings(dtype="float64")))
    twice = audit(
        pipeline(
            scorer=scorer,
            private=data["private"][double],
            labels=labels,
            unit=[f"p{i}" for i in double],
            run=RunSettings(dtype="float64"),
        )
    )
    np.testing.assert_array_equal(once.inclusion, twice.inclusion)
    for name in ("lira_best_row", "trace", "binary_lira", "mask_trace", "loss", "lira"):
        if name in once.evidence:
            np.testing.assert_allclose(once.evidence[name], twice.evidence[name], atol=1e-8)
    design = twice.report["design"]
    assert (design["n_candidates"], design["n_private_rows"]) == (N, 2 * N)
    assert design["mean_rows_per_shadow"] == N


def test_rows_that_are_no_targets_are_in_every_shadow():
    held = []

    def record(private, pool):
        held.append({tuple(row) for row in private.tolist()})
        return pool @ private.mean(axis=0)

    result = audit(
        pipeline(
            scorer=record,
            attack=AttackSettings(shadows=16, targets=6),
            standardise="none",
            run=RunSettings(dtype="float64"),
        )
    )
    assert result.inclusion.shape == (16, 6)
    real, *shadows = held
    assert len(real) == N
    always = set.intersection(*shadows)
    assert len(always) == N - 6
    sizes = [N - 6 + int(row.sum()) for row in result.inclusion]
    assert [len(shadow) for shadow in shadows] == sizes
    design = result.report["design"]
    assert design["n_always_in_rows"] == N - 6
    assert design["mean_rows_per_shadow"] == N - 3
    assert all(evidence.shape == (16, 6) for evidence in result.evidence.values())


def reasons(result) -> dict[str, str]:
    return {
        one.attack: one.reason
        for stage in result.stages
        for one in stage.attacks
        if one.status == "not applicable"
    }


def test_without_labels_of_the_candidates_few_attacks_on_the_model_run():
    result = audit(pipeline(labels={name: LABELS[name] for name in ("public", "test")}))
    model = result.stages[2]
    run = {one.attack for one in model.attacks if one.status == "run"}
    # pool rows have labels
    assert run == {"analytic_model", "bottleneck", "nearest_pool", "through_mask"}
    lacking = reasons(result)
    assert lacking["loss"] == lacking["lira"] == "needs labels"
    assert lacking["fingerprint"] == "needs insertions"
    assert result.utility is not None
    assert {one.attack for one in result.controls if one.stage == "model"} == run


def test_without_a_model_the_stage_is_not_observed():
    result = audit(pipeline(train=None, labels=None))
    status = {stage.stage: stage.status for stage in result.stages}
    assert status.pop("model") == "not observed"
    assert set(status.values()) == {"attacked"}
    assert result.stages[2].attacks == ()
    assert result.utility is None
    assert result.report["design"]["downstream"] is None


@pytest.mark.parametrize("withheld", ["pool", "labels", "algorithm", "other candidates"])
def test_attacks_that_need_what_is_withheld_say_so(withheld):
    knows = ("algorithm", "candidates", "labels", "other candidates", "pool")
    threat = Threat(knows=tuple(k for k in knows if k != withheld))
    result = audit(pipeline(threat=threat))
    lost = {name for name, attack in ATTACKS.items() if withheld in attack.needs}
    assert lost <= set(reasons(result))
    assert all(reason.startswith("needs ") for reason in reasons(result).values())
    assert all(withheld in reasons(result)[name] for name in lost)
    assert not set(reasons(result)) & set(result.evidence)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"threat": Threat(knows=("algorithm", "pool"))}, "threat: lets no attack run"),
        ({"threat": Threat(knows=())}, "threat: lets no attack run"),
        (
            {"attack": AttackSettings(shadows=8, methods=dict.fromkeys(STAGES, ()))},
            "attack.methods: names no attack",
        ),
    ],
)
def test_an_audit_without_any_attack_is_refused(settings, message):
    """It would end in "no leak found"."""
    with pytest.raises(InputError, match=message):
        audit(pipeline(**settings))


def test_an_attack_that_is_below_chance_is_read_in_reverse():
    """Losses are lower where a far scorer kept a member's like out; that tells as much."""

    def farthest(private, pool):
        return -np.linalg.norm(pool[:, None] - private[None], axis=2).min(axis=1)

    rng = np.random.default_rng(0)
    x = rng.standard_normal((40, 2)) * 2
    sets = {"private": x, "public": np.repeat(x, 3, axis=0) + 0.05 * rng.standard_normal((120, 2))}
    labels = {name: (one[:, 0] * one[:, 1] > 0).astype(int) for name, one in sets.items()}
    result = audit(
        Pipeline(
            **sets,
            labels=labels,
            scorer=lambda private, pool: -farthest(private, pool),
            select=TopK(k=60),
            train=Mlp(hidden=(32,), epochs=60, batch_size=16),
            attack=AttackSettings(shadows=96, methods={"model": ("loss",)}),
            threat=Threat(observes=("model",)),
        )
    )
    headline = result.stages[2].headline
    assert result.stages[2].attacks[0].metrics.auc.high < 0.5
    assert headline.reversed
    assert headline.metrics.auc.low > 0.5
    assert result.verdict.status == "leak found"


def test_bad_input_of_a_worker_arrives_as_such():
    for kind in (InputError, SettingError):
        error = pickle.loads(pickle.dumps(kind("where", "problem", "hint")))
        assert (type(error), str(error)) == (kind, "where: problem; hint")


def test_absolute_paths_are_shortened_in_the_report(small, command, tmp_path):
    def absolute(tree):
        tree["private"]["source"]["path"] = str(tmp_path / "private.parquet")

    assert command("attack", "--pipeline", small(absolute), "--quiet")[0] in (0, 1)
    for name in ("report.json", "report.html"):
        text = (tmp_path / "run" / "release" / name).read_text()
        assert str(tmp_path) not in text
        assert "private.parquet" in text


def test_a_rendering_that_was_not_asked_for_does_not_outlive_its_audit(small, command, tmp_path):
    page = tmp_path / "run" / "release" / "report.html"
    pipeline_file = small()
    command("attack", "--pipeline", pipeline_file, "--quiet")
    assert page.exists()
    options = ("--set", "report.formats=[json]", "--seed", "77", "--quiet")
    command("attack", "--pipeline", pipeline_file, *options)
    assert not page.exists()


def test_a_stage_that_is_not_observed_is_not_attacked():
    result = audit(pipeline(threat=Threat(observes=("selection",))))
    assert [s.status for s in result.stages] == ["not observed", "attacked", "not observed"]
    assert all(control.stage in (None, "selection") for control in result.controls)


SECRET = 73914.6875  # exact in every float type but the half


@pytest.mark.parametrize("workers", [1, 2])
def test_no_private_value_or_id_leaves_the_cache(small, command, tables, tmp_path, workers):
    n = len(tables["private"]["Besuch"])
    private = tables["private"]
    private["Besuch"] = [f"VISIT-XYZZY-{i}" for i in range(n)]
    private["Pat.Nr"] = [f"PATIENT-PLUGH-{i // 2}" for i in range(n)]
    private["Vektor"] = [[SECRET + 0.5 * i, *row[1:]] for i, row in enumerate(private["Vektor"])]
    arguments = ["--set", f"run.workers={workers}", "--set", "features.standardise=none"]
    code, out, err = command("attack", "--pipeline", small(tables=tables), *arguments)
    assert code in (0, 1, 5), err
    texts = {"stdout": out.encode(), "stderr": err.encode()}
    run = tmp_path / "run"
    for path in (run / "run.json", run / "evidence.npz", *(run / "release").iterdir()):
        texts[path.name] = path.read_bytes()
    assert set(texts) >= {"report.json", "report.html", "evidence.npz", "run.json"}
    values = [SECRET + 0.5 * i for i in range(n)]
    hidden = [b"XYZZY", b"PLUGH"]
    hidden += ["XYZZY".encode("utf-32-le"), "PLUGH".encode("utf-32-le")]  # as numpy writes text
    hidden += [f"{value:.3f}".encode() for value in values]
    hidden += [np.array(value, kind).tobytes() for value in values for kind in ("<f4", "<f8")]
    for name, text in texts.items():
        for secret in hidden:
            assert secret not in text, f"{secret!r} in {name}"
    # the search would find them: the source of the private rows holds them all
    source = pd.DataFrame(private).to_json().encode()
    assert all(secret in source for secret in (b"XYZZY", b"PLUGH", b"73914.687"))


def test_evidence_names_candidates_by_keyed_ids_and_stays_out_of_the_release(
    small, command, tables, tmp_path
):
    key = tmp_path / "my.key"
    assert command("attack", "--pipeline", small(), "--set", f"run.id_key={key}", "--quiet")[0] == 0
    secret = bytes.fromhex(key.read_text())
    patients = list(dict.fromkeys(str(number) for number in tables["private"]["Pat.Nr"]))
    expected = [hmac.new(secret, p.encode(), hashlib.sha256).hexdigest()[:16] for p in patients]
    path = tmp_path / "run" / "evidence.npz"
    with np.load(path, allow_pickle=False) as written:
        assert written["candidate"].tolist() == expected
    assert path.stat().st_mode & 0o777 == 0o600
    assert {one.name for one in (tmp_path / "run" / "release").iterdir()} == {
        "report.html",
        "report.json",
    }


def test_an_error_of_the_users_function_quotes_no_value():
    def quotes(private, pool):
        raise ValueError(f"cannot score {private}")

    private = sets()["private"]
    private[0, 0] = SECRET
    with pytest.raises(InputError, match="raised ValueError for a shadow of") as error:
        audit(pipeline(scorer=quotes, private=private, standardise="none"))
    assert "73914" not in str(error.value)


def test_accuracy_counts_the_classes_of_the_test_set_only():
    # class 2 is the likeliest everywhere, but the test set holds 0 and 1 only
    probabilities = np.array(
        [
            [[0.3, 0.1, 0.6], [0.1, 0.3, 0.6], [0.3, 0.1, 0.6], [0.2, 0.1, 0.7]],
            [[0.1, 0.3, 0.6], [0.3, 0.1, 0.6], [0.3, 0.1, 0.6], [0.1, 0.2, 0.7]],
        ],
        dtype=np.float32,
    )
    labels = np.array([0, 1, 0, 1])
    np.testing.assert_allclose(measure_utility(probabilities, labels, "accuracy"), [0.75, 0.5])
    # and with a row of class 2 all three compete
    labels = np.array([0, 1, 0, 2])
    np.testing.assert_allclose(measure_utility(probabilities, labels, "accuracy"), [0.25, 0.25])


def test_auc_is_that_of_the_share_of_the_second_class(rng):
    probabilities = rng.dirichlet(np.ones(3), (4, 60)).astype(np.float32)
    probabilities[0] = np.round(probabilities[0], 1)  # ties
    probabilities[1, :5] = [0, 1, 0]  # nothing left for the two classes of the test set
    labels = rng.choice([0, 2], 60)
    found = measure_utility(probabilities, labels, "auc")
    for s, one in enumerate(probabilities.astype(np.float64)):
        both = one[:, 0] + one[:, 2]
        share = np.divide(one[:, 2], both, out=np.zeros(60), where=both > 0)
        assert found[s] == pytest.approx(roc_auc_score(labels == 2, share), abs=1e-12)
    perfect = np.stack([labels == 0, labels * 0, labels == 2], axis=1)[None].astype(np.float32)
    assert measure_utility(perfect, labels, "auc") == [1.0]


def test_utility_is_the_real_model_against_models_on_random_picks():
    plan = pipeline().plan()
    done = run_curations(plan, ChunkStore(None), Silence())
    random = np.linspace(0, 1, 41)
    found = utility_of(
        plan,
        replace(
            done,
            real=replace(done.real, utility=np.array([0.875])),
            shadows=replace(done.shadows, utility=np.array([0.5, 0.75])),
            null=replace(done.null, utility=random),
        ),
    )
    assert found is not None
    assert (found.curated, found.shadows_mean, found.random_mean) == (0.875, 0.625, 0.5)
    # of 41 equal steps from 0 to 1, 2.5 % lie below the second
    assert (found.random_low, found.random_high) == pytest.approx((0.025, 0.975))
    assert (found.n_test, found.n_picked, found.n_random) == (Q, 15, 41)


@pytest.mark.parametrize("labels", [np.zeros(Q, int), np.arange(Q) % 3], ids=["one", "three"])
def test_an_auc_needs_two_classes(labels):
    several = LABELS | {"public": np.arange(M) % 3, "test": labels}
    with pytest.raises(InputError, match=r"^test\.metric: found 'auc', .* holds [13] classes"):
        audit(pipeline(labels=several, metric="auc"))


def test_training_that_diverges_is_told():
    diverging = Mlp(hidden=(4,), epochs=100, learning_rate=1e6, momentum=0.99)
    with pytest.raises(InputError, match=r"^train: the mlp model gave probabilities that are NaN"):
        audit(pipeline(train=diverging))


def test_a_curation_that_picks_nothing_is_told():
    found = audit(pipeline(select=Threshold(minimum=1e6))).report["warnings"]
    assert any(line.startswith("The curation picks no row at all") for line in found)


def test_more_picks_than_the_pool_has_rows_is_told():
    with pytest.raises(InputError, match=rf"^curate\.select: found k = {M + 1}, .* {M} rows"):
        audit(pipeline(select=TopK(k=M + 1)))


@pytest.mark.parametrize("order", ["AttackSettings, audit", "audit, AttackSettings, audit"])
def test_the_public_name_is_the_function_whatever_was_imported_before(order):
    code = f"from curation_audit import {order}; assert callable(audit)"
    root = str(Path(__file__).parents[2])
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=root, check=False
    )
    assert found.returncode == 0, found.stderr
