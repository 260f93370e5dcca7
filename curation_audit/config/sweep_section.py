"""The section ``sweep``, and a pipeline file read for a sweep."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from curation_audit.auditing.plan import AuditPlan
from curation_audit.config.load import plan_of
from curation_audit.config.protect_section import build_protect
from curation_audit.config.reading import built, placed, validated
from curation_audit.config.sections import PipelineSection, Problem, build_dataclass
from curation_audit.config.tree import override, read_tree
from curation_audit.dp.conditions import check_settings
from curation_audit.pipelines.protection import MECHANISMS, SELECTION
from curation_audit.pipelines.protection.noisy_top_k import NoisySelection
from curation_audit.pipelines.protection.protect import ProtectSettings, parts_of
from curation_audit.pipelines.protection.tuning import PaidTuning
from curation_audit.sweeping.plan import EPSILONS, SweepPlan, SweepSettings, plan_sweep

ALL = "all"
SUFFIX = "-sweep"


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What the command line asks for in place of the file's settings; ``None`` leaves them."""

    epsilons: tuple[float, ...] | None = None
    mechanisms: tuple[str, ...] | None = None
    adjacency: Any = None
    delta: float | None = None
    out: str | None = None


def load_sweep(
    path: Path | str, assignments: Sequence[str] = (), asked: Asked | None = None
) -> SweepPlan:
    """Read a pipeline file, its data, and what to sweep.

    ``curate.protect`` of the file, if any, gives adjacency, delta and mechanism where ``sweep``
    does not; the pipeline without it is the one that points are compared with.

    Raises:
        InputError: in one line, with the place in the file where there is one.
    """
    wanted = asked or Asked()
    tree = override(read_tree(Path(path)), assignments)
    with placed(tree):
        section = validated(tree)
        settings, every = _settings(section, wanted)
        bare = section.curate.model_copy(update={"protect": None})
        base = plan_of(section.model_copy(update={"curate": bare}), Path(path).resolve().parent)
        return plan_sweep(_to_folder(base, wanted.out), settings, every=every)


def _settings(section: PipelineSection, asked: Asked) -> tuple[SweepSettings, bool]:
    own = section.sweep
    protect = section.curate.protect or {}
    adjacency: Any = _first(asked.adjacency, own.adjacency, protect.get("adjacency"))
    delta: Any = _first(asked.delta, own.delta, protect.get("delta"))
    for key, value, hint in (
        ("adjacency", adjacency, "state which sets are neighbours, e.g. zero_out"),
        ("delta", delta, "give it as a number, e.g. 1e-5; it is never derived from a secret size"),
    ):
        if value is None:
            raise Problem(("sweep",), f"{key!r} is missing", hint)
    named = _first(asked.mechanisms, own.mechanisms)
    every = named in (ALL, (ALL,), [ALL])
    if named is None and "mechanism" in protect:
        named = (str(protect["mechanism"]),)
    stated = _stated(section)
    scorers, selection = _mechanism_settings(section, stated)
    settings = SweepSettings(
        adjacency=adjacency,
        delta=delta,
        epsilons=tuple(_first(asked.epsilons, own.epsilon, EPSILONS)),
        mechanisms=() if every or named is None else tuple(named),
        relevant={name: tuple(values) for name, values in own.relevant.items()},
        scorers=scorers,
        selection=selection,
        unit=None if stated is None else stated.unit,
        fitted_on={} if stated is None else stated.fitted_on,
        **({} if own.repeats is None else {"repeats": own.repeats}),
    )
    return settings, every


def _first(*values: Any) -> Any:
    """The first that is not ``None``."""
    return next((value for value in values if value is not None), None)


def _stated(section: PipelineSection) -> ProtectSettings | None:
    """What ``curate.protect`` says, if it is there."""
    if section.curate.protect is None:
        return None
    method = str(section.curate.scorer.get("method"))
    stated = built(("curate", "protect"), build_protect, section.curate.protect, method)
    if isinstance(stated.tuning, PaidTuning):
        hint = "the points of a sweep have fixed settings: leave tuning out of it"
        raise Problem(("curate", "protect", "tuning"), "is not swept", hint)
    return stated


def _mechanism_settings(
    section: PipelineSection, own: ProtectSettings | None
) -> tuple[dict[str, Any], NoisySelection]:
    """Settings by mechanism: those of ``sweep.settings``, else those of ``curate.protect``."""
    scorers: dict[str, Any] = {}
    selection = NoisySelection()
    if own is not None:
        name = parts_of(own.mechanism)[0]
        if name is not None and own.scorer is not None:
            scorers[name] = own.scorer
        selection = own.selection or selection
    for name, values in section.sweep.settings.items():
        path = ("sweep", "settings", name)
        check_settings(".".join(path), values)
        if name == SELECTION:
            selection = built(path, build_dataclass, NoisySelection, values)
        elif name in MECHANISMS:
            scorers[name] = built(path, build_dataclass, MECHANISMS[name], values)
        else:
            raise Problem(path, "is no mechanism", f"expected some of {_names(MECHANISMS)}")
    return scorers, selection


def _names(registry: Mapping[str, Any]) -> str:
    return ", ".join([*sorted(registry), SELECTION])


def _to_folder(base: AuditPlan, out: str | None) -> AuditPlan:
    """A sweep keeps out of the folder of the audit of the same pipeline."""
    folder = base.run.out
    if out is not None:
        folder = Path(out)
    elif folder is not None:
        folder = folder.with_name(folder.name + SUFFIX)
    return dataclasses.replace(base, run=dataclasses.replace(base.run, out=folder))
