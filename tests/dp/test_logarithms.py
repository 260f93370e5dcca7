"""The self-test of logarithms: its table is right, and a worse logarithm is refused."""

import mpmath
import numpy as np
import pytest

from curation_audit.checks import InputError
from curation_audit.dp.keyed_top_k import KeyedTopK
from curation_audit.dp.logarithms import LOG, LOG1P_OF_MINUS, check_logarithms


def test_the_table_is_correctly_rounded():
    with mpmath.workdps(60):
        assert all(float(mpmath.log(mpmath.mpf(x))) == wanted for x, wanted in LOG)
        assert all(float(mpmath.log1p(-mpmath.mpf(x))) == y for x, y in LOG1P_OF_MINUS)


def test_this_machine_passes():
    check_logarithms()


@pytest.mark.parametrize("name", ["log", "log1p"])
def test_a_logarithm_that_is_three_units_off_is_refused_before_anything_is_picked(
    name, monkeypatch
):
    real = getattr(np, name)
    monkeypatch.setattr(np, name, lambda x: real(x) + 3 * np.spacing(np.abs(real(x))))
    query = KeyedTopK(k=1, delta_inf=1.0, monotone=True, bound=1.0, rate=0.1)
    with pytest.raises(InputError, match="logarithm"):
        query.best(np.zeros(3), ["a", "b", "c"], bytes(32))
