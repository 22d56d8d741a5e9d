"""Examples of the methods that are LucidVI's own, which say the rest themselves."""

from __future__ import annotations

from lucidvi.model._documentation._text import Addition

ADDITIONS = {
    "train": Addition(
        """
        >>> model = SCVI(adata)
        >>> model.train(max_epochs=2)
        >>> len(model.history["elbo_train"])
        2
        """,
        "None, or the trainer's result; the trained weights are in the model.",
    ),
    "save": Addition(
        """
        >>> model.save("my_model", save_anndata=True)
        >>> loaded = SCVI.load("my_model")
        >>> loaded.adata.shape
        (300, 765)
        """
    ),
    "load": Addition(
        """
        >>> model.save("my_model")
        >>> loaded = SCVI.load("my_model", adata=adata)
        >>> bool((loaded.get_latent_representation() == model.get_latent_representation()).all())
        True
        """,
        "The model, bound to the cells.",
    ),
    "load_registry": Addition(
        """
        >>> model.save("my_model")
        >>> SCVI.load_registry("my_model")["setup_args"]["batch_key"]
        'batch'
        """,
        "The registry, a dictionary.",
    ),
    "view_setup_args": Addition(
        """
        >>> model.save("my_model")
        >>> SCVI.view_setup_args("my_model")  # doctest: +ELLIPSIS
        Setup via `SCVI.setup_anndata` with arguments:
        ...
        """
    ),
    "view_registry": Addition(
        """
        >>> model.view_registry(hide_state_registries=True)  # doctest: +ELLIPSIS
        Anndata setup with scvi-tools version ...
        """
    ),
    "update_setup_method_args": Addition(
        """
        >>> model.update_setup_method_args({"batch_key": "sample"})
        >>> model.get_setup_arg("batch_key")
        'sample'
        """
    ),
    "from_scvi_model": Addition(
        """
        >>> theirs = model.to_scvi_model()
        >>> ours = SCVI.from_scvi_model(theirs)
        >>> ours.get_latent_representation().shape
        (300, 10)
        """
    ),
    "to_scvi_model": Addition(
        """
        >>> theirs = model.to_scvi_model()
        >>> type(theirs).__module__.partition(".")[0]
        'scvi'
        """
    ),
    "canonicalize": Addition(
        """
        >>> before = model.get_latent_representation()
        >>> matrix = model.canonicalize()
        >>> bool(abs(before @ matrix - model.get_latent_representation()).max() < 1e-4)
        True
        """
    ),
    "refine_posterior": Addition(
        """
        >>> refined = model.refine_posterior(indices=range(20))
        >>> refined.loc.shape
        (20, 10)
        >>> bool((refined.elbo >= refined.elbo_before).all())
        True
        >>> few = model.refine_posterior(indices=range(20), genes=["CD3D", "LYZ", "CD79A"])
        """
    ),
    "get_inference_gap": Addition(
        """
        >>> gap = model.get_inference_gap(indices=range(20), n_chains=4, n_temperatures=5)
        >>> gap[["amortization_gap", "approximation_gap"]].shape
        (20, 2)
        >>> by_type = model.get_inference_gap(
        ...     indices=range(20), groupby="cell_type", n_chains=4, n_temperatures=5
        ... )
        """
    ),
    "get_marginal_ll": Addition(
        """
        >>> log_px = model.get_marginal_ll(n_mc_samples=50, return_mean=False)
        >>> log_px.shape
        torch.Size([300])
        >>> said = model.get_marginal_ll(n_mc_samples=50, return_diagnostics=True)
        >>> list(said.index)
        ['log_px', 'standard_error', 'effective_sample_size', 'k_hat', 'trusted']
        """
    ),
    "get_likelihood_parameters": Addition(
        """
        >>> parameters = model.get_likelihood_parameters(indices=range(20))
        >>> {name: values.shape for name, values in sorted(parameters.items())}
        {'dispersions': (20, 765), 'dropout': (20, 765), 'mean': (20, 765)}
        """
    ),
    "get_aggregated_posterior": Addition(
        """
        >>> density = model.get_aggregated_posterior(indices=range(100))
        >>> density.sample((5,)).shape
        torch.Size([5, 10])
        """
    ),
}
