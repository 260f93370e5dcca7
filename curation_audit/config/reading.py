"""What reading any part of a pipeline file shares: checked sections, and the place of a mistake."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from pydantic import ValidationError

from curation_audit.checks import InputError, SettingError, did_you_mean
from curation_audit.config.sections import PipelineSection, Problem, problem_of
from curation_audit.config.tree import ConfigTree

T = TypeVar("T")


@contextmanager
def placed(tree: ConfigTree) -> Iterator[None]:
    """Tell what goes wrong with its place in the file."""
    try:
        yield
    except Problem as problem:
        raise InputError(tree.where(problem.path), problem.problem, problem.hint) from None
    except SettingError as error:
        place = tree.where(tuple(error.where.split(".")))
        raise InputError(place, error.problem, error.hint) from None


def validated(tree: ConfigTree) -> PipelineSection:
    """The sections of a file.

    Raises:
        Problem: for the first that does not fit.
    """
    try:
        return PipelineSection.model_validate(tree.root)
    except ValidationError as error:
        problem = problem_of(error)
        if problem.problem.startswith("unknown setting"):
            problem.hint = did_you_mean(str(problem.path[-1]), _keys_at(problem.path[:-1]))
        raise problem from None


def _keys_at(path: tuple[str | int, ...]) -> list[str]:
    """The keys that the model has at a path."""
    model: Any = PipelineSection
    for part in path:
        annotation = model.model_fields[str(part)].annotation
        options = [annotation, *getattr(annotation, "__args__", ())]
        model = next(o for o in options if hasattr(o, "model_fields"))
    return list(model.model_fields)


def built(at: tuple[str | int, ...], make: Callable[..., T], *arguments: Any) -> T:
    """Build one section; what goes wrong is told with the path from the top of the file."""
    try:
        return make(*arguments)
    except Problem as problem:
        raise Problem((*at, *problem.path), problem.problem, problem.hint) from None
