"""Query cells and reference models."""

from __future__ import annotations

from lucidvi.model._documentation._text import Text

FOLDER = "Trained model of the reference, or the folder of a saved one."
NAMES_ONLY = "Return the names of the reference's genes, and do nothing else. By default False."

QUERIES = {
    "load_query_data": Text(
        """Make a model of query cells from a reference model (scArches).

        The query gets weights for its new batches; which of the others may change is said by the
        arguments. Train the result with ``weight_decay=0.0`` so that what is frozen stays as it
        is. To get labels and to find new cell types, see :class:`lucidvi.atlas.Reference`.
        """,
        {
            "adata": (
                "Query cells with the reference's genes, in any order; it needs no setup. Where "
                "they have to be put in order, the model gets a copy."
            ),
            "reference_model": FOLDER,
            "registry": "Registry of a datamodule, in place of ``adata``. By default None.",
            "inplace_subset_query_vars": (
                "Bring the genes of ``adata`` itself into the reference's order, and leave out "
                "others. By default False."
            ),
            "accelerator": "Where to put the model, as for :meth:`train`. By default ``'auto'``.",
            "device": "Which device of that kind. By default ``'auto'``, the first.",
            "unfrozen": "Let everything be trained, whatever else is said. By default False.",
            "freeze_dropout": "Train without dropout. By default False.",
            "freeze_expression": (
                "Keep the weights of the genes in the first layers; those of the new batches are "
                "trained. By default True."
            ),
            "freeze_decoder_first_layer": (
                "Keep the decoder's first layer, but for the new batches. By default True."
            ),
            "freeze_batchnorm_encoder": (
                "Keep the encoder's batch normalization. By default True."
            ),
            "freeze_batchnorm_decoder": (
                "Keep the decoder's batch normalization. By default False."
            ),
            "freeze_classifier": "Has a meaning for a SCANVI alone. By default True.",
            "transfer_batch": "Has a meaning for a SYSVI alone. By default True.",
            "datamodule": "Source of the query's minibatches, in place of ``adata``.",
        },
        "A model of the query, not trained, with the reference's weights.",
        """
        >>> query = adata[:50].copy()
        >>> query.obs["batch"] = "new"
        >>> mapped = SCVI.load_query_data(query, model, freeze_expression=False)
        >>> mapped.train(max_epochs=1, plan_kwargs={"weight_decay": 0.0})
        >>> mapped.get_latent_representation().shape
        (50, 10)
        """,
        "Lotfollahi et al., Nature Biotechnology 40 (2022), Mapping single-cell data to reference "
        "atlases by transfer learning.",
    ),
    "prepare_query_anndata": Text(
        """Bring query cells to the genes of a reference model: sorted, missing ones as zeros.

        Zeros that were not measured are taken for counts. Where many genes are missing,
        :meth:`refine_posterior` with ``genes=`` and :meth:`lucidvi.atlas.Reference.map` leave them
        out in place of that.
        """,
        {
            "adata": "Query cells with at least one gene of the reference.",
            "reference_model": FOLDER,
            "return_reference_var_names": NAMES_ONLY,
            "inplace": "Change ``adata`` itself, and return nothing. By default True.",
        },
        "None, with ``inplace=False`` a new AnnData of shape ``(n_cells, n_genes)``, or names.",
        """
        >>> query = adata[:50, 100:].copy()  # 665 of the 765 genes
        >>> SCVI.prepare_query_anndata(query, model, inplace=False).shape
        (50, 765)
        >>> len(SCVI.prepare_query_anndata(query, model, return_reference_var_names=True))
        765
        """,
    ),
    "prepare_query_mudata": Text(
        """Bring query cells of several modalities to the features of a reference model.

        For models of a MuData, which a SCVI is not: it takes one modality, as an AnnData.
        """,
        {
            "mdata": "Query cells, a MuData with the modalities of the reference.",
            "reference_model": FOLDER,
            "return_reference_var_names": NAMES_ONLY,
            "inplace": "Change ``mdata`` itself, and return nothing. By default True.",
        },
        "None, with ``inplace=False`` a new MuData, or a dictionary of the names.",
        """
        >>> SCVI.prepare_query_mudata  # of a model of one modality: prepare_query_anndata
        <function ...prepare_query_mudata at ...>
        """,
    ),
    "convert_legacy_save": Text(
        """Convert a model that scvi-tools before 0.15 saved.""",
        {
            "dir_path": "Folder of the old model.",
            "output_dir_path": "Folder to write.",
            "overwrite": "Replace a folder that exists. By default False.",
            "prefix": "Prefix of the file names. By default none.",
            "trust": (
                "Unpickle the files, which can run any code. Only for files whose maker you "
                "trust. By default False."
            ),
            "**save_kwargs": "Further arguments of :func:`torch.save`.",
        },
        "",
        """
        >>> SCVI.convert_legacy_save("old_model", "new_model")
        Traceback (most recent call last):
        lucidvi.errors.UntrustedFileError: old_model is in the layout of scvi-tools before 0.15...
        """,
    ),
}
