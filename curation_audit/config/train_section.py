"""The section ``train``: a model, and private training after it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from curation_audit.config.sections import Problem, build_dataclass, build_downstream
from curation_audit.dp.conditions import check_settings
from curation_audit.pipelines.base import Downstream
from curation_audit.pipelines.protection.fine_tuning import PATH, FineTuneSettings

KEY = "fine_tune"
WHY_NEEDED = {
    "adjacency": "state which sets are neighbours: add_remove, zero_out or replace_one",
    "delta": "give it as a number; it is never derived from the size of the private set",
}


@dataclass(frozen=True, slots=True)
class Training:
    """What is trained on the picks, and then on private rows."""

    model: Downstream
    fine_tune: FineTuneSettings | None


def build_train(section: Mapping[str, Any], device: str) -> Training:
    """The parts of the section.

    Raises:
        Problem: for what is missing, unknown or does not fit.
        SettingError: for settings that would void the guarantee.
    """
    settings = {name: value for name, value in section.items() if name != KEY}
    model: Downstream = build_downstream(settings, device)
    if section.get(KEY) is None:
        return Training(model, None)
    if settings.get("repeats", 1) != 1:
        raise Problem(
            ("repeats",),
            f"found {settings['repeats']} beside fine_tune",
            "leave it out: every repeat would spend on the private rows again",
        )
    try:
        return Training(model, _build_fine_tune(section[KEY]))
    except Problem as problem:
        raise Problem((KEY, *problem.path), problem.problem, problem.hint) from None


def _build_fine_tune(section: Any) -> FineTuneSettings:
    if not isinstance(section, Mapping):
        raise Problem((), f"found {section!r}", "expected settings, e.g. {epsilon: 3, ...}")
    check_settings(PATH, section)
    for key, why in WHY_NEEDED.items():
        if key not in section:
            raise Problem((), f"{key!r} is missing", why)
    return build_dataclass(FineTuneSettings, section)
