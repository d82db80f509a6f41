"""Ridge regression against scikit-learn's, with weights."""

import numpy as np
import pytest
from sklearn import linear_model

from retarget.methods.ridge import Ridge


@pytest.mark.parametrize(("n", "width"), [(30, 8), (12, 40), (2, 3)])
@pytest.mark.parametrize("strength", [1.0, 1e-2, 1e-4])
def test_ridge_is_scikit_learns(n, width, strength):
    rng = np.random.default_rng(n)
    x = rng.normal(size=(n, width)).astype(np.float32) / np.float32(np.sqrt(width)) + 1
    y, weights = rng.normal(size=n) * 5 + 100, rng.uniform(0.5, 2, size=n)
    weight, bias = Ridge.of(x, y, weights).solve(strength)
    peer = linear_model.Ridge(alpha=strength * weights.sum(), solver="svd")
    peer.fit(x.astype(float), y, sample_weight=weights)
    np.testing.assert_allclose(weight, peer.coef_, rtol=2e-3, atol=2e-3)
    np.testing.assert_allclose(x @ weight + bias, peer.predict(x), rtol=1e-4)
