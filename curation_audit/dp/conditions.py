"""When picking by a private scorer costs nothing more, and what breaks it.

A guarantee for the scorer covers the picks and the model only while no other step looks at the
private set. Most of these steps lie outside of what this tool runs, so the user states what each
was fitted on; what is fitted on private rows is refused, with the reason.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from curation_audit.checks import SettingError, one_of

FITTED_ON: Final = ("public", "nothing", "private")
PATH: Final = "curate.protect.fitted_on"


@dataclass(frozen=True, slots=True)
class Step:
    """A step of a pipeline that might look at the private set.

    ``condition``: which of the nine conditions of free post-processing it breaks. ``here``: how
    this tool does the step itself, where it does it.
    """

    condition: int
    why: str
    instead: str
    here: str = ""


STEPS: Final[Mapping[str, Step]] = {
    "pool": Step(
        1,
        "a pool that was retrieved or filtered with private rows already shows them",
        "take the whole pool, or filter it by public rules",
    ),
    "encoder": Step(
        2,
        "an encoder that was tuned on private rows carries them into every score",
        "use a public encoder, or one tuned by an accounted private run",
    ),
    "scaler": Step(
        3,
        "means and scales of private rows are released with every score",
        "fit the scaler on the pool",
        "means and scales come from the pool",
    ),
    "vocabulary": Step(
        3,
        "a word that only one private record has would make a column of its own",
        "fit the vocabulary on the pool, or hash",
    ),
    "projection": Step(
        3, "principal directions of private rows are data", "fit the projection on the pool"
    ),
    "label_list": Step(
        3,
        "a label that only one private record has would show",
        "take the labels from the pool or from a published list",
        "the label space is the pool's",
    ),
    "class_weights": Step(
        3,
        "weights like N_negative / N_positive tell N, and no clipping bounds what they do",
        "weigh both sides by public constants",
        "the private and the public side weigh alike, by public constants",
    ),
    "early_stopping": Step(
        4,
        "stopping by a private validation set is one more query, unpaid",
        "fix the number of steps",
        "the number of steps is fixed",
    ),
    "calibration": Step(
        4, "a temperature or threshold fitted on private rows is unpaid", "calibrate on public rows"
    ),
    "k": Step(
        5,
        "a number of picks that was chosen until private rows were found tells about them",
        "choose k beforehand",
        "k and thresholds stand in the configuration",
    ),
    "threshold": Step(
        5,
        "a threshold that is a quantile of private scores is one more release",
        "choose it on the pool's noisy scores, or beforehand",
        "k and thresholds stand in the configuration",
    ),
    "deduplication": Step(
        6,
        "dropping pool rows that match private ones is the worst leak there is: a missing row "
        "names its private twin",
        "leave such rows in; they are reported",
        "pool rows that match private ones are counted, never dropped",
    ),
    "normalisation": Step(
        7,
        "scores that are standardised by private scores are one more release",
        "normalise after the noise, from noisy scores alone",
        "scores are used as the noisy scorer gives them",
    ),
    "tuning": Step(
        8,
        "settings that were tuned on private rows cost as much as all the runs",
        "tune on public rows, or account for the runs (curate.protect.tuning)",
    ),
    "other_outputs": Step(
        9,
        "logs, counts, accuracies and checkpoints of private rows leave beside the release",
        "release what the guarantee covers and nothing else",
    ),
}

REFUSED_SETTINGS: Final[Mapping[str, str]] = {
    "poisson_sampling": "the accountant assumes that every unit joins a step by its own coin; a "
    "shuffled loader of the same rate may leak several times more",
    "batch_norm": "a batch normalisation mixes records, so that no record can be clipped",
    "scaler": STEPS["scaler"].why,
    "standardise_on": STEPS["scaler"].why,
    "vocabulary": STEPS["vocabulary"].why,
    "class_weight": STEPS["class_weights"].why,
    "class_weights": STEPS["class_weights"].why,
    "pos_weight": STEPS["class_weights"].why,
    "calibrate": STEPS["calibration"].why,
    "calibration": STEPS["calibration"].why,
    "label_list": STEPS["label_list"].why,
    "labels_from": STEPS["label_list"].why,
    "early_stopping": STEPS["early_stopping"].why,
    "patience": STEPS["early_stopping"].why,
    "retrieve": STEPS["pool"].why,
    "retrieval": STEPS["pool"].why,
    "deduplicate": STEPS["deduplication"].why,
    "decontaminate": STEPS["deduplication"].why,
    "drop_matches": STEPS["deduplication"].why,
    "seed": "noise that a seed repeats is no noise to whoever knows the seed",
}


def check_settings(path: str, settings: Mapping[str, Any]) -> None:
    """Raise ``SettingError`` for settings that people write and that would void the guarantee."""
    for name in settings:
        if name in REFUSED_SETTINGS:
            raise SettingError(
                f"{path}.{name}",
                f"{name!r} voids the guarantee",
                f"{REFUSED_SETTINGS[name]}; leave it out",
            )


def check_fitted_on(fitted_on: Mapping[str, str]) -> None:
    """Raise ``SettingError`` where a step was fitted on private rows, or nobody knows the step."""
    for step, on in fitted_on.items():
        one_of(PATH, step, STEPS)
        one_of(f"{PATH}.{step}", on, FITTED_ON)
        if on == "private":
            found = STEPS[step]
            raise SettingError(
                f"{PATH}.{step}",
                "was fitted on private rows, which the guarantee does not cover "
                f"(condition {found.condition} of free post-processing)",
                f"{found.why}; {found.instead}",
            )


def assumptions(fitted_on: Mapping[str, str]) -> dict[str, str]:
    """Who vouches for each step: this tool, the user, or nobody."""
    return {
        name: f"by this tool: {step.here}"
        if step.here
        else (f"stated: {fitted_on[name]}" if name in fitted_on else "assumed, not stated")
        for name, step in STEPS.items()
    }
