"""The gaps against the exact ones."""

import pytest
import torch

from lucidvi.inference import inference_gap


@pytest.mark.parametrize("n_latent", [2, 10, 50])
@pytest.mark.parametrize("condition", ["well", "badly"])
@pytest.mark.parametrize("encoder", ["exact", "biased", "narrow"])
def test_gaps_of_a_linear_gaussian(linear_gaussian, n_latent, condition, encoder):
    target = linear_gaussian(n_latent, condition, encoder)
    gap = inference_gap(target, n_chains=16, n_temperatures=5)
    for name in ("amortization_gap", "approximation_gap"):
        error = getattr(gap, name) - getattr(target, name)
        assert abs(float(error.mean())) < 0.05
        assert float(error.abs().max()) < 0.1
    total = gap.marginal.log_px - gap.elbo
    torch.testing.assert_close(gap.amortization_gap + gap.approximation_gap, total)
