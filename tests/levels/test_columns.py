"""What is wrong with a column is said of its first row."""

import numpy as np
import pytest

from levels.dataset.columns import check_finite


@pytest.mark.parametrize("shape", [(5,), (5, 2), (5, 2, 3)], ids=str)
def test_the_first_row_that_is_not_finite_is_named(shape):
    column = np.ones(shape, np.float32)
    column[4] = np.inf
    column.reshape(5, -1)[2, -1] = np.nan
    with pytest.raises(ValueError, match=r"here: the column level.a must be finite, got nan in row 2\."):
        check_finite({"level.whole": np.ones(3), "level.a": column}, "here")
