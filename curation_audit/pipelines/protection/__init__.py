"""Protections: what takes the place of a leaking scorer or selection rule.

To add one: write ``protection/<name>.py``, add a line to ``MECHANISMS`` and a row to ``CASES`` in
``tests/pipelines/test_protection.py``.
"""

from typing import Any, Final

from curation_audit.pipelines.protection.centroid_votes import CentroidVotes
from curation_audit.pipelines.protection.domain_votes import DomainVotes
from curation_audit.pipelines.protection.dp_sgd import DpGd, DpSgd
from curation_audit.pipelines.protection.dsir_histogram import DsirHistogram
from curation_audit.pipelines.protection.gaussian_mean import GaussianMean
from curation_audit.pipelines.protection.less_sums import LessSums
from curation_audit.pipelines.protection.module_sgd import ModuleSgd
from curation_audit.pipelines.protection.noisy_top_k import NoisySelection
from curation_audit.pipelines.protection.rff_density import RffDensity
from curation_audit.pipelines.protection.shard_votes import ShardVoting
from curation_audit.pipelines.protection.trak_sum import TrakSum
from curation_audit.pipelines.protection.ulsif import Ulsif

MECHANISMS: Final[dict[str, type[Any]]] = {
    "centroid_votes": CentroidVotes,
    "domain_votes": DomainVotes,
    "dp_gd": DpGd,
    "dp_sgd": DpSgd,
    "dsir_histogram": DsirHistogram,
    "gaussian_mean": GaussianMean,
    "less_sums": LessSums,
    "module_sgd": ModuleSgd,
    "rff_density": RffDensity,
    "shard_votes": ShardVoting,
    "trak_sum": TrakSum,
    "ulsif": Ulsif,
}
"""Private scorers; ``NAME + noisy_top_k`` puts noise on the selection, too."""

SELECTION: Final = NoisySelection.name
