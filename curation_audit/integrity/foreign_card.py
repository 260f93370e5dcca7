"""A card of somebody else that claims differential privacy: what it says, and what it leaves open.

The fields are those of the Differential Privacy Deployments Registry (OpenDP and NIST, 2025;
arXiv 2509.13509) in the spellings of its drafts, flat names that model cards use, and what NIST SP
800-226 wants beside epsilon: unit, neighbours, scope of composition, trust model.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from curation_audit.checks import InputError
from curation_audit.config.tree import read_tree
from curation_audit.dp.events import Event, Gaussian, PoissonGaussian, Zcdp
from curation_audit.integrity.dp_claim import check_guarantee, events_of
from curation_audit.integrity.findings import Finding, failed, passed, unchecked
from curation_audit.integrity.folders import parsed_json, read_small
from curation_audit.results import Adjacency

MOST_BYTES: Final = 1 << 20
MOST_STEPS: Final = 10_000_000
SLACK: Final = 0.01
"""Accountants differ by their grids, and printed numbers are rounded."""
POISSON: Final = "the card, if every unit joins a step by its own coin"
PARAMETERS: Final = "privacy_loss.privacy_parameters."
NUMBERS: Final = ("epsilon", "delta", "noise_multiplier", "sampling_rate", "steps", "mu", "rho")


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A field, where it may stand, and why a claim is open without it.

    ``yes_no``: whether true or false says something.
    """

    name: str
    places: tuple[str, ...]
    why: str
    yes_no: bool = False


FIELDS: Final = (
    Wanted(
        name="definition",
        places=("dp_flavor.name", "dp_variant.name", "dp_flavor", "definition"),
        why="pure, approximate, zero-concentrated, Gaussian or Renyi: an epsilon alone names none",
    ),
    Wanted(
        name="unit",
        places=("privacy_loss.privacy_unit", "privacy_unit", "unit"),
        why="epsilon per record, per user and per user and day are worlds apart",
    ),
    Wanted(
        name="adjacency",
        places=(
            "privacy_loss.neighboring_relation", "dp_flavor.input_metric",
            "dp_variant.input_metric",
            "neighboring_relation", "neighbouring_relation", "adjacency",
        ),
        why="replacing a unit costs up to twice the epsilon of adding or removing it",
    ),
    Wanted(
        name="unprotected quantities",
        places=("dp_flavor.unprotected_quantities", "dp_variant.unprotected_quantities",
                "not_covered"),
        why="what is published exactly, such as the number of units",
    ),
    Wanted(
        name="trust model",
        places=("model.model_name", "model.model_type", "deployment_model.model_name",
                "trust_model"),
        why="central, local or shuffled: who sees data without noise",
    ),
    Wanted(
        name="release type",
        places=("model.release_type", "deployment_model.release_type", "model.is_many_release",
                "release_type"),
        why="one release, or many whose epsilons add up",
        yes_no=True,
    ),
    Wanted(
        name="composition",
        places=("accounting.composition", "additional_dp_information.composition",
                "composition", "accountant"),
        why="what the epsilon is the sum of, and by which accountant",
    ),
    Wanted(
        name="mechanism",
        places=("implementation.mechanisms", "implementation.mechanism", "mechanism",
                "mechanisms"),
        why="without it nobody can account again",
    ),
    Wanted(
        name="tuning",
        places=("implementation.pre_processing_eda_hyperparameter_tuning",
                "implementation.pre_processing", "tuning"),
        why="what looked at the private data before, unpaid",
    ),
)  # fmt: skip

NOTHING: Final = ("", "?", "todo", "tbd", "unknown", "not known", "unspecified", "n/a", "null")
"""Texts that stand where a value is missing; "none" may be an answer."""

ADJACENCIES: Final[dict[str, Adjacency]] = {
    "add_remove": "add_remove", "add/remove": "add_remove", "add or remove one": "add_remove",
    "add or remove": "add_remove", "unbounded": "add_remove",
    "symmetric distance": "add_remove", "zero_out": "zero_out", "zero out": "zero_out",
    "replace_one": "replace_one", "replace one": "replace_one", "substitution": "replace_one",
    "bounded": "replace_one", "change one distance": "replace_one", "swap": "replace_one",
}  # fmt: skip


def read_card(path: Path) -> Mapping[str, Any]:
    """The tree of a JSON file, or of a YAML file without tags, aliases and repeated keys.

    Raises:
        InputError: for a file that is no mapping.
    """
    payload = read_small(path, MOST_BYTES)
    tree = parsed_json(payload, str(path)) if path.suffix == ".json" else read_tree(path).root
    if not isinstance(tree, Mapping):
        raise InputError(str(path), "holds no card", "expected names and values")
    within = tree.get("deployment")
    if not isinstance(within, Mapping):
        return tree
    # a number beside the deployment must not say otherwise than the one in it
    beside = {name: tree[name] for name in ("epsilon", "delta") if name in tree}
    return {**beside, **within}


def check_card(card: Mapping[str, Any]) -> Iterator[Finding]:
    """Which fields are there and which are missing, and whether epsilon follows from the rest."""
    for field in FIELDS:
        value = found_at(card, field.places)
        if value is None:
            yield unchecked(field.name, f"missing: {field.why}")
        elif isinstance(value, bool) and not field.yes_no:
            yield unchecked(field.name, "unclear: true or false is no answer")
        elif not isinstance(value, str | list | Mapping | bool):
            yield unchecked(field.name, "unclear: it is neither text nor a list")
        else:
            yield passed(field.name, _shown(value))
    epsilon = _number(card, "epsilon")
    delta = _number(card, "delta")
    yield from _contradictions(card)
    yield from _stated(epsilon, delta, found_at(card, FIELDS[0].places))
    yield from _accounted(card, epsilon, delta)


def found_at(card: Mapping[str, Any], places: tuple[str, ...]) -> Any:
    """The value at the first place that holds one; ``None`` where none does."""
    return next(_all_at(card, places), None)


def _all_at(card: Mapping[str, Any], places: tuple[str, ...]) -> Iterator[Any]:
    for place in places:
        value: Any = card
        for part in place.split("."):
            value = value.get(part) if isinstance(value, Mapping) else None
        empty = value is None or value in ([], {})
        if not empty and not (isinstance(value, str) and value.strip().lower() in NOTHING):
            yield value


def _contradictions(card: Mapping[str, Any]) -> Iterator[Finding]:
    """A number that stands in several places must be one."""
    for name in NUMBERS:
        said = {_as_number(one) for one in _all_at(card, _places(name))}
        if len(said) > 1:
            told = ", ".join(sorted(f"{one:g}" if isinstance(one, float) else one for one in said))
            yield failed(name, f"the card contradicts itself: {told}")


def _places(name: str) -> tuple[str, ...]:
    return (f"{PARAMETERS}{name}", f"privacy_loss.{name}", f"implementation.{name}", name)


def _number(card: Mapping[str, Any], name: str) -> float | str | None:
    """A number, also one in quotes; a text where it says something else, ``None`` for nothing."""
    value = found_at(card, _places(name))
    return None if value is None else _as_number(value)


def _as_number(value: object) -> float | str:
    if isinstance(value, int | float | str) and not isinstance(value, bool):
        try:
            number = float(value)
        except (ValueError, OverflowError):
            return "text"
        return number if 0 <= number < float("inf") else "text"
    return "text"


def _stated(
    epsilon: float | str | None, delta: float | str | None, definition: Any
) -> Iterator[Finding]:
    for name, value in (("epsilon", epsilon), ("delta", delta)):
        if isinstance(value, str):
            yield unchecked(name, "unclear: it is no single number of 0 or more")
        elif value is not None:
            yield passed(name, f"{value:g}")
    if epsilon is None:
        yield unchecked("epsilon", "missing: the number that everything else is about")
    if delta is None and not _is_pure(definition):
        yield unchecked("delta", "missing: without it an epsilon says nothing, but for pure DP")
    if isinstance(delta, float) and delta >= 1:
        yield failed("delta", f"{delta:g} guarantees nothing: it must be below 1")
    elif isinstance(delta, float) and delta >= 1e-3:
        yield unchecked(
            "delta", f"{delta:g} lets one unit in {1 / delta:.0f} be published as it is"
        )


def _accounted(
    card: Mapping[str, Any], epsilon: float | str | None, delta: float | str | None
) -> Iterator[Finding]:
    events = _events(card)
    definition, mechanism = (found_at(card, field.places) for field in (FIELDS[0], FIELDS[7]))
    if _is_pure(definition) and (_named_gaussian(mechanism) or any(map(_has_tail, events or ()))):
        yield failed("definition", "pure DP is claimed, and Gaussian noise gives none")
    if events is None:
        want = "noise_multiplier, sampling_rate and steps; or mu; or rho; or coded_events"
        yield unchecked("accounting", f"no parameters to account again with: {want}")
        return
    if not isinstance(epsilon, float) or not isinstance(delta, float):
        yield unchecked("accounting", "epsilon and delta must be numbers to be compared")
        return
    told = found_at(card, FIELDS[2].places)
    known = ADJACENCIES.get(told.strip().lower()) if isinstance(told, str) else None
    if known is None:
        yield unchecked("accounting", "the adjacency is none that the accountant knows")
        return
    yield check_guarantee(events, known, epsilon, delta, slack=SLACK)


def _is_pure(definition: Any) -> bool:
    return isinstance(definition, str) and "pure" in definition.lower()


def _named_gaussian(mechanism: Any) -> bool:
    return isinstance(mechanism, str) and "gaussian" in mechanism.lower()


def _has_tail(event: Event) -> bool:
    """Whether no epsilon bounds its losses."""
    return isinstance(event, Gaussian | PoissonGaussian | Zcdp)


def _events(card: Mapping[str, Any]) -> tuple[Event, ...] | None:
    """Events from a card's parameters, where they are enough."""
    coded = found_at(card, ("coded_events",))
    if coded is not None:
        return events_of(coded)
    noise, rate, steps, mu, rho = (
        _number(card, name) for name in ("noise_multiplier", "sampling_rate", "steps", "mu", "rho")
    )
    if isinstance(noise, float) and isinstance(rate, float) and isinstance(steps, float):
        if steps != int(steps) or not 1 <= steps <= MOST_STEPS:
            raise InputError("steps", f"found {steps:g}", f"expected 1 to {MOST_STEPS}")
        return (
            PoissonGaussian(
                noise_multiplier=noise, sampling_rate=rate, steps=int(steps), what=POISSON
            ),
        )
    if isinstance(mu, float):
        return (Gaussian(mu=mu, what="the card"),)
    return (Zcdp(rho=rho, what="the card"),) if isinstance(rho, float) else None


def _shown(value: str | list[Any] | Mapping[str, Any] | bool) -> str:
    if isinstance(value, list | Mapping):
        return f"{len(value)} entries"
    told = " ".join(str(value).split())
    return told if len(told) <= 80 else f"{told[:77]}..."
