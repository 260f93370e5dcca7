"""The commands that the documentation shows: all are parsed, those of the README are run."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from curation_audit.cli import cli

ROOT = Path(__file__).parents[1]
PAGES = sorted(
    path
    for pattern in ("*.md", "docs/**/*.md", "datasets/*.md", "benchmarks/*.md", "notebooks/*.md")
    for path in ROOT.glob(pattern)
)
README = (ROOT / "README.md").read_text()


def blocks(text: str) -> Iterator[str]:
    """Lines of code blocks, indented or fenced, that are commands to type."""
    for line in text.splitlines():
        if re.match(r"( {4,}|\$ )?curation-audit [a-z]", line):
            yield line.strip().removeprefix("$ ")


def spans(text: str) -> Iterator[str]:
    """Commands in the middle of a sentence; they may leave arguments out."""
    for line in text.splitlines():
        yield from re.findall(r"`(curation-audit [^`]+)`", line)


def shown(find: Any) -> list[Any]:
    found = ((path, one) for path in PAGES for one in find(path.read_text()))
    return [pytest.param(one, id=f"{path.name}: {one[:60]}") for path, one in found]


def command_of(words: list[str]) -> tuple[click.Command, list[str]]:
    """The command that the first words name, and the words after it."""
    command: click.Command = cli
    while isinstance(command, click.Group):
        name, *words = words
        assert name in command.commands, f"there is no command {name!r}"
        command = command.commands[name]
    return command, words


def parse(line: str) -> dict[str, Any]:
    """What click makes of a line; it raises where an option or a value is not one."""
    command, words = command_of(shlex.split(line, comments=True)[1:])
    # with the settings of the group: click keeps a command's help option from its first use
    return command.make_context(command.name, words, **cli.context_settings).params


@pytest.mark.parametrize("line", shown(blocks))
def test_a_command_in_a_block_can_be_typed(line):
    parse(line)


@pytest.mark.parametrize("text", shown(spans))
def test_a_command_in_a_sentence_has_the_options_it_names(text):
    words = re.split(r"[\s|]+", text.replace("[", " ").replace("]", " "))[1:]
    names = [word for word in words if word]
    if names[0].startswith("-"):  # of the program itself
        assert names[0] in {"--help", "--version"}
        return
    if names in ([group] for group, one in cli.commands.items() if isinstance(one, click.Group)):
        return
    command, rest = command_of(names)
    known = {option for one in command.params for option in one.opts}
    assert {word.split("=")[0] for word in rest if word.startswith("--")} <= known


def test_mistakes_are_found():
    with pytest.raises(click.NoSuchOption):
        parse("curation-audit attack --pipelines med.yaml")
    with pytest.raises(click.BadParameter):
        parse("curation-audit gate runs/med --policy p.yaml --format tex")
    with pytest.raises(AssertionError, match="no command 'atack'"):
        parse("curation-audit atack --pipeline med.yaml")
    assert list(blocks("    curation-audit schema  # x\ntext\ncuration-audit doctor")) == [
        *("curation-audit schema  # x", "curation-audit doctor")
    ]
    assert list(spans("so `curation-audit gate RUN` decides")) == ["curation-audit gate RUN"]


def of_readme(after: str) -> list[str]:
    """The commands of the first block after a heading of the README."""
    (text,) = re.findall(rf"^#+ {after}\n(.*?)(?=^#)", README, re.DOTALL | re.MULTILINE)
    return list(blocks(text))


def make_small(path: Path, **changes: Any) -> None:
    """The example that ``init`` writes, with few shadows and cheap attacks."""
    tree = yaml.safe_load(path.read_text())
    methods = {"scores": ["trace"], "selection": ["mask_trace"], "model": ["loss"]}
    tree["attack"] |= {"shadows": 8, "methods": methods}
    tree["sweep"] |= {"epsilon": [4], "mechanisms": ["gaussian_mean"]}
    path.write_text(yaml.safe_dump(tree | changes, sort_keys=False))


def test_the_commands_of_the_readme_run(command, tmp_path, monkeypatch):
    """On an example instead of the reader's set, and with the second run that they speak of."""
    monkeypatch.chdir(tmp_path)
    exits = {"gate": 1}  # a policy is strict, and so few shadows support nothing
    lines = of_readme("Use it on your own pipeline")
    assert [line.split()[1] for line in lines] == [
        *("init", "validate", "forecast", "health", "attack", "sweep"),
        *("report", "report", "gate", "sign", "verify", "doctor"),
    ]
    assert command(*shlex.split(lines[0], comments=True)[1:])[0] == 0  # the starter
    assert command("init", "med.yaml", "--example", "med", "--force")[0] == 0
    assert command("init", "--policy", "policy.yaml")[0] == 0
    assert command("keygen", "sign.pem")[0] == 0
    make_small(tmp_path / "med.yaml")
    protect = "{mechanism: gaussian_mean, epsilon: 1.0, delta: 1.0e-5, adjacency: zero_out}"
    for line in lines[1:-1]:  # tests/doctor/ runs the doctor
        words = shlex.split(line, comments=True)[1:]
        code, out, err = command(*words)
        assert (code, "rror" in err) == (exits.get(words[0], 0), False), (line, out, err)
        if words[0] == "attack":
            again = ("--set", "run.out=runs/med-dp", "--set", f"curate.protect={protect}")
            assert command(*words, *again)[0] == 0
    release = {path.name for path in (tmp_path / "runs" / "med" / "release").iterdir()}
    assert {"report.html", "report.pdf", "report.md", "card.md", "manifest.dsse.json"} <= release
    assert (tmp_path / "comparison.html").is_file()
    assert (tmp_path / "runs" / "med-sweep" / "release" / "sweep.html").is_file()


def test_the_commands_of_a_real_release_run(command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert command("init", "med.yaml", "--example", "med")[0] == 0
    tree = yaml.safe_load((tmp_path / "med.yaml").read_text())
    private = tree["private"] | {"ledger": "hospital.ledger"}
    protect = {"mechanism": "dp_gd", "epsilon": 1.0, "delta": 1e-5, "adjacency": "zero_out"}
    make_small(tmp_path / "med.yaml", private=private, curate=tree["curate"] | {"protect": protect})
    for line in of_readme("For real, within a budget"):
        code, out, err = command(*shlex.split(line, comments=True)[1:])
        assert code == 0, (line, err)
    assert "spent:     epsilon 1;" in out
    assert {path.name for path in (tmp_path / "picked").iterdir()} >= {
        *("picks.parquet", "release.npz", "card.md")
    }
