"""Registering counts, batches, labels and covariates of an AnnData."""

from __future__ import annotations

import inspect
from typing import Any

from anndata import AnnData
from scvi import REGISTRY_KEYS
from scvi.data.fields import LayerField, NumericalJointObsField, NumericalObsField
from scvi.model.base import BaseMinifiedModeModelClass
from scvi.utils import setup_anndata_dsp

from lucidvi._compat import ADATA_MINIFY_TYPE, adata_minify_type
from lucidvi._kinds import check_kinds
from lucidvi.checks import check_arguments
from lucidvi.data import (
    CheckedAnnDataManager,
    MatchedJointObsField,
    MatchedObsField,
    check_keys,
    complete,
    counts_or_warn,
    opened,
    with_panels_of,
)


class SetupMixin(BaseMinifiedModeModelClass):
    """The ``setup_anndata`` of scvi-tools' SCVI."""

    @classmethod
    @setup_anndata_dsp.dedent
    def setup_anndata(
        cls,
        adata: AnnData,
        layer: str | None = None,
        batch_key: str | None = None,
        labels_key: str | None = None,
        size_factor_key: str | None = None,
        categorical_covariate_keys: list[str] | None = None,
        continuous_covariate_keys: list[str] | None = None,
        *,
        is_count_data: bool | None = True,
        **kwargs: Any,
    ) -> AnnData | None:
        """%(summary)s.

        Differs from scvi-tools: every value of the counts and of the columns named is looked at
        first, a failed setup leaves ``adata`` as it was, any sparse format is read, and cells may
        be given by the path of their file, which is opened and whose cells are returned.

        Parameters
        ----------
        %(param_adata)s
        %(param_layer)s
        %(param_batch_key)s
        %(param_labels_key)s
        %(param_size_factor_key)s
        %(param_cat_cov_keys)s
        %(param_cont_cov_keys)s
        is_count_data
            Insist on counts: non-negative integers, and at least one in every cell. With
            ``False`` the values only have to be finite (``gene_likelihood="normal"``, or
            estimated counts that are not integers). ``None`` takes what there is, and warns if
            it is not counts, as scvi-tools does; its models are loaded so.

        Returns
        -------
        The cells of a file that was given by its path, see :func:`lucidvi.data.open_cells`; else
        None.

        Raises
        ------
        lucidvi.errors.DataError
            If values are not counts, a cell is empty, a column has missing values, or names of
            genes are duplicated. It names the place and the remedy.
        lucidvi.errors.MissingKeyError
            If the layer or a column does not exist.
        lucidvi.errors.FileError
            If a file cannot be opened.
        """
        setup_method_args = cls._get_setup_method_args(**locals())
        cells = opened(adata)
        cls._register_counts(cells, setup_method_args, **kwargs)
        return None if cells is adata else cells

    @classmethod
    def _register_counts(
        cls, adata: AnnData, setup_method_args: dict[str, Any], **kwargs: Any
    ) -> None:
        """Register the layer and the columns that arguments of a setup name.

        Parameters
        ----------
        adata
            The cells.
        setup_method_args
            Name and arguments of the method that sets up, as scvi-tools collects them.
        **kwargs
            See :meth:`~lucidvi.data.CheckedAnnDataManager.register_fields`.
        """
        arguments = setup_method_args["setup_args"]
        layer, is_count_data = arguments["layer"], arguments["is_count_data"]
        check_kinds(inspect.signature(SetupMixin.setup_anndata), {"is_count_data": is_count_data})
        check_keys(arguments)
        if "source_registry" not in kwargs:
            check_arguments("`setup_anndata`", kwargs, arguments)
        complete(adata)
        minify_type = adata_minify_type(adata)
        if is_count_data is None:
            has_counts = minify_type != ADATA_MINIFY_TYPE.LATENT_POSTERIOR
            is_count_data = counts_or_warn(adata, layer) if has_counts else True
            arguments["is_count_data"] = is_count_data
        if is_count_data:
            # Left out, so that scvi-tools can replay the arguments of a saved model.
            del arguments["is_count_data"]
        fields = [
            LayerField(REGISTRY_KEYS.X_KEY, layer, is_count_data=False, correct_data_format=False),
            MatchedObsField(REGISTRY_KEYS.BATCH_KEY, arguments["batch_key"]),
            MatchedObsField(REGISTRY_KEYS.LABELS_KEY, arguments["labels_key"]),
            NumericalObsField(
                REGISTRY_KEYS.SIZE_FACTOR_KEY, arguments.get("size_factor_key"), required=False
            ),
            MatchedJointObsField(
                REGISTRY_KEYS.CAT_COVS_KEY, arguments["categorical_covariate_keys"]
            ),
            NumericalJointObsField(
                REGISTRY_KEYS.CONT_COVS_KEY, arguments["continuous_covariate_keys"]
            ),
        ]
        if minify_type is not None:
            fields += cls._get_fields_for_adata_minification(minify_type)
        manager = CheckedAnnDataManager(
            fields=with_panels_of(adata, fields),
            setup_method_args=setup_method_args,
            is_count_data=is_count_data,
        )
        manager.register_fields(adata, **kwargs)
        cls.register_manager(manager)
