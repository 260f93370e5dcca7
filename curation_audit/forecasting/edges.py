"""The edge of stability of a curation's trainings: ``eta * lambda_max`` beside its threshold.

Of the scorer with all candidates in, and of the model on the picks of that scorer. Where a
training is no descent of a fixed rate nothing is told, and a note says why.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

import numpy as np
import torch
from torch import Tensor

from curation_audit.auditing.curation import score_shadows
from curation_audit.auditing.plan import AuditPlan
from curation_audit.forecasting.at_training import (
    descent_without_noise,
    network_of,
    network_without_noise,
    real_streams,
)
from curation_audit.observations import Selection
from curation_audit.pipelines.base import Rows
from curation_audit.pipelines.downstream.mlp import Mlp
from curation_audit.pipelines.downstream.networks import task_of
from curation_audit.pipelines.rules.cut import tie_order
from curation_audit.pipelines.scorers.classifier import background_rows
from curation_audit.pipelines.scorers.mlp_classifier import MlpClassifier
from curation_audit.pipelines.scorers.private_classifier import PrivateClassifier
from curation_audit.streams import ShadowStreams
from curation_audit.training.in_step import Trained, train_in_step
from curation_audit.training.mlp import Perceptrons, as_parameters, row_orders
from curation_audit.training.optimisers import Parameters
from curation_audit.training.recipe import Recipe
from curation_audit.training.record_gradients import clip_factors, record_lengths
from curation_audit.training.sharpness import (
    Remembering,
    Sharpness,
    class_loss,
    logit_loss,
    sharpness,
    stability_threshold,
    threshold_of_means,
)
from curation_audit.training.spectral import Scale

Part: TypeAlias = Literal["scorer", "model"]
NEAR_EDGE = 0.9


@dataclass(frozen=True, slots=True)
class Edge:
    """``eta * lambda_max`` of a real training, the threshold of stability, the gradient's length.

    ``descent`` says of what: what multiplies the steps of single parameters counts into the
    Hessian. With batches or noise a training stays below the threshold: it is reported, not
    asserted.
    """

    part: Part
    descent: str
    eta_lambda_max: float
    threshold: float
    gradient_norm: float

    @property
    def near(self) -> bool:
        """Whether what linearises this training is in doubt."""
        return self.eta_lambda_max > NEAR_EDGE * self.threshold


@dataclass(frozen=True, slots=True)
class Edges:
    """Of every training that has one, and why others have none."""

    found: tuple[Edge, ...]
    notes: tuple[str, ...]


def edges_of(plan: AuditPlan) -> Edges:
    """Of the scorer, and of the model where one is trained."""
    parts = [edge_of_scorer(plan)]
    if plan.downstream is not None:
        parts.append(edge_of_model(plan))
    return Edges(
        tuple(one for one in parts if isinstance(one, Edge)),
        tuple(one for one in parts if isinstance(one, str)),
    )


def edge_of_scorer(plan: AuditPlan) -> Edge | str:
    """With all candidates in; in words why not for what is no such descent."""
    scorer = plan.scorer
    if isinstance(scorer, MlpClassifier):
        return _of_network(plan, scorer)
    if isinstance(scorer, PrivateClassifier):
        clipped = _of_clipped_network if scorer.settings.hidden else _of_regression
        return clipped(plan, scorer)
    return (
        "of the scorer eta * lambda_max is not measured: "
        f"{scorer.name} is no descent of a fixed rate, or none that is known here"
    )


def _of_network(plan: AuditPlan, scorer: MlpClassifier) -> Edge | str:
    private = plan.data.private
    background = background_rows(plan.data.pool, scorer.background)
    rows = torch.as_tensor(np.concatenate([private.features, background]))
    classes = (torch.arange(len(rows)) < len(private)).long()
    recipe, widths = scorer.recipe(), (rows.shape[1], *scorer.hidden, 2)
    scales = scorer.rule().dense_scales(recipe, widths)
    parameters = as_parameters(network_of(plan, scorer))
    return _of_momentum("scorer", recipe, parameters, scales, rows, classes)


def _of_momentum(
    part: Part,
    recipe: Recipe,
    parameters: Parameters,
    scales: Sequence[Scale] | None,
    rows: Tensor,
    classes: Tensor,
) -> Edge | str:
    each = scales or [Scale()] * len(parameters)
    decay = [recipe.weight_decay * one.decay for one in each]
    spread = [one.rate**0.5 for one in each]
    found = sharpness(class_loss(rows, classes, decay), parameters, spread)
    threshold = stability_threshold(recipe.momentum)
    return _edge(part, "momentum SGD", recipe.learning_rate, found, threshold)


def _of_regression(plan: AuditPlan, scorer: PrivateClassifier) -> Edge | str:
    """At the weights of descent without noise; its Hessian is a matrix of few numbers."""
    weights = descent_without_noise(plan, scorer)
    objective = scorer.objective(plan.data.private, plan.data.pool, 1.0)
    largest = float(np.linalg.eigvalsh(objective.around(weights).hessian)[-1])
    slope = float(np.linalg.norm(objective.gradient(weights)))
    return _of_clipped(scorer, Sharpness(largest, slope, 0))


def _of_clipped_network(plan: AuditPlan, scorer: PrivateClassifier) -> Edge | str:
    """At a network that was trained without noise.

    A unit that is clipped counts by the factor that clips it. That its clipped gradient turns but
    does not grow is left out, which as a rule makes this too high.
    """
    settings, private = scorer.settings, plan.data.private
    network = network_without_noise(plan, scorer)
    embedded, public = scorer.embed(private.features), scorer.embed(plan.data.pool.features)
    by = settings.multipliers(embedded.shape[1])
    lengths = record_lengths(network, embedded, private.owners, by)
    n_units = settings.expected_units / settings.sampling_rate
    of_private = (clip_factors(lengths, settings.clip) / n_units)[private.owners]
    shares = np.concatenate([of_private, np.full(len(public), 1 / len(public))])
    spread = [1.0] * 2 * len(network) if by is None else [s for pair in by for s in pair]
    rows = torch.as_tensor(np.concatenate([embedded, public]))
    targets = torch.arange(len(rows)) < len(private)
    decay = [settings.l2 / s**2 for s in spread]  # on V, where weights are s V
    loss = logit_loss(rows, targets, torch.as_tensor(shares), decay)
    return _of_clipped(scorer, sharpness(loss, as_parameters(network), spread))


def _of_clipped(scorer: PrivateClassifier, found: Sharpness) -> Edge | str:
    settings = scorer.settings
    threshold = stability_threshold(settings.momentum)
    named = f"{scorer.name} without its noise"
    return _edge("scorer", named, settings.learning_rate, found, threshold)


def edge_of_model(plan: AuditPlan) -> Edge | str:
    """Of the model on what the real curation picks; in words why not."""
    model = plan.downstream
    because = _why_no_model(plan)
    if because is not None or not isinstance(model, Mlp):
        return f"of the model eta * lambda_max is not measured: {because}"
    selection, streams = _real_picks(plan)
    if not selection.sizes.all():
        return "of the model eta * lambda_max is not measured: no row is picked"
    return _of_model(replace(model, device="cpu"), plan, selection, streams)


def _why_no_model(plan: AuditPlan) -> str | None:
    model = plan.downstream
    if plan.fine_tuned is not None:
        return "it is fine-tuned on private rows after the picks"
    if not isinstance(model, Mlp):
        named = "no model" if model is None else model.name
        return f"{named} is no descent of a fixed rate, or none that is known here"
    if model.schedule != "constant":
        return f"its rate follows a schedule ({model.schedule}), and is none that is fixed"
    if model.optimiser == "muon":
        return "of muon no threshold is known"
    return None


def _real_picks(plan: AuditPlan) -> tuple[Selection, ShadowStreams]:
    pool, streams = plan.data.pool, real_streams(plan)
    everyone = np.ones((1, plan.data.private.n_candidates), dtype=bool)
    scores = score_shadows(plan, everyone, streams)
    return plan.rule.select(scores, tie_order(pool.ids, plan.seed), streams, pool), streams


def _of_model(
    model: Mlp, plan: AuditPlan, selection: Selection, streams: ShadowStreams
) -> Edge | str:
    pool, n_classes = plan.data.pool, len(plan.data.classes)
    trained, scales = _trained(model, pool, selection, n_classes, streams)
    parameters = tuple(one[0] for one in trained.parameters)
    picked = task_of(pool, selection, n_classes, model, "cpu").examples
    at = picked.index[0][torch.as_tensor(picked.real[0])]
    rows, classes = picked.rows[at], picked.targets[at].argmax(dim=1)
    if model.optimiser == "sgd":
        return _of_momentum("model", model, parameters, scales, rows, classes)
    each = scales or (Scale(),) * len(parameters)
    spread = [
        (scale.rate / (square[0].sqrt() + model.epsilon * scale.epsilon)).sqrt()
        for scale, square in zip(each, trained.state, strict=True)
    ]
    found = sharpness(class_loss(rows, classes), parameters, spread)
    threshold = threshold_of_means(model.betas[0])
    return _edge("model", "AdamW, preconditioned", model.learning_rate, found, threshold)


def _trained(
    model: Mlp, pool: Rows, selection: Selection, n_classes: int, streams: ShadowStreams
) -> tuple[Trained, Sequence[Scale] | None]:
    """As the model trains; its state is AdamW's second moments where that is the optimiser."""
    task = task_of(pool, selection, n_classes, model, "cpu")
    widths = (pool.features.shape[1], *model.hidden, n_classes)
    rule = model.rule()
    layers = rule.dense(widths, streams.generators("initial weights"), task.examples.rows)
    start, scales = as_parameters(layers), rule.dense_scales(model, widths)
    orders = row_orders(task.examples.real, model.epochs, streams.generators("row order"))
    networks = Perceptrons()
    kept = Remembering.of(networks, model, start) if model.optimiser == "adamw" else networks
    done = train_in_step(kept, start, task.examples, orders, model, task.validation, scales)
    return done, scales


def _edge(part: Part, descent: str, rate: float, found: Sharpness, threshold: float) -> Edge | str:
    if not np.isfinite(found.largest):
        return f"of the {part} eta * lambda_max is not measured: its training diverged"
    return Edge(part, descent, rate * found.largest, threshold, found.gradient_norm)


def notes_on(edges: Edges) -> Iterator[str]:
    """What was not measured, and which training is near its edge."""
    yield from edges.notes
    for edge in edges.found:
        if edge.near:
            yield (
                f"of the {edge.part} eta * lambda_max is {edge.eta_lambda_max:.3g}, near or above "
                f"its threshold {edge.threshold:.3g}: do not trust what is linearised at this "
                "training"
            )
