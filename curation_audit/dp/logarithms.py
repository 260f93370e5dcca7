"""Whether the logarithms of this machine's numpy are as exact as the proof of keyed top-k assumes.

``docs/safe-top-k.md`` grants each logarithm two units in the last place. No standard promises that,
and numpy has code of its own for some processors; so a few values are compared, before picks, with
correctly rounded ones (made with 60 digits).
"""

from typing import Final

import numpy as np

from curation_audit.checks import InputError
from curation_audit.types import Floats

# the ends and the middle of what noise asks for: x and log(x), then x and log1p(-x)
LOG: Final = (
    (2.938735877055719e-39, -88.722839111673),
    (2.3665827156630354e-30, -68.21610576732643),
    (1.110231494954629e-16, -36.73679294031167),
    (1e-09, -20.72326583694641),
    (0.0123456789, -4.394449163772439),
    (0.25, -1.3862943611198906),
    (0.36787944117144233, -1.0),
    (0.4999999999999999, -0.6931471805599455),
    (0.5, -0.6931471805599453),
    (4.408103815583578e-39, -88.31737400356484),
    (1e-17, -39.14394658089878),
    (0.1, -2.3025850929940455),
    (0.6931471805599453, -0.36651292058166435),
    (0.9999999999999, -1.000310945187316e-13),
    (1.0000001, 9.999999505838704e-08),
    (2.5, 0.9162907318741551),
    (37.4, 3.6216707044204863),
    (88.5, 4.483002552013883),
)
LOG1P_OF_MINUS: Final = (
    (2.938735877055719e-39, -2.938735877055719e-39),
    (2.3665827156630354e-30, -2.3665827156630354e-30),
    (1.110231494954629e-16, -1.110231494954629e-16),
    (1e-09, -1.0000000005000001e-09),
    (0.0123456789, -0.012422519884807155),
    (0.25, -0.2876820724517809),
    (0.36787944117144233, -0.45867514538708193),
    (0.4999999999999999, -0.6931471805599451),
    (0.5, -0.6931471805599453),
)


def check_logarithms() -> None:
    """Raise ``InputError`` where one is over a unit in the last place from the nearest float.

    Such a value is within one and a half units of the true one.
    """
    of, wanted = np.array(LOG).T
    of_minus, wanted_of_minus = np.array(LOG1P_OF_MINUS).T
    if _far(np.log(of), wanted) or _far(np.log1p(-of_minus), wanted_of_minus):
        raise InputError(
            "numpy",
            "computes a logarithm less exactly than the proof of the noise needs",
            "use another build of numpy, or another machine",
        )


def _far(found: Floats, wanted: Floats) -> bool:
    return bool((np.abs(found - wanted) > np.spacing(np.abs(wanted))).any())
