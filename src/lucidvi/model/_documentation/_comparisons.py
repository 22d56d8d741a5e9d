"""Groups of cells compared."""

from __future__ import annotations

from lucidvi.model._documentation._text import Text

COMPARISONS = {
    "differential_expression": Text(
        r"""Compare the expression of groups of cells, gene by gene.

        Both groups' expression is drawn from the model. ``mode="change"`` gives the probability
        that the log2 fold change :math:`r_g` is larger than ``delta`` either way, and genes at a
        posterior expected false discovery rate; ``mode="vanilla"`` the probability that one group
        has more. Name the groups by a column (``groupby``, ``group1``, ``group2``) or by their
        cells (``idx1``, ``idx2``).

        .. math:: r_g = \log_2 \frac{\rho_{1g} + \epsilon}{\rho_{2g} + \epsilon}, \quad
            p(|r_g| > \delta \mid x)

        Cells count as replicates here; :func:`lucidvi.simulate.differential_expression` compares
        donors.
        """,
        {
            "adata": "",
            "groupby": "Column of ``adata.obs`` with the groups.",
            "group1": (
                "Group, or list of groups, of that column, each compared with ``group2``. By "
                "default every group."
            ),
            "group2": "Group to compare with. By default all cells that are not of ``group1``.",
            "idx1": (
                "Cells of the first group, in place of ``group1``: a boolean mask, positions, or "
                "a query of ``adata.obs`` such as ``\"cell_type == 'B'\"``."
            ),
            "idx2": "Cells of the second group, likewise. By default all not in ``idx1``.",
            "mode": '``"vanilla"`` or ``"change"``. By default the first, as in scvi-tools.',
            "delta": (
                'Log2 fold change up to which a gene counts as the same, for ``mode="change"``. '
                "By default 0.25."
            ),
            "batch_size": "",
            "all_stats": (
                "Add what was counted: mean counts, shares of cells with a count, means of "
                "normalized counts. By default True."
            ),
            "batch_correction": (
                "Decode both groups as the batches ``batchid1`` and ``batchid2``, so that batches "
                "that they do not share make no difference. By default False."
            ),
            "batchid1": ("Batches to decode the first group as, by name. By default all of them."),
            "batchid2": (
                "Batches for the second group: the same ones, or none of them. By default "
                "``batchid1``'s."
            ),
            "fdr_target": (
                "Posterior expected false discovery rate of the column ``is_de_fdr_0.05``. By "
                "default 0.05."
            ),
            "silent": "Leave out the bar over the groups. By default False.",
            "weights": (
                'Weights of the cells of a group: ``"uniform"``, or ``"importance"``, see '
                ":meth:`get_importance_weights`. By default uniform."
            ),
            "filter_outlier_cells": (
                "Leave out cells that lie far from their group in the latent space. By default "
                "False."
            ),
            "importance_weighting_kwargs": (
                "Further arguments of :meth:`get_importance_weights`, as a dictionary."
            ),
            "dataloader": "",
            "modality": (
                "Name of the modality that is compared: its normalized values, or of proteins the "
                "means of the counts without background. By default the main one."
            ),
            "seed": (
                "Repeats a result, whatever was drawn before, and leaves the generators as they "
                "are. By default draws go on from where these are."
            ),
            "**kwargs": (
                "Further arguments of ``get_bayes_factors`` of "
                ":class:`scvi.model.base.DifferentialComputation`, such as "
                "``n_samples_overall``, ``pseudocounts`` and ``test_mode``."
            ),
        },
        "A row for each gene and comparison, by Bayes factor. Both modes: ``bayes_factor`` "
        "(natural log of the odds), ``scale1`` and ``scale2`` (mean shares of expression, "
        'linear), ``comparison``. ``"change"``: ``proba_de``, the change ``lfc_mean``, '
        "``lfc_median``, ``lfc_std``, ``lfc_min`` and ``lfc_max`` (log2), ``is_de_fdr_0.05``. "
        '``"vanilla"``: ``proba_m1``, the probability that ``group1`` has more.',
        """
        >>> table = model.differential_expression(
        ...     groupby="cell_type", group1="CD19+ B", group2="CD14+ Monocyte", mode="change"
        ... )
        >>> table.shape
        (765, 22)
        >>> markers = table[table["is_de_fdr_0.05"] & (table["lfc_mean"] > 0)]
        >>> is_b = adata.obs["cell_type"] == "CD19+ B"
        >>> table = model.differential_expression(idx1=is_b, mode="change")  # with all others
        """,
        "Lopez et al., Nature Methods 15 (2018). Boyeau et al., PNAS 120 (2023), An empirical "
        "Bayes method for differential expression analysis of single cells with deep generative "
        "models.",
    ),
    "differential_abundance": Text(
        r"""Score each cell under each sample: where in the latent space a sample has its cells.

        .. math:: \log \frac{1}{|S|} \sum_{n \in S} q(z \mid x_n)

        at the latent state :math:`z` of a cell, for each sample :math:`S`. The difference of two
        columns is a log ratio of abundances. Written to ``adata.obsm["da_log_probs"]``.
        """,
        {
            "adata": "",
            "adata_sub": "Cells to score and to write to. By default all of ``adata``.",
            "sample_key": "Column of ``adata.obs`` with the samples.",
            "batch_size": "Cells in a minibatch. By default 128.",
            "num_cells_posterior": (
                "Cells of a sample that its density is made of, at most, drawn at random. By "
                "default all."
            ),
            "dof": (
                "Degrees of freedom of Student's t components, for heavier tails. By default the "
                "posteriors themselves, which are normal."
            ),
            "dataloader": "",
        },
        "",
        """
        >>> model.differential_abundance(sample_key="batch")
        >>> adata.obsm["da_log_probs"].shape  # natural logs, a column for each sample
        (300, 2)
        """,
    ),
}
