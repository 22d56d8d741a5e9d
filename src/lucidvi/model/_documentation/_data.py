"""The data of a model, and what is registered of them."""

from __future__ import annotations

from lucidvi.model._documentation._text import Text

KEY = (
    'Name of what is registered: ``"X"`` for the counts, ``"batch"``, ``"labels"``, '
    '``"size_factor"``, ``"extra_categorical_covs"``, ``"extra_continuous_covs"``.'
)

DATA = {
    "setup_anndata": Text(
        """Say where an AnnData keeps its counts and covariates, and check them.

        Comes before the model is made. Nothing of the counts is changed; columns that start with
        ``_scvi`` are added to ``adata.obs``.
        """,
        {
            "adata": (
                "Cells as rows, genes as columns, with raw counts; or the path of their file, or "
                "of several files, see :func:`lucidvi.data.open_cells`."
            ),
            "layer": "Layer of ``adata.layers`` with the counts. By default ``adata.X``.",
            "batch_key": (
                "Column of ``adata.obs`` with the batches, whose differences the latent space "
                "should not show. By default all cells are one batch."
            ),
            "labels_key": (
                "Column of ``adata.obs`` with labels, such as cell types. The latent space does "
                "not use them, unless a prior or a dispersion is to depend on them. By default "
                "none."
            ),
            "size_factor_key": (
                "Column of ``adata.obs`` with the exposure of each cell (linear, positive), in "
                "place of its total count. By default the total."
            ),
            "categorical_covariate_keys": (
                "Columns of ``adata.obs`` with further groups, such as donors or sexes, whose "
                "differences the latent space should not show. By default none."
            ),
            "continuous_covariate_keys": (
                "Columns of ``adata.obs`` with numbers of the same kind, such as the share of "
                "mitochondrial counts. By default none."
            ),
            "is_count_data": (
                "Insist on counts: non-negative integers, and at least one in every cell. With "
                '``False`` the values only have to be finite (``gene_likelihood="normal"``, or '
                "estimated counts that are not integers). ``None`` takes what there is, and warns "
                "if it is not counts, as scvi-tools does; its models are loaded so. By default "
                "True."
            ),
            "**kwargs": (
                "What scvi-tools sets when it loads a model, such as ``source_registry``; not for "
                "users."
            ),
        },
        "The cells of a file that was given by its path, with their counts left there; else None.",
        """
        >>> SCVI.setup_anndata(adata, batch_key="batch")
        >>> new = SCVI(adata)
        """,
    ),
    "data_registry": Text(
        """Return what is registered under a name, of the cells that the model holds.""",
        {"registry_key": KEY},
        "As it is stored: counts as a matrix of shape ``(n_cells, n_genes)``, categories as "
        "integers of shape ``(n_cells, 1)``.",
        """
        >>> model.data_registry("X").shape
        (300, 765)
        """,
    ),
    "get_from_registry": Text(
        """Return what is registered under a name, of an AnnData that the model knows.""",
        {
            "adata": "The model's own AnnData, or one that a method of the model was asked about.",
            "registry_key": KEY,
        },
        "As it is stored: counts as a matrix of shape ``(n_cells, n_genes)``, categories as "
        "integers of shape ``(n_cells, 1)``.",
        """
        >>> model.get_from_registry(adata, "batch")[:4].ravel()
        array([0, 1, 0, 1], dtype=int8)
        """,
    ),
    "get_anndata_manager": Text(
        """Return the manager that knows where an AnnData keeps counts and covariates.""",
        {
            "adata": "The model's own AnnData, or one that a method of the model was asked about.",
            "required": "Raise an error if there is no manager. By default False.",
        },
        "The :class:`scvi.data.AnnDataManager`, or None.",
        """
        >>> model.get_anndata_manager(adata) is model.adata_manager
        True
        """,
    ),
    "get_setup_arg": Text(
        """Return an argument with which the data were set up.""",
        {"setup_arg": "Name of an argument of :meth:`setup_anndata`."},
        "Its value.",
        """
        >>> model.get_setup_arg("batch_key")
        'batch'
        """,
    ),
    "get_state_registry": Text(
        """Return what the setup found in the data, such as the names of the batches.""",
        {"registry_key": KEY},
        "Entries by name, as attributes and as keys.",
        """
        >>> list(model.get_state_registry("batch").categorical_mapping)
        ['a', 'b']
        """,
    ),
    "get_var_names": Text(
        """Return the names of the genes that the model was set up with, in its order.""",
        {"legacy_mudata_format": "Has a meaning for models of a MuData alone. By default False."},
        "Names, shape ``(n_genes,)``.",
        """
        >>> len(model.get_var_names())
        765
        """,
    ),
    "register_manager": Text(
        """Make the class remember the manager of an AnnData, as :meth:`setup_anndata` does.""",
        {"adata_manager": "The :class:`scvi.data.AnnDataManager` of an AnnData."},
        "",
        """
        >>> SCVI.register_manager(model.adata_manager)
        """,
    ),
    "deregister_manager": Text(
        """Make the model forget an AnnData, which it would keep in memory.""",
        {
            "adata": (
                "AnnData that was set up by :meth:`setup_anndata`. By default all but the one "
                "that the model holds."
            )
        },
        "",
        """
        >>> query = adata[:50].copy()
        >>> z = model.get_latent_representation(query)
        >>> model.deregister_manager()
        >>> model.get_anndata_manager(query) is None
        True
        """,
    ),
    "transfer_fields": Text(
        """Set an AnnData up as the model's own was, with the same names of batches and labels.""",
        {
            "adata": "Cells with the model's genes and the columns of its setup.",
            "**kwargs": (
                "Further arguments of :meth:`scvi.data.AnnDataManager.transfer_fields`, such as "
                "``extend_categories=True`` for batches that the model does not know."
            ),
        },
        "The :class:`scvi.data.AnnDataManager` of the AnnData, which has the columns of the setup "
        "from then on.",
        """
        >>> query = adata[:50].copy()
        >>> manager = model.transfer_fields(query)
        >>> query.obs["_scvi_batch"].tolist()[:2]
        [0, 1]
        """,
    ),
    "to_device": Text(
        """Move the model to a device.""",
        {"device": '``"cpu"``, ``"cuda"``, ``"cuda:1"``, ``"mps"``, or the number of a GPU.'},
        "",
        """
        >>> model.to_device("cpu")
        >>> model.device
        device(type='cpu')
        """,
    ),
    "view_anndata_setup": Text(
        """Print how an AnnData was set up: the columns and layers, and what was found in them.""",
        {
            "adata": "AnnData that was set up. By default the one that the model holds.",
            "hide_state_registries": "Leave out the categories of each field. By default False.",
        },
        "",
        """
        >>> model.view_anndata_setup(hide_state_registries=True)  # doctest: +ELLIPSIS
        Anndata setup with scvi-tools version ...
        """,
    ),
    "view_setup_method_args": Text(
        """Print the arguments with which the data were set up.""",
        {},
        "",
        """
        >>> model.view_setup_method_args()  # doctest: +ELLIPSIS
        Setup via `SCVI.setup_anndata` with arguments:
        ...
        """,
    ),
}
