"""The configuration as a report prints it: every default filled in, nothing of the machine."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from curation_audit.auditing.chunks import describe
from curation_audit.config.sections import SET_BY_RUN, PipelineSection


def resolved(
    section: PipelineSection,
    steps: Sequence[Any],
    scorer: Any,
    rule: Any,
    downstream: Any,
    threat: Any,
    attack: Any,
) -> dict[str, Any]:
    """The whole configuration with every default filled in, as JSON values.

    Where results go is no setting of them. Of absolute paths only the last part is kept: reports
    are passed on, and need not tell how a machine is laid out.
    """
    tree = section.model_dump(mode="json", exclude_none=True)
    for name in ("private", "public", "test"):
        if name in tree:
            tree[name]["source"] = _without_folders(tree[name]["source"])
    tree["features"]["steps"] = [_as_written("kind", step) for step in steps]
    curate = {"scorer": _as_written("method", scorer), "select": _as_written("rule", rule)}
    if section.curate.protect is not None:
        curate["protect"] = _in_json(section.curate.protect)
    tree["curate"] = curate
    tree["train"] = None if downstream is None else _as_written("model", downstream)
    if section.train is not None and section.train.get("fine_tune") is not None:
        tree["train"]["fine_tune"] = _in_json(section.train["fine_tune"])
    tree["threat"] = asdict(threat)
    own = [describe(one) for one in attack.own]  # ``asdict`` would copy them
    tree["attack"] = asdict(replace(attack, own=(), methods={})) | {
        "methods": dict(attack.methods),
        "own": own,
    }
    tree["run"] = {"device": section.run.device, "dtype": section.run.dtype}
    found: dict[str, Any] = json.loads(json.dumps(tree, default=str))
    return found


def _in_json(section: Mapping[str, Any]) -> dict[str, Any]:
    """JSON has no infinity; as a word it is read as the same number."""
    return {key: "inf" if value == math.inf else value for key, value in section.items()}


def _as_written(tag: str, part: Any) -> dict[str, Any]:
    """A part as a file names it; where it runs is no setting of its own."""
    settings = describe(part)
    return {tag: settings.pop("name")} | {k: v for k, v in settings.items() if k not in SET_BY_RUN}


def _without_folders(source: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: Path(value).name
        if key in ("path", "folder") and Path(str(value)).is_absolute()
        else value
        for key, value in source.items()
    }
