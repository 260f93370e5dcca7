"""Which questions of which frameworks a report answers, and which it does not.

Words of a framework are quoted only where its primary text was read; elsewhere a row names the
topic in words of its own.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

Status: TypeAlias = Literal["covered", "partly", "not covered"]


@dataclass(frozen=True, slots=True)
class Row:
    """One question: whether the report answers it, in which part, and what is missing."""

    framework: str
    clause: str
    topic: str
    status: Status
    where: str | None
    note: str


@dataclass(frozen=True, slots=True)
class _Question:
    """A question and the facts that answer it: all of them, or some, or none."""

    framework: str
    clause: str
    topic: str
    facts: tuple[str, ...]
    where: str
    note: str = ""
    missing: str = ""


EDPB: Final = "EDPB Opinion 28/2024"
NIST: Final = "NIST SP 800-226"
ISO: Final = "ISO/IEC 27559:2022"
OWASP: Final = "OWASP AISVS 1.0, C11.2"
TRE: Final = "UK TRE practice (SACRO, GRAIMATTER, SATRE)"
ELSE: Final = "no attack of this kind is part of this tool"
QUESTIONS: Final = (
    _Question(
        EDPB, "paragraph 55 (i)", "membership inference", ("attacked",), "results",
        "evidence for resistance to the attacks that ran, and to no others",
    ),
    _Question(EDPB, "paragraph 55 (i)", "attribute inference", ("never",), "", missing=ELSE),
    _Question(EDPB, "paragraph 55 (ii)", "exfiltration", ("never",), "", missing=ELSE),
    _Question(
        EDPB, "paragraph 55 (iii)", "regurgitation of training data", ("never",), "", missing=ELSE
    ),
    _Question(EDPB, "paragraph 55 (iv)", "model inversion", ("never",), "", missing=ELSE),
    _Question(
        EDPB, "paragraph 55 (v)", "reconstruction", ("never",), "",
        missing="sets of members are guessed together, features of records are not",
    ),
    _Question(
        EDPB, "paragraph 46", "depth of testing by release context", ("context",), "context",
        "declared by the owner", "no release context is declared (report.context)",
    ),
    _Question(EDPB, "paragraph 58", "threat model documented", ("attacked",), "threat"),
    _Question(
        EDPB, "paragraph 58", "ratio of training data to parameters", ("never",), "",
        missing="not counted by this tool",
    ),
    _Question(
        NIST, "epsilon and delta", "both stated", ("claim",), "guarantee",
        missing="no guarantee is claimed",
    ),
    _Question(NIST, "unit of privacy", "what one guarantee is about", ("attacked",), "system"),
    _Question(
        NIST, "neighbouring relation", "which sets are compared", ("claim",), "guarantee",
        missing="no guarantee is claimed",
    ),
    _Question(
        NIST, "composition", "scorer, selection and tuning together",
        ("protection", "tuning accounted"), "guarantee",
        missing="tuning is not accounted, or no mechanism of this tool ran",
    ),
    _Question(
        NIST, "algorithm correctness", "claim held against measurements", ("claim", "attacked"),
        "guarantee", "a claim that is not refuted is not confirmed", "no guarantee is claimed",
    ),
    _Question(NIST, "utility", "what the data are worth afterwards", ("utility",), "utility",
              missing="no labelled test set"),
    _Question(
        NIST, "trust model and collection", "who holds and collects the data", ("never",), "",
        missing="outside of this tool",
    ),
    _Question(ISO, "6 context assessment", "threat modelling", ("attacked",), "threat"),
    _Question(
        ISO, "6.3", "transparency and impact", ("context",), "context", "declared by the owner",
        "no release context is declared (report.context)",
    ),
    _Question(ISO, "7 data assessment", "features of the data", ("system",), "system",
              "sizes and fingerprints; what features mean is not assessed"),
    _Question(ISO, "7.3.2", "maximum or average risk", ("attacked",), "results",
              "both: the mean over candidates, and the most exposed ones"),
    _Question(ISO, "7.3.3", "population- or sample-based attacks", ("attacked",), "results",
              "these candidates; predictive values at several shares of members"),
    _Question(ISO, "8.2.2", "identifiability quantified", ("attacked",), "results"),
    _Question(ISO, "8.2.3", "adversarial testing", ("attacked",), "coverage"),
    _Question(ISO, "8.3", "mitigation", ("protection",), "guarantee",
              missing="the curation ran without a private mechanism"),
    _Question(ISO, "9 governance", "roles, before and after release", ("context",), "context",
              "declared by the owner", "no release context is declared (report.context)"),
    _Question(OWASP, "11.2.4", "training under differential privacy", ("protection",),
              "guarantee", missing="the curation ran without a private mechanism"),
    _Question(
        OWASP, "11.2.5",
        "“Verify that membership-inference attack simulations demonstrate that attack accuracy "
        "does not exceed random guessing on evaluated data.”",
        ("attacked", "nothing above chance"), "results",
        "AUC, and true-positive rates at low false-positive rates",
        "an attack does better than guessing, or rates could not be resolved",
    ),
    _Question(OWASP, "11.2.5", "several attacks together", ("ensemble",), "coverage",
              missing="no ensemble ran"),
    _Question(OWASP, "11.2.5", "blind baseline", ("controls",), "controls"),
    _Question(OWASP, "11.2.5", "subpopulations", ("subgroups",), "results",
              missing="candidates have neither labels nor groups"),
    _Question(OWASP, "11.2.5", "all that is released, together", ("joint",), "results",
              missing="one stage is observed, or no joint attack ran"),
    _Question(TRE, "target summary", "model, sizes, settings", ("system",), "system"),
    _Question(TRE, "risk appetite", "of the project, as a gate", ("policy",), "decision",
              missing="no policy is set (report.policy, or curation-audit gate)"),
    _Question(TRE, "ROC curve", "logarithmic, beside chance", ("attacked",), "results"),
    _Question(TRE, "release files", "apart from training artefacts", ("system",), "identity",
              "release/ holds the report alone"),
    _Question(TRE, "glossary", "of metrics", ("system",), "glossary"),
)  # fmt: skip


def crosswalk(facts: Mapping[str, bool]) -> tuple[Row, ...]:
    """The rows for an audit of which ``facts`` hold; an unknown fact does not."""
    return tuple(_answered(question, facts) for question in QUESTIONS)


def _answered(question: _Question, facts: Mapping[str, bool]) -> Row:
    held = [facts.get(fact, False) for fact in question.facts]
    status: Status = "covered" if all(held) else "partly" if any(held) else "not covered"
    note = question.note if status == "covered" else question.missing or question.note
    where = None if status == "not covered" else question.where
    return Row(question.framework, question.clause, question.topic, status, where, note)
