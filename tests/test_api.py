"""Pipelines from Python: what is refused before anything runs."""

from dataclasses import replace

import numpy as np
import pytest

from curation_audit import InputError
from curation_audit.api import Pipeline
from curation_audit.pipelines.downstream.cnn import Cnn
from curation_audit.pipelines.rules.top import TopK

RNG = np.random.default_rng(0)
BASE = Pipeline(
    private=RNG.normal(size=(20, 4)),
    public=RNG.normal(size=(60, 4)),
    labels={"public": RNG.integers(0, 2, 60)},
    select=TopK(k=5),
)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"scorer": "neares"}, "scorer: found 'neares'; did you mean 'nearest'"),
        ({"scorer": 3}, "scorer: found int; expected a name, a scorer object or a function"),
        ({"scorer": "flqmi"}, r"scorer: 'flqmi' needs k; give an object: Flqmi\(k=...\) of curat"),
        ({"train": "mpl"}, "train: found 'mpl'; did you mean 'mlp'"),
        ({"train": "cnn"}, r"train: 'cnn' needs shape; give an object: Cnn\(shape=...\) of curat"),
        ({"train": Cnn(shape=(5, 5))}, r"train.shape: .*4"),
        ({"select": "top_k"}, r"select: found 'top_k'; expected a rule, e.g. TopK\(k=100\)"),
    ],
)
def test_parts_that_do_not_fit(changed, message):
    with pytest.raises(InputError, match=message):
        replace(BASE, **changed).plan()


def test_parts_by_name_are_those_of_a_file_with_default_settings():
    plan = replace(BASE, scorer="mean", train="knn").plan()
    assert (plan.scorer.name, plan.downstream.name) == ("mean", "knn")
    assert replace(BASE, train=None).plan().downstream is None
