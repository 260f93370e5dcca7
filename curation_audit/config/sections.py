"""The sections of a pipeline file, as pydantic models; unknown keys are refused.

Sections that name an implementation (a source, a scorer, a rule, a model) become that frozen
dataclass itself: the registry is the schema, and a new implementation needs nothing here.
"""

import difflib
import re
from collections.abc import Mapping
from dataclasses import MISSING, fields
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from curation_audit.auditing.context import ReleaseContext
from curation_audit.auditing.own_attacks import GROUP, load_own
from curation_audit.auditing.plan import AttackSettings, PolicyRule, Threat
from curation_audit.checks import did_you_mean
from curation_audit.dp.claims import CLAIMS
from curation_audit.pipelines.base import opened
from curation_audit.pipelines.canaries import CanarySettings
from curation_audit.pipelines.downstream import DOWNSTREAM
from curation_audit.pipelines.downstream.repeated import Repeated
from curation_audit.pipelines.features import STEPS
from curation_audit.pipelines.rules import RULES
from curation_audit.pipelines.scorers import SCORERS
from curation_audit.pipelines.scorers.callable import CallableScorer
from curation_audit.pipelines.sources import SOURCES
from curation_audit.report.renderings import RENDERINGS
from curation_audit.results import Adjacency
from curation_audit.training.recipe import EarlyStopping

T = TypeVar("T")
SCORER_GROUP = "curation_audit.scorers"
SET_BY_RUN = ("device",)


class Problem(Exception):
    """A bad value at a path below the section that was being built."""

    def __init__(self, path: tuple[str | int, ...], problem: str, hint: str = "") -> None:
        """Keep the parts; the file and the line are known further up."""
        super().__init__(problem)
        self.path, self.problem, self.hint = path, problem, hint


class Section(BaseModel):
    """Frozen, and strict about unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class ColumnsSection(Section):
    """Which columns hold what."""

    id: str | None = None
    features: list[str] | None = None
    embedding: str | None = None
    label: str | None = None
    text: str | None = None
    size: str | None = None


class GroupedColumnsSection(ColumnsSection):
    """Those of the private set and the pool; ``groups`` are columns of categories.

    By those of the private set results are told apart; those of the pool tell relevant rows.
    """

    groups: list[str] = []


class SetSection(Section):
    """The public pool."""

    source: dict[str, Any]
    columns: GroupedColumnsSection = GroupedColumnsSection()


class PrivateSection(SetSection):
    """The private set; ``unit`` groups its rows, e.g. by patient.

    ``ledger``: where what it spends is booked (``curation-audit curate``).
    """

    unit: str | None = None
    ledger: str | None = None


class TestSection(Section):
    """The test set, and what a model is worth on it."""

    source: dict[str, Any]
    columns: ColumnsSection = ColumnsSection()
    metric: Literal["accuracy", "auc"] = "accuracy"


class FeaturesSection(Section):
    """What is done to features before anything else; means and scales come from the pool."""

    steps: list[dict[str, Any]] = []
    standardise: Literal["public", "none"] = "public"


class CurateSection(Section):
    """The scorer, the selection rule, and the protection, if any."""

    scorer: dict[str, Any]
    select: dict[str, Any]
    protect: dict[str, Any] | None = None


class SweepSection(Section):
    """Which mechanisms at which epsilons ``curation-audit sweep`` compares."""

    adjacency: Adjacency | None = None
    delta: float | None = None
    epsilon: list[float] | None = None
    mechanisms: list[str] | Literal["all"] | None = None
    repeats: int | None = None
    relevant: dict[str, list[str]] = {}
    settings: dict[str, dict[str, Any]] = {}


class ResourcesSection(Section):
    """What one task or job is given."""

    cpus: float = 1.0
    gpus: float = 0.0


class SlurmSection(Section):
    """How jobs are submitted."""

    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    time: str | None = None
    memory: str | None = None
    attempts: int = 3
    poll: float = 5.0


class RunSection(Section):
    """Where and how to run."""

    out: str | None = None
    device: str = "auto"
    backend: Literal["local", "ray", "slurm"] = "local"
    workers: int | Literal["auto"] = 1
    resources: ResourcesSection = ResourcesSection()
    slurm: SlurmSection = SlurmSection()
    dtype: Literal["float32", "float64"] = "float32"
    id_key: str | None = None


# checked by check_formats, which knows the near miss; the enumeration is for editors
FormatName = Annotated[str, Field(json_schema_extra={"enum": [*RENDERINGS]})]


class ReportSection(Section):
    """What to write, and when to fail."""

    formats: list[FormatName] = ["html", "json"]
    policy: list[dict[str, Any]] = []
    claim: dict[str, Any] | None = None
    context: dict[str, Any] | None = None


class PipelineSection(Section):
    """A whole pipeline file."""

    version: Literal[1]
    name: str = Field(min_length=1, max_length=200)
    seed: int = Field(default=0, ge=0)
    private: PrivateSection
    public: SetSection
    test: TestSection | None = None
    features: FeaturesSection = FeaturesSection()
    curate: CurateSection
    train: dict[str, Any] | None = None
    sweep: SweepSection = SweepSection()
    threat: dict[str, Any] = {}
    attack: dict[str, Any] = {}
    run: RunSection = RunSection()
    report: ReportSection = ReportSection()


def build(registry: Mapping[str, type[Any]], tag: str, section: Mapping[str, Any]) -> Any:
    """Build ``registry[section[tag]]`` from the other keys of the section.

    Raises:
        Problem: for a missing or unknown tag, an unknown key, or a value that does not fit.
    """
    settings = dict(section)
    if tag not in settings:
        near = difflib.get_close_matches(tag, map(str, settings), n=1)
        if near:
            raise Problem((near[0],), f"unknown setting {near[0]!r}", f"did you mean {tag!r}?")
        raise Problem((), f"{tag!r} is missing", f"expected one of {', '.join(sorted(registry))}")
    name = settings.pop(tag)
    if not isinstance(name, str) or name not in registry:
        raise Problem((tag,), f"found {name!r}", did_you_mean(str(name), registry))
    return build_dataclass(registry[name], settings)


def build_dataclass(kind: type[T], settings: Mapping[str, Any]) -> T:
    """Build a frozen dataclass from settings, with pydantic's conversions.

    Raises:
        Problem: for an unknown key, a missing key, or a value that does not fit.
    """
    known = {f.name for f in fields(kind)} - set(SET_BY_RUN)  # type: ignore[arg-type]
    for key in settings:
        if key not in known:
            raise Problem((str(key),), f"unknown setting {key!r}", _of_known(str(key), known))
    for f in fields(kind):  # type: ignore[arg-type]
        required = f.default is MISSING and f.default_factory is MISSING
        if required and f.name not in settings:
            raise Problem((), f"{f.name!r} is missing", "add it")
    try:
        return TypeAdapter(kind).validate_python(dict(settings))
    except ValidationError as error:
        raise problem_of(error) from None


def _of_known(key: str, known: set[str]) -> str:
    return did_you_mean(key, known) if known else "expected no settings"


def problem_of(error: ValidationError) -> Problem:
    """The first of pydantic's findings in our words; how many more there are is said."""
    # a misspelt key is the cause of the key that is missing
    errors = sorted(error.errors(), key=lambda one: one["type"] != "extra_forbidden")
    first, path = errors[0], _path_of(errors[0])
    here = [one for one in errors if _path_of(one) == path]  # each member of a union complains
    more = f" (and {len(errors) - len(here)} more)" if len(errors) > len(here) else ""
    if first["type"] == "extra_forbidden":
        return Problem(path, f"unknown setting {path[-1]!r}{more}")
    if first["type"] == "missing":
        return Problem(path[:-1], f"{path[-1]!r} is missing{more}", "add it")
    found = "" if isinstance(first["input"], dict) else f"found {first['input']!r}"
    names = re.findall(r"'([^']+)'", str(first.get("ctx", {}).get("expected", "")))
    if names and len(here) == 1:
        return Problem(
            path, f"{found or 'found settings'}{more}", did_you_mean(str(first["input"]), names)
        )
    told = " or ".join(_message(one) for one in here)
    return Problem(path, f"{found}: {told}{more}" if found else f"{told}{more}")


def _path_of(one: ErrorDetails) -> tuple[str | int, ...]:
    """Where a finding is, without pydantic's own steps: members of a union, "the key itself"."""
    own = ("function-plain", "tuple", "[key]", "int")
    return tuple(
        part for part in one["loc"] if part not in own and not str(part).startswith("literal[")
    )


def _message(one: ErrorDetails) -> str:
    """Pydantic's words, without the classes that nobody writes into a file."""
    message = str(one.get("ctx", {}).get("error", one["msg"]))
    message = re.sub(r" or an instance of \w+", "", message).replace("valid tuple", "valid list")
    return message[:1].lower() + message[1:].rstrip(".")


def build_scorer(section: Mapping[str, Any], device: str) -> Any:
    """A scorer of the registry, or ``method: callable`` with the name of an entry point."""
    if section.get("method") != "callable":
        known = {**SCORERS, "callable": CallableScorer}
        return on_device(build(known, "method", section), device)
    unknown = sorted(set(section) - {"method", "name"})
    if unknown:
        raise Problem((unknown[0],), f"unknown setting {unknown[0]!r}", "expected method and name")
    found = {entry.name: entry for entry in metadata.entry_points(group=SCORER_GROUP)}
    name = section.get("name")
    if name not in found:
        hint = did_you_mean(str(name), found) if found else "no installed package offers one"
        raise Problem(("name",), f"{name!r} is no entry point of {SCORER_GROUP!r}", hint)
    package = found[name].dist
    version = None if package is None else f"{package.name} {package.version}"
    return CallableScorer(function=found[name].load(), version=version)


def on_device(part: Any, device: str) -> Any:
    """The part with ``run.device`` as its device, where it has one."""
    names = [f.name for f in fields(part)]
    if "device" not in names:
        return part
    return type(part)(**{name: getattr(part, name) for name in names} | {"device": device})


def build_source(section: Mapping[str, Any]) -> Any:
    """A data source."""
    return build(SOURCES, "kind", section)


def build_step(section: Mapping[str, Any], base: Path, device: str) -> Any:
    """A feature step; one that is a file, relative to ``base``, or another's code, is loaded."""
    return opened(on_device(build(STEPS, "kind", section), device), base)


def build_rule(section: Mapping[str, Any]) -> Any:
    """A selection rule."""
    return build(RULES, "rule", section)


def build_downstream(section: Mapping[str, Any], device: str) -> Any:
    """A downstream model, or several a shadow by ``repeats``, which every model has."""
    settings = _with_nested(section, "stop", EarlyStopping)
    repeats = settings.pop("repeats", 1)
    if type(repeats) is not int:
        raise Problem(("repeats",), f"found {repeats!r}", "expected a whole number, 1 or more")
    model = on_device(build(DOWNSTREAM, "model", settings), device)
    return model if repeats == 1 else Repeated(model=model, repeats=repeats)


def _with_nested(section: Mapping[str, Any], key: str, kind: type[Any]) -> dict[str, Any]:
    """A section whose value at ``key``, if it is a mapping, becomes a dataclass."""
    settings = dict(section)
    if isinstance(settings.get(key), Mapping):
        try:
            settings[key] = build_dataclass(kind, settings[key])
        except Problem as problem:
            raise Problem((key, *problem.path), problem.problem, problem.hint) from None
    return settings


def build_threat(section: Mapping[str, Any]) -> Threat:
    """The threat model."""
    return build_dataclass(Threat, section)


def build_attack(section: Mapping[str, Any]) -> AttackSettings:
    """The attack settings."""
    settings = _with_nested(section, "canaries", CanarySettings)
    names = settings.pop("own", [])
    if not isinstance(names, list) or not all(isinstance(one, str) for one in names):
        raise Problem(("own",), f"found {names!r}", f"expected names of entry points of {GROUP}")
    return build_dataclass(AttackSettings, settings | {"own": load_own(names)})


def build_claim(section: Mapping[str, Any]) -> Any:
    """A claimed guarantee."""
    return build(CLAIMS, "kind", section)


def build_context(section: Mapping[str, Any]) -> ReleaseContext:
    """What the owner declares about the release."""
    return build_dataclass(ReleaseContext, section)


def build_policy(section: Mapping[str, Any]) -> PolicyRule:
    """One line of the release policy."""
    return build_dataclass(PolicyRule, section)


def pipeline_schema() -> dict[str, Any]:
    """The JSON Schema of a pipeline file, for editors."""
    schema = PipelineSection.model_json_schema()
    tagged = {
        ("SetSection", "source"): ("kind", sorted(SOURCES)),
        ("PrivateSection", "source"): ("kind", sorted(SOURCES)),
        ("TestSection", "source"): ("kind", sorted(SOURCES)),
        ("CurateSection", "scorer"): ("method", sorted([*SCORERS, "callable"])),
        ("CurateSection", "select"): ("rule", sorted(RULES)),
    }
    for (section, key), (tag, names) in tagged.items():
        choice = {tag: {"enum": names}}
        schema["$defs"][section]["properties"][key] |= {"properties": choice, "required": [tag]}
    return schema
