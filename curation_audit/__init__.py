"""Audit data-curation pipelines for privacy.

    from curation_audit import audit, load_pipeline
    result = audit(load_pipeline("med.yaml"))
    print(result.verdict.text)

Names are imported when they are first used, so that the command line starts fast.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from curation_audit.version import __version__

if TYPE_CHECKING:
    from curation_audit.api import Pipeline, audit, load_pipeline, release, sweep
    from curation_audit.attacks import ATTACKS
    from curation_audit.auditing.engine import AuditResult
    from curation_audit.auditing.plan import (
        AttackSettings,
        AuditPlan,
        PolicyRule,
        Threat,
    )
    from curation_audit.auditing.run_settings import RunSettings
    from curation_audit.checks import InputError
    from curation_audit.curator import Curator
    from curation_audit.dp.claims import DpSgdClaim, EpsilonDeltaClaim, GaussianClaim
    from curation_audit.pipelines.canaries import CanarySettings, canary_features
    from curation_audit.pipelines.protection.base import Budget
    from curation_audit.pipelines.protection.fine_tuning import FineTuneSettings
    from curation_audit.pipelines.protection.protect import ProtectSettings
    from curation_audit.pipelines.rules.cut import Cut, select
    from curation_audit.pipelines.rules.threshold import Threshold
    from curation_audit.pipelines.rules.top import TopFraction, TopK
    from curation_audit.releases.release import Release
    from curation_audit.results import Estimate, Metrics
    from curation_audit.sweeping.plan import SweepSettings
    from curation_audit.training.spectral_modules import SpectralLinear, spectral_param_groups

_HOMES = {
    "ATTACKS": "attacks",
    "AttackSettings": "auditing.plan",
    "AuditPlan": "auditing.plan",
    "AuditResult": "auditing.engine",
    "Budget": "pipelines.protection.base",
    "CanarySettings": "pipelines.canaries",
    "Curator": "curator",
    "Cut": "pipelines.rules.cut",
    "DpSgdClaim": "dp.claims",
    "EpsilonDeltaClaim": "dp.claims",
    "Estimate": "results",
    "FineTuneSettings": "pipelines.protection.fine_tuning",
    "GaussianClaim": "dp.claims",
    "InputError": "checks",
    "Metrics": "results",
    "Pipeline": "api",
    "PolicyRule": "auditing.plan",
    "ProtectSettings": "pipelines.protection.protect",
    "Release": "releases.release",
    "RunSettings": "auditing.run_settings",
    "SpectralLinear": "training.spectral_modules",
    "SweepSettings": "sweeping.plan",
    "Threat": "auditing.plan",
    "Threshold": "pipelines.rules.threshold",
    "TopFraction": "pipelines.rules.top",
    "TopK": "pipelines.rules.top",
    "audit": "api",
    "canary_features": "pipelines.canaries",
    "load_pipeline": "api",
    "release": "api",
    "select": "pipelines.rules.cut",
    "spectral_param_groups": "training.spectral_modules",
    "sweep": "api",
}

__all__ = [
    "ATTACKS",
    "AttackSettings",
    "AuditPlan",
    "AuditResult",
    "Budget",
    "CanarySettings",
    "Curator",
    "Cut",
    "DpSgdClaim",
    "EpsilonDeltaClaim",
    "Estimate",
    "FineTuneSettings",
    "GaussianClaim",
    "InputError",
    "Metrics",
    "Pipeline",
    "PolicyRule",
    "ProtectSettings",
    "Release",
    "RunSettings",
    "SpectralLinear",
    "SweepSettings",
    "Threat",
    "Threshold",
    "TopFraction",
    "TopK",
    "__version__",
    "audit",
    "canary_features",
    "load_pipeline",
    "release",
    "select",
    "spectral_param_groups",
    "sweep",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
