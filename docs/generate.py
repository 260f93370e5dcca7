"""Writes the pages of the documentation that the code dictates: `make docs`.

``docs/commands.md`` is made from the command line, ``docs/attacks.md`` from the registry of attacks
and the explanations below. ``tests/test_generated_docs.py`` fails where a page is not up to date.
"""

import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import click

from curation_audit.attacks import ATTACKS, SINGLE
from curation_audit.attacks.base import Attack
from curation_audit.cli import cli
from curation_audit.observations import KNOWABLE, STAGES

DOCS: Final = Path(__file__).parent
MADE: Final = "<!-- Made by 'make docs'; do not edit. -->"

# What gives an adversary each thing that an attack can need.
GRANTED_BY: Final[Mapping[str, str]] = {
    "algorithm": "`threat.knows` (default): he can run the curation, so shadows are possible",
    "analytic models": "an exact view, and `attack.analytic_models` (default for `logistic`)",
    "candidates": "`threat.knows` (default): the features of the records asked about",
    "confidences": "`threat.model_as: confidences` (default)",
    "insertions": "`threat.may_insert` above 0, a model that he sees, queries, an exact view, and "
    "a scorer whose embedding can be turned into a row",
    "labels": "`threat.knows` (default), `candidates`, and a private set with `columns.label`",
    "linear scorer": "a scorer with linear scores ([curators.md](curators.md)), an exact view",
    "memberships": "`threat.knows`: of everyone but the record asked about",
    "nearest scorer": "a scorer of the family `nearest`, an exact view",
    "one cut": "a rule that picks by one cut of the scores",
    "other candidates": "`threat.knows` (default): he asks about all of them together",
    "pool": "`threat.knows` (default): the features of the public rows",
    "queries at both": "`threat.queries` large enough for the candidates and some pool rows",
    "queries at pool rows": "`pool`, and `threat.queries` that allows any",
    "queries at the candidates": "`threat.queries` of at least the candidates' rows, or no limit",
    "score ranks": "`threat.scores_as: ranks`",
    "score values": "`threat.scores_as: exact` (default) or `rounded`",
    "score values of picked rows": "`threat.scores_as` other than `ranks`",
    "several stages": "`threat.observes` with more than one stage (default)",
    "top scores only": "`threat.scores_as: top only`",
    "trained references": "`mlp_classifier`, an exact view",
}
# Every attack needs the stage that it attacks; these no attack asks for by that name.
NOT_ASKED: Final = frozenset(
    {"scores", "selection", "model", "picks in scores", "the scorer's embedding", "thresholds"}
)

TITLES: Final = {
    "scores": "On the scores",
    "selection": "On the picked rows",
    "model": "On the model",
    "joint": "On everything that is released",
}

INTRODUCTION: Final = """
There are {single} single attacks and {stacked} that stack others. All run by default that the
adversary knows enough for; a report lists the others as "not applicable: needs X".
`attack.methods` names some, by stage. An attack can run only on a stage that `threat.observes`.
How each works, and the rules that all obey: [design.md](design.md#attacks). What the words mean:
[concepts.md](concepts.md). An attack of your own:
[notebook 4](../notebooks/4_write_your_own_attack.ipynb), and to add it to the tool
[CONTRIBUTING](../CONTRIBUTING.md). Cost is in operations: S shadows, N candidates, m pool rows, p
features as the scorer sees them, d features, C classes, Q pool rows that the model is asked about.
"""
VIEW: Final = """
"An exact view" is `threat.embedding: exact` for one who knows the algorithm, the candidates and the
pool. All of these are defaults.
"""


def pages() -> dict[Path, str]:
    """Every generated page and what it should hold."""
    return {DOCS / "commands.md": commands(), DOCS / "attacks.md": attacks()}


def commands() -> str:
    """The reference of the command line."""
    parts = [
        "# Commands",
        MADE,
        "What `--help` prints, of every command. Exit codes, and what to use when: "
        "[README](../README.md).",
    ]
    for path, command in walk((), cli):
        name = " ".join(("curation-audit", *path))
        parts += ["" if not path else f"{'#' * (len(path) + 1)} {name}", fenced(command, name)]
    return "\n\n".join(part for part in parts if part) + "\n"


def walk(path: tuple[str, ...], command: click.Command) -> Iterator[tuple[Any, click.Command]]:
    """A command and all below it, with their names."""
    yield path, command
    if isinstance(command, click.Group):
        for name in sorted(command.commands):
            yield from walk((*path, name), command.commands[name])


def fenced(command: click.Command, name: str) -> str:
    """A command's help as a block that no reader takes for a command to type."""
    context = click.Context(command, info_name=name, **cli.context_settings, max_content_width=100)
    formatter = click.HelpFormatter(width=100)
    command.format_help(context, formatter)
    return f"```text\n{formatter.getvalue().rstrip()}\n```"


def attacks() -> str:
    """Every attack: what it is, what the adversary needs, who published it."""
    by_stage = [part for stage in STAGES for part in attacks_at(stage)]
    needs = [f"| {need} | {GRANTED_BY[need]} |" for need in sorted(GRANTED_BY)]
    parts = [
        "# Attacks",
        MADE,
        paragraph(INTRODUCTION.format(single=len(SINGLE), stacked=len(ATTACKS) - len(SINGLE))),
        *by_stage,
        "## What an adversary needs, and what gives it to him",
        paragraph(VIEW),
        "| need | given by |\n|---|---|\n" + "\n".join(needs),
    ]
    return "\n\n".join(parts) + "\n"


def attacks_at(stage: str) -> Sequence[str]:
    """The table of a stage."""
    rows = "\n".join(row(attack) for attack in ATTACKS.values() if attack.stage == stage)
    head = "| name | what it is | needs | from | cost |\n|---|---|---|---|---|\n"
    return [f"## {TITLES[stage]}", head + rows]


def row(attack: Attack) -> str:
    """A line of the table."""
    source = re.sub(r"arXiv:(\d{4}\.\d{5})", r"[arXiv:\1](https://arxiv.org/abs/\1)", attack.source)
    needs = ", ".join(sorted(attack.needs))
    return f"| `{attack.name}` | {attack.title} | {needs} | {source} | {attack.cost} |"


def paragraph(text: str) -> str:
    """Text in lines of at most 120 characters."""
    return textwrap.fill(
        " ".join(text.split()), 120, break_long_words=False, break_on_hyphens=False
    )


def check_complete() -> None:
    """Raise where an attack needs what this page does not explain."""
    asked = frozenset().union(*(attack.needs for attack in ATTACKS.values())) - NOT_ASKED
    if asked != GRANTED_BY.keys() or asked | NOT_ASKED != KNOWABLE:
        raise ValueError(f"explain {sorted(KNOWABLE ^ GRANTED_BY.keys() ^ NOT_ASKED)}.")


if __name__ == "__main__":
    check_complete()
    for path, text in pages().items():
        path.write_text(text)
