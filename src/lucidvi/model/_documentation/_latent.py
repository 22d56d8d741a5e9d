"""Latent states, exposures and bounds."""

from __future__ import annotations

from lucidvi.model._documentation._text import Text

RETURN_MEAN = (
    "Return the mean over the cells, a number, and not a value for each cell. By default True."
)

LATENT = {
    "get_latent_representation": Text(
        r"""Return the cells' latent states, the means of their posteriors :math:`q(z \mid x)`.

        These are what neighbours, clusters and UMAPs are made of. The same cells give the same
        states at each call, unless a mean has to be drawn.
        """,
        {
            "adata": "",
            "indices": "",
            "give_mean": (
                "Return the mean of the posterior. With False, of a logistic normal, the mean of "
                "``mc_samples`` draws after the softmax, which has no closed form. By default "
                "True."
            ),
            "mc_samples": "Draws for ``give_mean=False`` of a logistic normal. By default 5,000.",
            "batch_size": "",
            "return_dist": (
                "Return means and variances of the posteriors and not the states alone. By "
                "default False."
            ),
            "dataloader": "",
            "posterior": "",
            "**data_loader_kwargs": "",
            "modalities": (
                "Names of the modalities that the states are inferred from, of which each cell "
                "needs one. By default all that a cell has."
            ),
        },
        "Float32 of shape ``(n_cells, n_latent)``; with ``return_dist=True`` two of them, means "
        "and variances (not standard deviations).",
        """
        >>> adata.obsm["X_scVI"] = model.get_latent_representation()
        >>> adata.obsm["X_scVI"].shape
        (300, 10)
        >>> mean, variance = model.get_latent_representation(indices=[0, 5], return_dist=True)
        >>> variance.shape
        (2, 10)
        """,
    ),
    "get_latent_library_size": Text(
        r"""Return the cells' exposures, :math:`\ell_n`: how many counts a cell was given.

        A model has posteriors of them if it was made with ``use_observed_lib_size=False``. By
        default a model takes each cell's total count, which ``give_mean=False`` returns.
        """,
        {
            "adata": "",
            "indices": "",
            "give_mean": (
                "Return the mean of the posterior; fails for a model that takes observed totals. "
                "With False, a draw of the posterior or the observed total. By default True."
            ),
            "batch_size": "",
            "dataloader": "",
            "**data_loader_kwargs": "",
        },
        "Counts (linear), float32 of shape ``(n_cells, 1)``.",
        """
        >>> totals = model.get_latent_library_size(give_mean=False)
        >>> totals.shape
        (300, 1)
        >>> bool(abs(totals[0, 0] - adata.X[0].sum()) < 0.1)
        True
        """,
    ),
    "get_elbo": Text(
        r"""Return the evidence lower bound of the log likelihood in nats; higher is better.

        .. math::
            \mathrm{ELBO}(x) = \mathrm{E}_{q(z \mid x)}[\log p(x \mid z)]
                - \mathrm{KL}(q(z \mid x) \,\|\, p(z)) \le \log p(x)

        Compare models on cells that neither was trained on, ``model.validation_indices``. One
        draw of ``z`` is taken for each cell, so that a second call gives a slightly other value.
        :meth:`get_marginal_ll` estimates :math:`\log p(x)` itself.
        """,
        {
            "adata": "",
            "indices": "",
            "batch_size": "",
            "dataloader": "",
            "return_mean": RETURN_MEAN,
            "data_loader_kwargs": "",
            "posterior": "",
            "**kwargs": "",
        },
        "Mean over the cells, a tensor without axes, or with ``return_mean=False`` a tensor of "
        "shape ``(n_cells,)``, in nats.",
        """
        >>> held_out = float(model.get_elbo(indices=model.validation_indices))
        >>> model.get_elbo(return_mean=False).shape
        torch.Size([300])
        """,
        "Kingma and Welling, ICLR (2014), Auto-encoding variational Bayes.",
    ),
    "get_reconstruction_error": Text(
        r"""Return the reconstruction error, in nats a cell; lower is better.

        .. math:: -\log p(x \mid z), \quad z \sim q(z \mid x)

        This is the part of the negative ELBO that is not the KL term; one draw of ``z`` is taken
        for each cell.
        """,
        {
            "adata": "",
            "indices": "",
            "batch_size": "",
            "dataloader": "",
            "return_mean": RETURN_MEAN,
            "data_loader_kwargs": "",
            "**kwargs": "",
        },
        'Dictionary with the one key ``"reconstruction_loss"`` and the mean over the cells, a '
        "tensor without axes, or with ``return_mean=False`` one of shape ``(n_cells,)``, in nats.",
        """
        >>> list(model.get_reconstruction_error())
        ['reconstruction_loss']
        >>> error = model.get_reconstruction_error(return_mean=False)
        >>> error["reconstruction_loss"].shape
        torch.Size([300])
        """,
    ),
    "get_batch_representation": Text(
        """Return the vector by which the model stands for each cell's batch.

        Only of a model that was made with ``batch_representation="embedding"``, in which batches
        that are alike come to lie close to each other.
        """,
        {"adata": "", "indices": "", "batch_size": ""},
        "Array of shape ``(n_cells, embedding_dim)``, the same row for all cells of a batch.",
        """
        >>> embedded = SCVI(adata, batch_representation="embedding")
        >>> embedded.train(max_epochs=1)
        >>> embedded.get_batch_representation().shape
        (300, 5)
        """,
    ),
    "minify_adata": Text(
        """Replace the counts that the model holds by the posteriors of its cells, to save memory.

        ``model.adata`` becomes a new AnnData; the one that the model was made with stays as it
        is. What needs counts, such as :meth:`get_elbo`, is refused from then on, and what starts
        from latent states goes on as before.
        """,
        {
            "minified_data_type": (
                '``"latent_posterior_parameters"`` stores means and variances and drops the '
                'counts; ``"latent_posterior_parameters_with_counts"`` keeps these, too. By '
                "default the first."
            ),
            "use_latent_qzm_key": (
                "Key of ``adata.obsm`` with the means, shape ``(n_cells, n_latent)``, which has "
                'to be there. By default ``"X_latent_qzm"``.'
            ),
            "use_latent_qzv_key": (
                "Key of ``adata.obsm`` with the variances, of the same shape, which has to be "
                'there. By default ``"X_latent_qzv"``.'
            ),
        },
        "",
        """
        >>> mean, variance = model.get_latent_representation(return_dist=True)
        >>> model.adata.obsm["X_latent_qzm"], model.adata.obsm["X_latent_qzv"] = mean, variance
        >>> model.minify_adata()
        >>> model.adata.X.nnz
        0
        >>> bool((model.get_latent_representation() == mean).all())
        True
        """,
    ),
}
