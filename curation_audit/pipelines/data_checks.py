"""Checks of the three sets against each other, and what is only worth a warning."""

import math
from collections import Counter
from dataclasses import dataclass

from curation_audit.checks import InputError
from curation_audit.pipelines.data_sets import ReadSet, row_keys
from curation_audit.pipelines.sources.base import quoted


def in_one_space(data: ReadSet, pool: ReadSet) -> ReadSet:
    """``data`` with its features in the pool's order; matched by name, vectors by position.

    Raises:
        InputError: where the dimensions or the names differ.
    """
    d, expected = data.features.shape[1], pool.features.shape[1]
    lacks = [name for name in pool.feature_names if name not in set(data.feature_names)]
    extra = [name for name in data.feature_names if name not in set(pool.feature_names)]
    if d != expected:
        vectors = data.from_vectors or pool.from_vectors
        named = [] if vectors else [("only here", extra), ("only in public", lacks)]
        details = "".join(f"; {text}: {quoted(names)}" for text, names in named if names)
        raise InputError(
            data.where,
            f"has {d} features, but {pool.where} has {expected}{details}",
            "expected the same features in every set",
        )
    if data.from_vectors and pool.from_vectors:
        return data
    if lacks:
        raise InputError(
            data.where,
            f"its features are called otherwise than those of {pool.where}: "
            f"{quoted(extra)} instead of {quoted(lacks)}",
            "features are matched by name; rename them, or keep them in one embedding column",
        )
    return data.ordered_like(pool.feature_names)


def pool_classes(pool: ReadSet) -> tuple[str, ...]:
    """The pool's labels: by value where all are numbers, else by text; () without labels.

    Raises:
        InputError: where there is only one class.
    """
    if pool.labels is None:
        return ()
    classes = set(pool.labels)
    if len(classes) < 2:
        raise InputError(
            pool.where,
            f"all rows have the label {pool.labels[0]!r}",
            "a downstream model needs at least two classes",
        )
    if all(map(_is_finite_number, classes)):
        return tuple(sorted(classes, key=lambda text: (float(text), text)))
    return tuple(sorted(classes))


def _is_finite_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def check_labels(data: ReadSet, pool: ReadSet, classes: tuple[str, ...]) -> None:
    """Raise ``InputError`` where ``data`` has labels that the pool lacks."""
    if data.labels is None:
        return
    if pool.labels is None:
        raise InputError(
            data.where,
            f"names a label column, but {pool.where} names none",
            "name the pool's label column too, or leave this one out",
        )
    strange = sorted(set(data.labels) - set(classes))
    if strange and data.name == "private":
        # a wrong column would put patients' names into a log
        rows = [i for i, label in enumerate(data.labels, start=1) if label not in classes]
        raise InputError(
            data.where,
            f"{len(rows)} rows have labels that the pool lacks, the first is row {rows[0]}",
            f"the pool has {quoted(classes)}",
        )
    if strange:
        raise InputError(
            data.where,
            f"has labels that the pool lacks: {quoted(strange)}",
            f"the pool has {quoted(classes)}",
        )


@dataclass(frozen=True, slots=True)
class Overlaps:
    """Rows with equal features, as sentences for the report."""

    n_private_rows_in_pool: int
    warnings: tuple[str, ...]


def find_overlaps(
    private: ReadSet, pool: ReadSet, test: ReadSet | None, units: tuple[str, ...]
) -> Overlaps:
    """Count rows that stand in two sets, and private rows that two units share.

    Rows are compared as read, number by number; nothing is dropped.
    """
    keys = row_keys(private.features)
    public = set(row_keys(pool.features))
    n_private = sum(key in public for key in keys)
    n_test = 0 if test is None else sum(key in public for key in row_keys(test.features))
    holders = Counter(key for key, _ in set(zip(keys, units, strict=True)))
    n_shared = sum(holders[key] > 1 for key in keys)
    warnings = []
    if n_private:
        warnings.append(
            f"{n_private} of {len(keys)} private rows also stand in the public pool (equal "
            "features). They are kept; their presence in the pool is public whatever the "
            "curation does."
        )
    if n_test and test is not None:
        warnings.append(
            f"{n_test} of {len(test)} test rows also stand in the public pool (equal features). "
            "They are kept; the utility of models trained on them is flattered."
        )
    if n_shared:
        warnings.append(
            f"{n_shared} of {len(keys)} private rows are equal to a row of another unit. They "
            "are kept; an attack cannot tell such units apart, so the leak of each is understated."
        )
    return Overlaps(n_private, tuple(warnings))
