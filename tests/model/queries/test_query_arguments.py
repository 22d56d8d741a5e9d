"""Arguments of queries and objectives that do not exist end in an error that names the nearest."""

import pickle

import pytest

from lucidvi.errors import ArgumentError
from lucidvi.train import FreeBits, ImportanceWeighted, SemiAmortized

#: What is called with an argument that does not exist, and what the error says.
WRONG = {
    "get_latent_representation": ({"n_draw": 3}, "get_latent_representation.*n_draw"),
    "get_likelihood_parameters": ({"gene_list": ["gene1"]}, "does not take `gene_list`"),
    "differential_expression": ({"indices": [0]}, "did you mean 'subset_idx'"),
    "get_normalized_expression": ({"gene_lst": ["gene1"]}, "did you mean 'gene_list'"),
    "posterior_predictive_sample": ({"batchsize": 3}, "did you mean .*'batch_size'"),
    "get_elbo": ({"indicies": [0]}, "did you mean 'indices'"),
    "get_reconstruction_error": ({"return_means": True}, "did you mean 'return_mean'"),
    "get_marginal_ll": ({"n_samples": 3}, "did you mean 'n_mc_samples"),
    "refine_posterior": ({"max_step": 3}, "did you mean 'max_steps'"),
    "get_inference_gap": ({"n_chain": 3}, "did you mean 'n_chains'"),
    "get_importance_weights": ({"truncating": 1}, "did you mean 'truncation'"),
    "get_latent_library_size": ({"give_means": 1}, "did you mean 'give_mean'"),
    "get_feature_correlation_matrix": ({"n_sample": 1}, "did you mean 'n_samples'"),
    "get_aggregated_posterior": ({"degrees": 3}, "does not take `degrees`"),
    "differential_abundance": ({"samplekey": "batch"}, "did you mean 'sample_key'"),
}


@pytest.mark.parametrize("method", WRONG)
def test_unknown_arguments_of_queries(ours, method):
    arguments, says = WRONG[method]
    with pytest.raises(ArgumentError, match=says) as error:
        getattr(ours, method)(**arguments)
    assert f"`{method}`" in error.value.problem


def test_arguments_that_are_handed_on_are_accepted(ours):
    cells = list(range(10))
    ours.get_latent_representation(indices=cells, num_workers=0)
    ours.refine_posterior(indices=cells, max_steps=1)
    ours.get_elbo(indices=cells, loss_kwargs={"kl_weight": 1.0})
    ours.get_marginal_ll(indices=cells, n_mc_samples=4, n_mc_samples_per_pass=2)
    ours.differential_expression(
        groupby="label", mode="change", pseudocounts=1e-6, subset_idx=cells, silent=True
    )


@pytest.mark.parametrize("objective", [ImportanceWeighted, SemiAmortized, FreeBits])
def test_unknown_arguments_of_objectives(objective):
    with pytest.raises(ArgumentError, match=rf"{objective.__name__} does not take `samples`"):
        objective(samples=5)
    assert pickle.loads(pickle.dumps(objective())) == objective()


def test_the_nearest_argument_of_an_objective():
    with pytest.raises(ArgumentError, match="did you mean 'n_samples'"):
        ImportanceWeighted(samples=5)
