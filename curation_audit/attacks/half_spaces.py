"""The cuts of the pool that explain the picks, fitted once for all who ask."""

from curation_audit.attacks.base import known_pool
from curation_audit.observations import Knowledge, Observation
from curation_audit.training.halfspaces import HalfSpaces, fit_half_spaces


def half_spaces(observation: Observation, knowledge: Knowledge, steps: int) -> HalfSpaces:
    """One cut for each shadow, by ``steps`` of gradient descent; no coin is used."""
    pool = known_pool(knowledge)
    return observation.derived(
        f"half spaces, {steps} steps",
        (pool,),
        lambda: fit_half_spaces(pool, observation.selection.mask(), steps),
    )
