"""Lower bounds on epsilon from evidence, one theorem a file, and one estimate.

Everything here takes plain arrays and numbers of the *evaluation* block; whatever was chosen
(attack, threshold, direction, candidate, number of guesses) was chosen on the fit block. A bound
of exactly 0.0 is a measurement that shows nothing. ``joint_beta_estimate`` is an estimate.

| bound | conditions beside the fit/evaluation split | Gaussian hypothesis |
|---|---|---|
| pair mean | complementary fair coins in a pair; any dependence inside a pair | with and without |
| one run | fair independent coins; evidence takes none of them; one row per pair | without |
| f-DP one run | as one run | with |
| Clopper-Pearson | one candidate; fresh randomness per row; S fixed beforehand | with and without |
"""

from curation_audit.statistics.bounds.clopper_pearson import (
    Counts,
    clopper_pearson_epsilon,
    clopper_pearson_epsilon_resolution,
    clopper_pearson_gdp_epsilon,
    clopper_pearson_gdp_epsilon_resolution,
    clopper_pearson_mu,
    multi_split_epsilon,
    rate_limits,
)
from curation_audit.statistics.bounds.combination import (
    bonferroni_confidence,
    rueger_confidence,
    rueger_lower,
)
from curation_audit.statistics.bounds.joint_beta import (
    joint_beta_estimate,
    joint_beta_probability,
)
from curation_audit.statistics.bounds.one_run import (
    Guesses,
    best_n_per_row,
    f_dp_one_run_epsilon,
    f_dp_one_run_epsilon_resolution,
    f_dp_one_run_mu,
    f_dp_one_run_refuted,
    guesses,
    one_run_epsilon,
    one_run_epsilon_resolution,
    one_run_p_value,
)
from curation_audit.statistics.bounds.pair_mean import (
    epsilon_of_share,
    means_rejected,
    mu_of_share,
    pair_mean_epsilon,
    pair_mean_epsilon_resolution,
    pair_mean_gdp_epsilon,
    pair_mean_gdp_epsilon_resolution,
    pair_mean_lower,
    pair_mean_mu,
    pair_mean_mu_resolution,
    pair_shares,
    share_of_epsilon,
)

__all__ = [
    "Counts",
    "Guesses",
    "best_n_per_row",
    "bonferroni_confidence",
    "clopper_pearson_epsilon",
    "clopper_pearson_epsilon_resolution",
    "clopper_pearson_gdp_epsilon",
    "clopper_pearson_gdp_epsilon_resolution",
    "clopper_pearson_mu",
    "epsilon_of_share",
    "f_dp_one_run_epsilon",
    "f_dp_one_run_epsilon_resolution",
    "f_dp_one_run_mu",
    "f_dp_one_run_refuted",
    "guesses",
    "joint_beta_estimate",
    "joint_beta_probability",
    "means_rejected",
    "mu_of_share",
    "multi_split_epsilon",
    "one_run_epsilon",
    "one_run_epsilon_resolution",
    "one_run_p_value",
    "pair_mean_epsilon",
    "pair_mean_epsilon_resolution",
    "pair_mean_gdp_epsilon",
    "pair_mean_gdp_epsilon_resolution",
    "pair_mean_lower",
    "pair_mean_mu",
    "pair_mean_mu_resolution",
    "pair_shares",
    "rate_limits",
    "rueger_confidence",
    "rueger_lower",
    "share_of_epsilon",
]
