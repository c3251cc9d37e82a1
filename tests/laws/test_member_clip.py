"""Meta-gradients of single members, clipped before their mean."""

import numpy as np
import pytest
from test_meta_optimizer import ZERO, at, plane, slope_of, toy


def test_no_member_pulls_harder_than_the_limit():
    """Slopes of norms 5, 0.1 and 300: the first and the last are scaled down to 2 each, in blocks as at once."""
    slopes = np.array([[3.0, 4.0, 0.0], [0.0, 0.1, 0.0], [0.0, 0.0, -300.0]])
    want = np.array([1.2, 1.6 + 0.1, -2.0]) / 3
    for block in (None, 1):
        clipped, info = slope_of(toy(plane), at(slopes), ZERO, member_clip=2.0, block=block)
        np.testing.assert_allclose(clipped, want, rtol=1e-5)
        assert float(info["clipped"]) == pytest.approx(2 / 3)
    free, info = slope_of(toy(plane), at(slopes), ZERO, member_clip=1e3)
    np.testing.assert_allclose(free, slopes.mean(axis=0), rtol=1e-5)
    assert float(info["clipped"]) == 0 and "clipped" not in slope_of(toy(plane), at(slopes), ZERO)[1]
    still, _ = slope_of(toy(plane), at(np.zeros((2, 3))), ZERO, member_clip=2.0)
    assert not np.any(still)
    lost, info = slope_of(toy(plane), at(np.array([[np.inf, 0.0, 0.0], [1.0, 1.0, 1.0]])), ZERO, member_clip=2.0)
    assert not np.all(np.isfinite(lost)) and int(info["nonfinite"]) > 0  # divergence is not hidden
