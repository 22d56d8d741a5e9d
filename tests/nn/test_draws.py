"""Fixed draws: moments of a standard normal, exactly."""

import pytest
import torch

from lucidvi.inference import orthogonal_draws


@pytest.mark.parametrize("n_latent", [1, 2, 3, 10, 50])
@pytest.mark.parametrize("n_draws", [1, 16, 250])
def test_moments_up_to_the_third(n_latent, n_draws):
    draws = orthogonal_draws(n_draws, n_latent)
    assert len(draws) >= n_draws
    assert len(draws) < n_draws + 2 * n_latent
    zero = torch.zeros(n_latent, dtype=torch.float64)
    torch.testing.assert_close(draws.mean(dim=0), zero)
    identity = torch.eye(n_latent, dtype=torch.float64)
    torch.testing.assert_close(draws.T @ draws / len(draws), identity)
    third = torch.einsum("si,sj,sk->ijk", draws, draws, draws) / len(draws)
    assert float(third.abs().max()) < 1e-10


def test_mean_of_a_function_that_is_not_a_polynomial():
    """E[cos(a' z)] = exp(-|a|^2 / 2): nearer than as many independent draws come."""
    a = 0.5 * torch.randn(200, 10, dtype=torch.float64) / 10**0.5
    want = (-a.square().sum(dim=1) / 2).exp()

    def error(draws):
        return float(((draws @ a.T).cos().mean(dim=0) - want).abs().mean())

    assert error(orthogonal_draws(100, 10)) < error(torch.randn(100, 10, dtype=torch.float64)) / 5


def test_seed():
    one, same, other = (orthogonal_draws(20, 4, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(one, same)
    assert not torch.allclose(one, other)
