"""Expression, draws of counts, and correlations."""

from __future__ import annotations

from lucidvi.model._documentation._text import Text

EXPRESSION = {
    "get_normalized_expression": Text(
        r"""Return the expression of each gene as the decoder sees it: denoised, of equal depth.

        .. math:: \rho_{ng} \quad \text{with} \quad \sum_g \rho_{ng} = 1, \qquad
            \mathrm{E}[x_{ng} \mid z_n] = \ell_n \, \rho_{ng}

        It is a mean over draws of :math:`z \sim q(z \mid x)`, so that a second call gives slightly
        other values. For differences between groups of cells with their uncertainty see
        :meth:`differential_expression`.
        """,
        {
            "adata": "",
            "indices": "",
            "transform_batch": "",
            "gene_list": "",
            "library_size": (
                "What the values of a cell add up to over all genes: a number, such as ``1e4``, "
                'or ``"latent"`` for the exposure that the model has of the cell. By default 1, '
                "which gives shares."
            ),
            "n_samples": "Draws of ``z`` for each cell. By default 1.",
            "n_samples_overall": (
                "Draws of ``z`` in all, of cells drawn with replacement, in place of "
                "``n_samples`` for each. By default None."
            ),
            "weights": (
                'Weights of the cells in ``n_samples_overall`` draws: ``"uniform"``, or '
                '``"importance"``, see :meth:`get_importance_weights`. By default uniform.'
            ),
            "batch_size": "",
            "return_mean": "Average over the draws of a cell. By default True.",
            "return_numpy": (
                "Return an array and not a table. By default a table, unless several draws are "
                "not averaged."
            ),
            "silent": "",
            "dataloader": "",
            "data_loader_kwargs": "",
            "posterior": "",
            "**importance_weighting_kwargs": (
                "Further arguments of :meth:`get_importance_weights`."
            ),
            "modality": "Name of the modality. By default the main one.",
        },
        "Shares, or counts at ``library_size``, linear and not log. A table of shape ``(n_cells, "
        "n_genes)`` with their names; an array of shape ``(n_samples, n_cells, n_genes)`` with "
        "``return_mean=False``; one of shape ``(n_samples_overall, n_genes)`` with "
        "``n_samples_overall``.",
        """
        >>> expression = model.get_normalized_expression(library_size=1e4)
        >>> expression.shape
        (300, 765)
        >>> bool(abs(expression.sum(axis=1) - 1e4).max() < 1)
        True
        >>> some = model.get_normalized_expression(
        ...     indices=[3, 1], gene_list=["CD3D", "LYZ"], n_samples=25, return_mean=False
        ... )
        >>> some.shape
        (25, 2, 2)
        """,
        "Lopez et al., Nature Methods 15 (2018), Deep generative modeling for single-cell "
        "transcriptomics.",
    ),
    "posterior_predictive_sample": Text(
        r"""Draw counts for each cell from the model: what it could have been observed as.

        .. math:: z \sim q(z \mid x), \quad \hat x \sim p(x \mid z)

        Draws have the exposure of the cell. Compared with the counts they show what the model
        does not fit, see :func:`lucidvi.audit.run`.
        """,
        {
            "adata": "",
            "indices": "",
            "transform_batch": "",
            "n_samples": "Draws for each cell. By default 1.",
            "gene_list": "",
            "batch_size": "",
            "dataloader": "",
            "silent": "",
            "modality": "Name of the modality that is drawn. By default the main one.",
            "posterior": "",
            "**data_loader_kwargs": "",
        },
        "Counts (linear), a sparse array of the package ``sparse`` of shape ``(n_cells, "
        "n_genes)``, or ``(n_cells, n_genes, n_samples)`` for several draws; ``.todense()`` "
        "makes it a NumPy array.",
        """
        >>> draws = model.posterior_predictive_sample(indices=[0, 1, 2], n_samples=50)
        >>> draws.shape
        (3, 765, 50)
        >>> zeros = (draws.todense() == 0).mean(axis=2)  # probability of a zero, (3, 765)
        """,
    ),
    "get_feature_correlation_matrix": Text(
        r"""Return correlations of genes over cells, of draws without the noise of sampling.

        Means are drawn from the gamma distribution that is within a negative binomial, at one
        exposure for all cells, so that depth and counting noise do not dilute what correlates.
        """,
        {
            "adata": "",
            "indices": "",
            "n_samples": "Draws for each cell. By default 10.",
            "batch_size": "Cells in a minibatch. By default 64.",
            "rna_size_factor": "Exposure of all draws, in counts. By default 1,000.",
            "transform_batch": (
                "Batches to decode the cells as, by name; of several, the correlations are "
                "averaged. By default each cell's own batch."
            ),
            "correlation_type": '``"spearman"`` or ``"pearson"``. By default Spearman\'s.',
            "silent": "",
        },
        "Table of shape ``(n_genes, n_genes)`` with the names of the genes; ones on the diagonal.",
        """
        >>> correlations = model.get_feature_correlation_matrix(indices=range(50), n_samples=5)
        >>> correlations.shape
        (765, 765)
        >>> correlations.loc["CD79A"].nlargest(5).index[0]  # of each gene, the first is itself
        'CD79A'
        """,
    ),
    "get_importance_weights": Text(
        r"""Return weights of draws of ``z`` by how likely they make the counts of all cells.

        Of a group of cells they favour states that stand for the group; see
        ``weights="importance"`` of :meth:`get_normalized_expression`, which calls this.
        """,
        {
            "adata": "",
            "indices": "Positions of the cells, an array.",
            "qz": (
                "Posteriors of the cells in ``indices``, a distribution of batch shape "
                "``(n_cells, n_latent)``."
            ),
            "px": "Likelihoods of the cells, of batch shape ``(n_cells, n_genes)``.",
            "zs": "Draws of ``z``, one for each cell, shape ``(n_cells, n_latent)``.",
            "max_cells": "Cells that the likelihood is taken over, at most. By default 1,024.",
            "truncation": (
                "Cut the largest weights off, which lowers the variance of what is estimated at "
                "the cost of a bias. By default False."
            ),
            "n_mc_samples": "Draws for the marginal likelihood of a cell. By default 500.",
            "n_mc_samples_per_pass": "Draws that are decoded at once. By default 250.",
            "**data_loader_kwargs": "",
        },
        "Weights (linear) that add up to one, shape ``(n_cells,)``.",
        """
        >>> import numpy as np
        >>> import torch
        >>> cells = np.arange(20)
        >>> mean, variance = model.get_latent_representation(indices=cells, return_dist=True)
        >>> qz = torch.distributions.Normal(torch.tensor(mean), torch.tensor(variance).sqrt())
        >>> zs = qz.sample()
        >>> tensors = next(iter(model._make_data_loader(model.adata, cells)))
        >>> with torch.inference_mode():
        ...     px = model.module(tensors, compute_loss=False)[1]["px"]
        >>> weights = model.get_importance_weights(
        ...     model.adata, cells, qz=qz, px=px, zs=zs, n_mc_samples=10,
        ...     n_mc_samples_per_pass=10,
        ... )
        >>> weights.shape
        (20,)
        """,
        "Ionides, Journal of Computational and Graphical Statistics 17 (2008), Truncated "
        "importance sampling.",
    ),
}
