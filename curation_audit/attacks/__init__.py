"""Who attacks: evidence of membership from what a stage shows.

To add one: write ``attacks/<name>.py``, add a line to ``ATTACKS`` and a row to ``CASES`` in
``tests/attacks/test_contract.py``. It then appears in the YAML and in the report.
"""

from typing import Final

from curation_audit.attacks.base import Attack
from curation_audit.attacks.base_ratio import BaseRatio
from curation_audit.attacks.bavaria import Bavaria
from curation_audit.attacks.binary_lira import BinaryLira
from curation_audit.attacks.bottleneck import Bottleneck
from curation_audit.attacks.extract import Extract
from curation_audit.attacks.fingerprint import Fingerprint
from curation_audit.attacks.gibbs import Gibbs
from curation_audit.attacks.iterative import Iterative
from curation_audit.attacks.jaccard import Jaccard
from curation_audit.attacks.known_others import KnownOthers
from curation_audit.attacks.label_only import LabelOnly
from curation_audit.attacks.least_squares import LeastSquares
from curation_audit.attacks.lira import Lira
from curation_audit.attacks.lira_best_row import LiraBestRow
from curation_audit.attacks.lira_offline import LiraOffline
from curation_audit.attacks.loss import Loss
from curation_audit.attacks.mask_extract import MaskExtract
from curation_audit.attacks.mask_filter import MaskFilter
from curation_audit.attacks.mask_trace import MaskTrace
from curation_audit.attacks.matched_filter import MatchedFilter
from curation_audit.attacks.nearest_pool import NearestPool
from curation_audit.attacks.quantile import Quantile
from curation_audit.attacks.rmia import Rmia
from curation_audit.attacks.rmia_offline import RmiaOffline
from curation_audit.attacks.shadow_filter import ShadowFilter
from curation_audit.attacks.through_mask import ThroughMask
from curation_audit.attacks.trace import Trace
from curation_audit.attacks.voting import Voting

ATTACKS: Final[dict[str, type[Attack]]] = {
    "lira_best_row": LiraBestRow,
    "trace": Trace,
    "extract": Extract,
    "matched_filter": MatchedFilter,
    "shadow_filter": ShadowFilter,
    "known_others": KnownOthers,
    "least_squares": LeastSquares,
    "voting": Voting,
    "binary_lira": BinaryLira,
    "mask_trace": MaskTrace,
    "mask_extract": MaskExtract,
    "mask_filter": MaskFilter,
    "jaccard": Jaccard,
    "iterative": Iterative,
    "gibbs": Gibbs,
    "loss": Loss,
    "lira": Lira,
    "lira_offline": LiraOffline,
    "rmia": Rmia,
    "rmia_offline": RmiaOffline,
    "base": BaseRatio,
    "bavaria": Bavaria,
    "quantile": Quantile,
    "label_only": LabelOnly,
    "nearest_pool": NearestPool,
    "through_mask": ThroughMask,
    "bottleneck": Bottleneck,
    "fingerprint": Fingerprint,
}
