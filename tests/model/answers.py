"""The queries that every model answers about cells, for the tests that go through all of them."""

#: Public methods with an argument ``indices``, and what they are called with beside it.
QUERIES = {
    "get_aggregated_posterior": {},
    "get_elbo": {"return_mean": False},
    "get_feature_correlation_matrix": {"n_samples": 2},
    "get_inference_gap": {},
    "get_latent_library_size": {"give_mean": False},
    "get_latent_representation": {},
    "get_likelihood_parameters": {},
    "get_marginal_ll": {"return_mean": False, "n_mc_samples": 3},
    "get_normalized_expression": {},
    "get_reconstruction_error": {"return_mean": False},
    "posterior_predictive_sample": {},
    "refine_posterior": {},
}
