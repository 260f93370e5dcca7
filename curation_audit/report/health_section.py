"""The section "Training health" of the owner's own report, as blocks, from the tree of its file."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from curation_audit.report import health_plots, words
from curation_audit.report.blocks import Block, Bullets, Figure, Figures, Heading, Paragraph, Table
from curation_audit.report.health import TITLE

SHOWN: Final = 10
RANKS: Final = (
    ("numerical_rank", "numerical rank", "directions that leak, without noise"),
    ("effective_dimension", "sum of leverages", "directions that leak beside noise"),
    ("hard_rank", "hard rank", "participation ratio; descriptive"),
    ("soft_rank", "soft rank", "Shannon rank; descriptive"),
    ("stable_rank", "stable rank", "trace over the largest; descriptive"),
)
NO_MEASURE: Final = (
    "Ranks, stability and eta * lambda_max describe a training; none of them is a measure of "
    "privacy. Two halves agree more the more records there are, as leakage falls; neither says how "
    "much the other does."
)


def section(health: Mapping[str, Any]) -> Iterator[Block]:
    """All of it, with the private mark at its head."""
    yield Heading(TITLE)
    yield Paragraph(health["note"])
    yield from prediction(health)
    yield from spectra(health["spectra"])
    yield from records(health["vulnerability"])
    yield from halves(health["stability"])
    yield from edges(health["edges_of_stability"])
    if health["notes"]:
        yield Heading("Notes on training health", 3)
        yield Bullets(tuple(f"{note[:1].upper()}{note[1:]}." for note in health["notes"]))
    yield Paragraph(NO_MEASURE)


def prediction(health: Mapping[str, Any]) -> Iterator[Block]:
    """What predictions are called, of whom they are, and how they were checked."""
    if health["label"] is None:
        yield Paragraph("No leverage, mu or TPR is predicted for this scorer.")
        return
    shadows = health["n_exact_shadows"]
    checked = "no exact shadow" if not shadows else f"{words.count(shadows)} exact shadows"
    failed = f" Not confirmed: {health['failure']}." if health["failure"] else ""
    yield Paragraph(
        f"{health['label'].capitalize()}; linearity_corr "
        f"{words.decimal(health['linearity_corr'])}, on {checked}. Threat model: "
        f"{health['threat_model']}.{failed}",
        "Label.",
    )


def spectra(found: Sequence[Mapping[str, Any]]) -> Iterator[Block]:
    """Ranks under exact names, effective dimensions at stated taus, and eigenvalues."""
    yield Heading("Ranks of spectra", 3)
    if not found:
        yield Paragraph("Not measured.")
        return
    names = [f"{one['of']} ({words.count(one['n_records'])} records)" for one in found]
    yield Table(
        "Ranks under exact names, as the literature calls all of them effective rank. Shifts of "
        "scores are what each candidate moves; gradients are those of its own loss at the training "
        "with everyone in, before any clipping.",
        ("Rank", *names, "What it is"),
        tuple((name, *(_rank(one[key]) for one in found), what) for key, name, what in RANKS),
    )
    yield Table(
        "Effective dimension d_eff(tau) = sum l / (l + tau) over eigenvalues l: in how many "
        "directions records show beside that much noise.",
        ("Spectrum", "tau is", "tau", "d_eff(tau)"),
        tuple(
            (one["of"], at["at"], _short(at["tau"]), _rank(at["value"]))
            for one in found
            for at in one["dimensions"]
        ),
        (1.6, 2, 0.8, 0.8),
    )
    drawn = [one for one in found if any(one["eigenvalues"])]
    if drawn:
        yield _figure(health_plots.eigenvalues(drawn), "Eigenvalues over the largest.")


def records(found: Sequence[Mapping[str, Any]] | None) -> Iterator[Block]:
    """Who stands out, by keyed id."""
    yield Heading("Most exposed records", 3)
    key = "gradient" if not found or found[0]["leverage"] is None else "leverage"
    if not found or found[0][key] is None:
        yield Paragraph("Not measured.")
        return
    by = "leverage" if key == "leverage" else "the length of the gradient"
    yield Table(
        f"The {min(SHOWN, len(found))} most exposed of {words.count(len(found))} candidates, by "
        f"{by}, under keyed ids. The worst record does not follow the mean.",
        ("Candidate", "Leverage", "Shift of scores", "Gradient, unclipped", "mu", "TPR at FPR 1 %"),
        tuple(
            (
                one["candidate"], words.decimal(one["leverage"]), _short(one["shift"]),
                _short(one["gradient"]), _mu(one),
                words.decimal(one["tpr_at_fpr_0.01"], "not told"),
            )
            for one in found[:SHOWN]
        ),
        (1.8, 1, 1, 1, 0.8, 1),
    )  # fmt: skip
    told = f"Every candidate by its place in that order: {by}."
    yield _figure(health_plots.exposure([one[key] for one in found], by), told)


def halves(found: Sequence[Mapping[str, Any]]) -> Iterator[Block]:
    """How alike curations of disjoint sets of records are."""
    yield Heading("Two disjoint halves", 3)
    if not found:
        yield Paragraph("Not measured: there are too few candidates.")
        return
    yield Table(
        "Curations of two disjoint random sets of as many records, mean over repeats: Spearman's "
        "correlation of their scores, and the share of picks that they have in common.",
        ("Records", "Score correlation", "Overlap of picks", "Overlap by chance"),
        tuple(
            (
                words.count(one["n_records"]), words.decimal(one["score_correlation"]),
                words.decimal(one["picks_overlap"]), words.decimal(one["overlap_by_chance"]),
            )
            for one in found
        ),
    )  # fmt: skip
    told = "Stability of scores and picks by number of records; dashed: picks at random."
    yield _figure(health_plots.stability(found), told)


def edges(found: Sequence[Mapping[str, Any]]) -> Iterator[Block]:
    """How sharply losses bend, beside what descent of their rates can follow."""
    yield Heading("Edge of stability", 3)
    if not found:
        yield Paragraph("Not measured.")
        return
    yield Table(
        "eta * lambda_max at the end of a training beside its threshold. With batches or noise a "
        "training stays below it: it is reported, not asserted.",
        ("Training", "Descent", "eta * lambda_max", "Threshold", "Length of the gradient", ""),
        tuple(
            (
                one["part"], one["descent"], _short(one["eta_lambda_max"]),
                _short(one["threshold"]), _short(one["gradient_norm"]),
                _beside_threshold(one),
            )
            for one in found
        ),
        (0.8, 1.6, 1.2, 1, 1.2, 1),
    )  # fmt: skip
    drawn = [one for one in found if one["eta_lambda_max"] is not None]
    if drawn:
        told = "eta * lambda_max over its threshold; dashed: the threshold."
        yield _figure(health_plots.edges(drawn), told)


def _figure(drawing: str, caption: str) -> Figures:
    return Figures((Figure(drawing, caption),))


def _mu(one: Mapping[str, Any]) -> str:
    """JSON has no infinity: where a TPR is told and no mu, the coin can be read."""
    told = one["tpr_at_fpr_0.01"] is not None
    return _short(one["mu"], "infinite" if told else "not told")


def _beside_threshold(edge: Mapping[str, Any]) -> str:
    if edge["eta_lambda_max"] is None:
        return words.NOT_MEASURED
    return "near or above" if edge["near_threshold"] else "below"


def _rank(value: float | None) -> str:
    return words.NOT_MEASURED if value is None else f"{value:,.1f}".removesuffix(".0")


def _short(value: float | None, missing: str = words.NOT_MEASURED) -> str:
    return missing if value is None else f"{value:.3g}"
