"""Who attacks: evidence of membership from what a stage shows.

To add one: write ``attacks/<name>.py``, add a line to ``SINGLE`` and a row to ``CASES`` in
``tests/attacks/test_contract.py``. It then appears in the YAML and in the report.
"""

from typing import Final

from curation_audit.attacks.analytic_model import AnalyticModel
from curation_audit.attacks.analytic_picks import AnalyticPicks
from curation_audit.attacks.base import Attack
from curation_audit.attacks.base_ratio import BaseRatio
from curation_audit.attacks.bavaria import Bavaria
from curation_audit.attacks.binary_lira import BinaryLira
from curation_audit.attacks.bottleneck import Bottleneck
from curation_audit.attacks.cavity_filter import CavityFilter
from curation_audit.attacks.ensemble import ON_MODEL, ON_SCORES, ON_SELECTION, Ensemble
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
from curation_audit.attacks.rank_filter import RankFilter
from curation_audit.attacks.rmia import Rmia
from curation_audit.attacks.rmia_offline import RmiaOffline
from curation_audit.attacks.score_match import ScoreMatch
from curation_audit.attacks.shadow_filter import ShadowFilter
from curation_audit.attacks.through_mask import ThroughMask
from curation_audit.attacks.top_filter import TopFilter
from curation_audit.attacks.trace import Trace
from curation_audit.attacks.voting import Voting

SINGLE: Final[tuple[Attack, ...]] = (
    LiraBestRow(),
    Trace(),
    Extract(),
    MatchedFilter(),
    RankFilter(),
    TopFilter(),
    ShadowFilter(),
    CavityFilter(),
    KnownOthers(),
    LeastSquares(),
    Voting(),
    ScoreMatch(),
    BinaryLira(),
    MaskTrace(),
    MaskExtract(),
    MaskFilter(),
    AnalyticPicks(),
    Jaccard(),
    Iterative(),
    Gibbs(),
    Loss(),
    Lira(),
    LiraOffline(),
    Rmia(),
    RmiaOffline(),
    BaseRatio(),
    Bavaria(),
    Quantile(),
    LabelOnly(),
    NearestPool(),
    ThroughMask(),
    Bottleneck(),
    AnalyticModel(),
    Fingerprint(),
)

ENSEMBLES: Final[tuple[Attack, ...]] = (
    Ensemble(
        name="score_ensemble",
        title="Attacks on scores, stacked",
        stage="scores",
        needs=ShadowFilter.needs,
        members=ON_SCORES + ON_SELECTION,
    ),
    Ensemble(
        name="selection_ensemble",
        title="Attacks on the picks, stacked",
        stage="selection",
        needs=MaskExtract.needs,
        members=ON_SELECTION,
    ),
    Ensemble(
        name="model_ensemble",
        title="Attacks on the model, stacked",
        stage="model",
        needs=Lira.needs,
        members=ON_MODEL,
    ),
    Ensemble(
        name="joint_ensemble",
        title="Attacks on everything that is released, stacked",
        stage="joint",
        needs=ShadowFilter.needs | {"several stages"},
        members=ON_SCORES + ON_SELECTION + ON_MODEL,
    ),
)

ATTACKS: Final[dict[str, Attack]] = {attack.name: attack for attack in SINGLE + ENSEMBLES}
