"""From curations to evidence: what the adversary knows, the attacks, and the blind one."""

import dataclasses
from dataclasses import asdict, dataclass

import numpy as np

from curation_audit.attacks.base import Attack
from curation_audit.auditing.adversary import seen_by
from curation_audit.auditing.chunks import Curations, describe
from curation_audit.auditing.own_attacks import check_evidence, check_fitted
from curation_audit.auditing.plan import AuditPlan
from curation_audit.auditing.progress import Progress
from curation_audit.checks import SettingError
from curation_audit.game import paired_inclusion, permute_pairs
from curation_audit.observations import Knowledge, Observation, Stage
from curation_audit.pipelines.base import ALWAYS_IN, PrivateRows
from curation_audit.storage import ChunkStore, content_key
from curation_audit.streams import Streams
from curation_audit.training.device import one_thread
from curation_audit.types import Evidence, Floats, Inclusion, Mask

N_FOLDS = 5
BLIND_RIDGE = 1.0
FEWEST_FIT_PAIRS, MOST_FIT_PAIRS = 3, 64


@dataclass(frozen=True, slots=True)
class AttackEvidence:
    """One attack's evidence: on the shadows, on null curations, and on permuted inclusion.

    ``fitted`` is learnt from the fit block of pairs only (leaving the own pair out within it):
    bounds are measured on the other pairs of it. ``missing`` names what the attack needs and the
    adversary has not; then nothing was run.
    """

    name: str
    stage: Stage
    attack: Attack
    missing: tuple[str, ...]
    evidence: Evidence | None = None
    null: Evidence | None = None
    permuted: Evidence | None = None
    fitted: Evidence | None = None


@dataclass(frozen=True, slots=True)
class Game:
    """The coins of an audit, the same coins handed to other pairs, and the blind evidence.

    ``fit_pairs`` bool (P,): the pairs on which everything behind a bound is fitted and chosen.
    """

    inclusion: Inclusion
    permuted: Inclusion
    blind: Evidence
    fit_pairs: Mask


@dataclass(frozen=True, slots=True)
class Seen:
    """What the adversary sees of the shadows, and of curations that ignore the private set."""

    shadows: Observation
    null: Observation


def draw_game(plan: AuditPlan) -> Game:
    """Draw the coins and ask the blind classifier."""
    streams = Streams(plan.seed)
    inclusion = paired_inclusion(plan.attack.shadows, plan.data.private.n_candidates, streams)
    permuted = permute_pairs(inclusion, streams)
    for coins in (inclusion, permuted):
        coins.setflags(write=False)  # no attack may change what the next one is judged by
    return Game(
        inclusion=inclusion,
        permuted=permuted,
        blind=blind_evidence(
            blind_features(plan.data.private), inclusion, streams.generator("blind folds")
        ),
        fit_pairs=np.arange(len(inclusion) // 2) < n_fit_pairs(plan.attack.shadows),
    )


def n_fit_pairs(n_shadows: int) -> int:
    """Half of the pairs; attacks gain little from more than 64, and bounds gain from the rest."""
    return int(np.clip(n_shadows // 4, FEWEST_FIT_PAIRS, MOST_FIT_PAIRS))


def missing_knowledge(plan: AuditPlan, knowledge: Knowledge) -> dict[str, tuple[str, ...]]:
    """What each attack of the plan needs and the adversary has not, by name; often nothing."""
    names = [name for stage in plan.stages for name in plan.methods(stage)]
    family = f"{plan.scorer.family} scorer"

    def reason(need: str) -> str:
        # the family fits; what is lacking to use it is the embedding
        surrogate = need == family and "the scorer's embedding" not in knowledge.granted
        return "the scorer's embedding" if surrogate else need

    attacks = plan.attack.offered
    return {name: tuple(map(reason, knowledge.missing(attacks[name].needs))) for name in names}


def check_something_runs(plan: AuditPlan, knowledge: Knowledge) -> None:
    """Raise ``SettingError`` where no attack could run: silence would read as "no leak"."""
    missing = missing_knowledge(plan, knowledge)
    if not missing:
        raise SettingError("attack.methods", "names no attack", "leave it out for all there are")
    if all(missing.values()):
        name, what = next(iter(missing.items()))
        raise SettingError(
            "threat", "lets no attack run", f"{name}, for one, needs {', '.join(what)}"
        )


def collect_evidence(
    plan: AuditPlan,
    curations: Curations,
    game: Game,
    knowledge: Knowledge,
    store: ChunkStore,
    progress: Progress,
) -> tuple[AttackEvidence, ...]:
    """Run every attack on the shadows and on both controls; from the store where it was done."""
    found = []
    what_is_missing = missing_knowledge(plan, knowledge)
    seen = Seen(seen_by(plan, curations.shadows), seen_by(plan, curations.null))
    with one_thread(), progress.phase("attacks", len(what_is_missing)) as advance:
        for name, missing in what_is_missing.items():
            attack = plan.attack.offered[name]
            if missing:
                found.append(AttackEvidence(name, attack.stage, attack, missing))
            else:
                key = content_key(
                    {
                        "chunks": list(curations.keys),
                        "attack": describe(attack),
                        "threat": asdict(plan.threat),
                    }
                )
                found.append(_evidence(plan, attack, seen, game, knowledge, store, key))
            advance(1)
    return tuple(found)


def _evidence(
    plan: AuditPlan,
    attack: Attack,
    seen: Seen,
    game: Game,
    knowledge: Knowledge,
    store: ChunkStore,
    key: str,
) -> AttackEvidence:
    stored = store.load(key)
    if stored is None:
        fit = dataclasses.replace(knowledge, known_pairs=game.fit_pairs)
        runs = {
            "evidence": (seen.shadows, game.inclusion, knowledge),
            "null": (seen.null, game.inclusion, knowledge),
            "permuted": (seen.shadows, game.permuted, knowledge),
            "fitted": (seen.shadows, game.inclusion, fit),
        }
        streams = Streams(plan.seed).for_shadows(
            f"attack {attack.name}", range(plan.attack.shadows)
        )
        stored = {
            name: attack.evidence(observation, inclusion, known, streams=streams)
            for name, (observation, inclusion, known) in runs.items()
        }
        if any(attack is one for one in plan.attack.own):  # nobody has tested these
            for one in stored.values():
                check_evidence(attack, one, game.inclusion)
            check_fitted(
                attack,
                stored["fitted"],
                (game.inclusion, game.permuted),
                game.fit_pairs,
                lambda coins: attack.evidence(seen.shadows, coins, fit, streams=streams),
            )
        store.save(key, stored)
    return AttackEvidence(attack.name, attack.stage, attack, (), **stored)


def blind_features(private: PrivateRows) -> Floats:
    """What is known of every candidate without any output, (N, d + 3).

    The mean of its rows; and how many rows it has and its place in the file, as a set that was
    sorted by membership gives itself away. Columns are standardised, and the two kinds weigh
    alike in total: many features do not drown the place.
    """
    at_stake = private.unit != ALWAYS_IN
    unit = private.unit[at_stake]
    counts = np.bincount(unit, minlength=private.n_candidates).astype(np.float64)
    sums = np.zeros((private.n_candidates, private.features.shape[1]))
    np.add.at(sums, unit, private.features[at_stake].astype(np.float64))
    place = np.arange(private.n_candidates, dtype=np.float64)
    kinds = (sums / counts[:, None], np.column_stack([counts, place, place % 2]))
    return np.column_stack([_standardised(kind) / np.sqrt(kind.shape[1]) for kind in kinds])


def _standardised(columns: Floats) -> Floats:
    spread = columns.std(axis=0)
    standardised: Floats = (columns - columns.mean(axis=0)) / np.where(spread > 0, spread, 1)
    return standardised


def blind_evidence(features: Floats, inclusion: Inclusion, rng: np.random.Generator) -> Evidence:
    """A classifier that tells in from out by the candidates alone, (S, N).

    For every shadow a ridge regression of its coins on the candidates' features, fitted on four
    fifths of the candidates and asked about the rest. With independent coins it is at chance
    whatever the features are.
    """
    n_candidates = features.shape[0]
    fold = rng.permutation(np.arange(n_candidates) % N_FOLDS)
    coins = inclusion.astype(np.float64)
    evidence = np.zeros(inclusion.shape)
    for k in range(min(N_FOLDS, n_candidates)):
        rest, asked = fold != k, fold == k
        known = features[rest]
        mean = coins[:, rest].mean(axis=1, keepdims=True)
        gram = known.T @ known + BLIND_RIDGE * np.eye(known.shape[1])
        weights = np.linalg.solve(gram, known.T @ (coins[:, rest] - mean).T)
        evidence[:, asked] = (features[asked] @ weights).T
    return evidence
