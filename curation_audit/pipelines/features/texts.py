"""The texts of a set."""

from curation_audit.checks import InputError
from curation_audit.pipelines.data_sets import ReadSet


def texts_of(data: ReadSet) -> tuple[str, ...]:
    """One text per row.

    Raises:
        InputError: where no column of texts was named.
    """
    if data.texts is None:
        raise InputError(
            data.where,
            "a feature step reads texts, but no column of texts is named",
            "name it by columns.text",
        )
    return data.texts
