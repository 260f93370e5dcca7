"""The claim of a report against its events, and what it says of its mechanism elsewhere."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import numpy as np

from curation_audit.auditing.bounding import STATED
from curation_audit.checks import InputError
from curation_audit.dp.claims import CLAIMS, Claim
from curation_audit.dp.events import PoissonGaussian
from curation_audit.dp.ledger import guarantee_of
from curation_audit.integrity.dp_claim import LOOSE, check_steps, events_of
from curation_audit.integrity.findings import Finding, compared, failed, passed, unchecked

STEPS: Final = ("noise_multiplier", "sampling_rate", "steps")
THEN: Final = ", then fine-tuning"
WHERE: Final = (("curate", "protect"), ("protect",))
"""Of a pipeline file, and of a pipeline from Python."""


def claim_of(report: Mapping[str, Any]) -> Claim | None:
    """The claim of a report, to be tested again: that of its events, where it holds some.

    A claim that was stated without a mechanism stands for itself.

    Raises:
        InputError: for a claim of events that the report does not hold.
    """
    stated = report["claim"]
    if stated is None:
        return None
    coded = (report["protection"] or {}).get("coded_events")
    if coded:
        return guarantee_of(events_of(coded), stated["adjacency"])
    if stated["kind"] not in CLAIMS:
        raise InputError("claim", "is of events that the report does not hold", "audit it again")
    check_steps(int(stated["constants"].get("steps", 0)))
    kind: Callable[..., Claim] = CLAIMS[stated["kind"]]
    return kind(**stated["constants"], adjacency=stated["adjacency"])


def curation_claim_of(report: Mapping[str, Any]) -> Claim | None:
    """What the curation guarantees before a model that is fine-tuned, if the report tells of one.

    The last of the events is fine-tuning's.
    """
    coded = (report["protection"] or {}).get("coded_events")
    if report["fine_tuning"] is None or report["claim"] is None or not coded:
        return None
    return guarantee_of(events_of(coded)[:-1], report["claim"]["adjacency"])


def check_stated_claim(report: Mapping[str, Any]) -> Iterator[Finding]:
    """What a report's claim is and allows (epsilon, AUC, advantage, rates), from its events."""
    own, stated = report["protection"], report["claim"]
    if stated is None:
        if own is not None and own["epsilon"] is not None:
            yield failed("claimed ceilings", "the mechanism has an epsilon, and nothing is claimed")
        return
    if own is not None and own["adjacency"] != stated["adjacency"]:
        yield failed("claimed ceilings", "the adjacency is not the one of the mechanism")
    claim = claim_of(report)
    if claim is None:
        return
    epsilon = claim.epsilon_at(stated["delta"])
    computed = {
        "kind": claim.kind,
        "constants": {name: value for name, value in vars(claim).items() if name in STATED},
        "delta": claim.tested_delta(stated["delta"]),
        "epsilon": epsilon if np.isfinite(epsilon) else None,
        "auc": claim.auc(),
        "advantage": claim.advantage(),
        "pair_share": claim.pair_share(),
        "tpr": claim.tpr(np.array(stated["fpr"])).tolist(),
    }
    told = {name: stated[name] for name in computed}
    what = f"epsilon {epsilon:.6g} at delta {stated['delta']:g} ({stated['adjacency']})"
    yield compared("claimed ceilings", told, computed, what)
    if own is not None and own["epsilon"] is not None and not own["coded_events"]:
        told_of = "that the claim is the mechanism's: the report holds no events"
        yield unchecked("claimed ceilings", told_of)


def check_fine_tuning(report: Mapping[str, Any]) -> Iterator[Finding]:
    """What fine-tuning spends, by itself and together, from the events; the last one is its own."""
    told, coded = report["fine_tuning"], (report["protection"] or {}).get("coded_events")
    if told["joint_epsilon"] is None or not coded:
        yield unchecked("fine-tuning", "nothing is guaranteed, or no events are kept")
        return
    *before, last = events_of(coded)
    if not isinstance(last, PoissonGaussian) or not before:
        yield failed("fine-tuning", "is not the last of the events")
        return
    computed = {
        name: guarantee_of(events, told["adjacency"]).epsilon_at(told["delta"])
        for name, events in (
            ("epsilon", (last,)), ("curation_epsilon", before), ("joint_epsilon", (*before, last)),
        )
    }  # fmt: skip
    computed |= {name: getattr(last, name) for name in STEPS}
    computed |= {name: report["protection"][name] for name in ("adjacency", "delta", "unit")}
    what = "epsilons, noise, rate and steps from the events"
    yield compared("fine-tuning", {name: told[name] for name in computed}, computed, what)


def check_configured(report: Mapping[str, Any]) -> Iterator[Finding]:
    """The mechanism, adjacency, delta and epsilon of a report against its configuration."""
    own, section = report["protection"], _section(report["configuration"])
    if section is None:
        yield unchecked("configured privacy", "the configuration does not state the mechanism")
        return
    told = {name: section[name] for name in ("mechanism", "adjacency", "delta")
            if section.get(name) is not None}  # fmt: skip
    used = {name: own[name] for name in told}
    if report["fine_tuning"] is not None and "mechanism" in used:
        used["mechanism"] = str(own["mechanism"]).removesuffix(THEN)
    yield compared("configured privacy", used, told, ", ".join(told))
    yield _budget(section, report)


def _section(configuration: Mapping[str, Any]) -> Mapping[str, Any] | None:
    for place in WHERE:
        part: Any = configuration
        for name in place:
            part = part.get(name) if isinstance(part, Mapping) else None
        if isinstance(part, Mapping):
            return part
    return None


def _budget(section: Mapping[str, Any], report: Mapping[str, Any]) -> Finding:
    """Noise is calibrated to spend what was asked for; more is wrong, less cannot be judged."""
    tuned, wanted = report["fine_tuning"], section.get("epsilon")
    spent = report["protection"]["epsilon"] if tuned is None else tuned["curation_epsilon"]
    if not isinstance(wanted, int | float) or isinstance(wanted, bool) or spent is None:
        return unchecked("budget", "no finite epsilon stands in both configuration and report")
    told = f"epsilon {spent:.6g}, configured {wanted:.6g}"
    if spent > wanted * (1 + LOOSE):
        return failed("budget", told)
    if spent < wanted * (1 - LOOSE):
        return unchecked("budget", f"{told}: whether the mechanism spends less is not known")
    return passed("budget", told)
