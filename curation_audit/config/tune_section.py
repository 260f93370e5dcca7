"""A pipeline file read for tuning on a public stand-in, which is checked to be public."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np

from curation_audit.auditing.plan import AuditPlan
from curation_audit.checks import InputError, known_columns
from curation_audit.config.load import plan_of, set_spec
from curation_audit.config.protect_section import build_protect
from curation_audit.config.reading import built, placed, validated
from curation_audit.config.sections import (
    PipelineSection,
    Problem,
    SetSection,
    build_scorer,
    build_step,
)
from curation_audit.config.tree import override, read_tree
from curation_audit.config.tuning_section import PUBLIC, ProxySection, build_proxy
from curation_audit.pipelines.base import CurationData, bound, opened
from curation_audit.pipelines.data import assemble, read_spec
from curation_audit.pipelines.data_checks import in_one_space
from curation_audit.pipelines.data_sets import ReadSet, row_keys
from curation_audit.pipelines.protection.protect import ProtectSettings
from curation_audit.pipelines.protection.tuning import PublicTuning
from curation_audit.pipelines.sources import PrivateSpec, SetSpec
from curation_audit.pipelines.sources.base import RawTable
from curation_audit.pipelines.sources.some_rows import SomeRows
from curation_audit.streams import Streams
from curation_audit.sweeping.tuning import TunePlan
from curation_audit.training.device import one_thread
from curation_audit.types import Mask

AT: Final = ("curate", "protect", "tuning")
PROXY: Final = "curate.protect.tuning.proxy"
BY_CONTENT: Final = "no row has the content of a private row"


def load_tune(path: Path | str, assignments: Sequence[str] = ()) -> TunePlan:
    """Read a pipeline file, its data, and the public stand-in for the private set.

    The private set is read for one purpose: to refuse a stand-in, or a test set, that shares rows
    with it.

    Raises:
        InputError: in one line, with the place in the file where there is one.
    """
    tree = override(read_tree(Path(path)), assignments)
    folder = Path(path).resolve().parent
    with placed(tree):
        section = validated(tree)
        settings, tuning, proxy = _settings(section)
        bare = section.curate.model_copy(update={"protect": None})
        without = {k: v for k, v in section.attack.items() if k not in ("canaries", "targets")}
        open_section = section.model_copy(update={"curate": bare, "attack": without})
        base = plan_of(open_section, folder)
        base, checked = _on_stand_in(section, base, proxy, folder)
        return TunePlan(base=base, settings=settings, tuning=tuning, checked=checked)


def _settings(section: PipelineSection) -> tuple[ProtectSettings, PublicTuning, ProxySection]:
    protect = section.curate.protect or {}
    tuning = protect.get("tuning")
    if not isinstance(tuning, Mapping) or tuning.get("method") != PUBLIC:
        raise Problem(
            AT,
            f"is not of method {PUBLIC}",
            "'tune' compares settings on public rows; what is tuned on private ones is part of "
            "'curate' and of its budget",
        )
    # what was chosen before says nothing here
    again = {key: value for key, value in tuning.items() if key not in ("result", "sha256")}
    method = str(section.curate.scorer.get("method"))
    settings = built(AT[:2], build_protect, {**protect, "tuning": again}, method)
    if not isinstance(settings.tuning, PublicTuning):
        raise TypeError("public tuning was asked for.")
    # the unit is the stand-in's own
    return replace(settings, unit=None), settings.tuning, built(AT, build_proxy, tuning)


def _on_stand_in(
    section: PipelineSection, base: AuditPlan, proxy: ProxySection, folder: Path
) -> tuple[AuditPlan, tuple[str, ...]]:
    """The pipeline with the stand-in in the place of the private set."""
    spec, public = _specs(section, proxy)
    pool = read_spec("public", public.source, public.columns, folder)
    stand_in = _read_stand_in(spec, folder)
    own = set_spec("private", section.private)
    hidden = PrivateSpec(source=own.source, columns=own.columns, unit=section.private.unit)
    private = read_spec("private", hidden.source, hidden.columns, folder, hidden.unit)
    checked = check_public(
        in_one_space(private, pool), _aligned(stand_in, pool), _kinds(hidden, spec)
    )
    test = None
    if section.test is not None:
        of_test = set_spec("test", section.test)
        test = read_spec("test", of_test.source, of_test.columns, folder)
        check_public(in_one_space(private, pool), in_one_space(test, pool), (), "test")
    with one_thread():  # the same bits whatever the machine does beside
        data = _data(section, stand_in, pool, test, folder)
        scorer = built(
            ("curate", "scorer"), build_scorer, section.curate.scorer, section.run.device
        )
        scorer = bound(opened(scorer, folder), data.pool)
    return replace(base, data=data, scorer=scorer, unit=proxy.unit or "row"), checked


def _data(
    section: PipelineSection, stand_in: ReadSet, pool: ReadSet, test: ReadSet | None, folder: Path
) -> CurationData:
    """The three sets; labels of the stand-in are of no use."""
    steps = [
        built(("features", "steps", i), build_step, one, folder, section.run.device)
        for i, one in enumerate(section.features.steps)
    ]
    return assemble(
        replace(stand_in, labels=None),
        pool,
        test,
        standardise=section.features.standardise,
        dtype=np.dtype(section.run.dtype),
        targets=None,
        streams=Streams(section.seed),
        steps=steps,
    )


def _specs(section: PipelineSection, proxy: ProxySection) -> tuple[PrivateSpec, SetSpec]:
    """The stand-in, and the pool without it."""
    public = set_spec("public", section.public)
    if proxy.source is not None:
        of_proxy = SetSection(source=proxy.source, columns=proxy.columns)
        own = built((*AT, "proxy"), set_spec, "private", of_proxy)
        return PrivateSpec(source=own.source, columns=own.columns, unit=proxy.unit), public
    chosen = _half_of(proxy.pool or {}, section.seed)
    taken = SomeRows(source=public.source, keep=chosen)
    left = SomeRows(source=public.source, keep=lambda table: ~chosen(table))
    return (
        PrivateSpec(source=taken, columns=public.columns, unit=proxy.unit),
        replace(public, source=left),
    )


def _half_of(values: Mapping[str, Sequence[Any]], seed: int) -> Callable[[RawTable], Mask]:
    """Of the rows that have one of the values in every column a random half, bool (rows,).

    The other half stays in the pool, where it is what should be found.
    """

    def chosen(table: RawTable) -> Mask:
        mask = Streams(seed).generator("tune/stand-in").random(len(table)) < 0.5
        for name, wanted in values.items():
            if name not in table.columns:
                hint = known_columns(name, list(table.columns))
                raise InputError(f"{PROXY}.pool", f"the pool has no column {name!r}", hint)
            mask &= np.isin(table.columns[name].astype(str), [str(value) for value in wanted])
        return mask

    return chosen


def _read_stand_in(spec: PrivateSpec, folder: Path) -> ReadSet:
    """Read as a private set is; what is wrong is told of the stand-in."""
    try:
        return read_spec("private", spec.source, spec.columns, folder, spec.unit)
    except InputError as error:
        where = error.where.removeprefix("private ")
        raise InputError(f"{PROXY}, {where}", error.problem, error.hint) from None


def _aligned(stand_in: ReadSet, pool: ReadSet) -> ReadSet:
    try:
        return in_one_space(stand_in, pool)
    except InputError as error:
        raise InputError(PROXY, error.problem, error.hint) from None


def check_public(
    private: ReadSet,
    stand_in: ReadSet,
    kinds: Sequence[Literal["ids", "unit"]],
    where: str = PROXY,
) -> tuple[str, ...]:
    """Refuse a stand-in of which a row, or a unit by its id, is a private one; what was compared.

    Rows are compared as they were read, by their numbers (to 32 bits) and by their texts: a
    near-duplicate is not found. ``kinds`` of names are given in both sets. The message tells
    neither which rows nor how many.

    Raises:
        InputError: where they have something in common.
    """
    for contents in (_numbers, _texts):
        if contents(private) & contents(stand_in):
            hint = "take rows that have nothing to do with the private set, or use method: grid"
            raise InputError(where, "holds rows that stand in the private set, too", hint)
    for kind in kinds:
        if set(getattr(private, kind)) & set(getattr(stand_in, kind)):
            hint = "leave id and unit of the stand-in out if these are others of the same name"
            raise InputError(where, f"shares {kind} of the private set", hint)
    compared = tuple(f"no {kind} of the private set" for kind in kinds)
    left = tuple(f"{kind} not compared" for kind in ("ids", "unit") if kind not in kinds)
    return (BY_CONTENT, *compared, *left)


def _numbers(data: ReadSet) -> frozenset[bytes]:
    """The numbers of every row, if it has any, as they are when stored in 32 bits."""
    with np.errstate(over="ignore"):
        rounded = data.features.astype(np.float32)
    return frozenset(row_keys(rounded) if rounded.shape[1] else ())


def _texts(data: ReadSet) -> frozenset[str]:
    """The text of every row, if it has one."""
    return frozenset(data.texts or ())


def _kinds(private: PrivateSpec, stand_in: PrivateSpec) -> list[Literal["ids", "unit"]]:
    """The kinds of names that both sets have; without a column, ids are row numbers."""
    found: list[Literal["ids", "unit"]] = []
    if private.columns.id and stand_in.columns.id:
        found.append("ids")
    if private.unit and stand_in.unit:
        found.append("unit")
    return found
