"""Saved models that hold data only: safe to share, whole or not there at all."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import Any, Self

import scvi
from anndata import AnnData
from lightning import LightningDataModule
from scvi.data import AnnDataManager
from scvi.model.base import ArchesMixin

from lucidvi._compat import SAVE_KEYS, reading_by, write_adata
from lucidvi._progress import Progress
from lucidvi.data import align_genes, check_can_be_written, opened, refuse_collection
from lucidvi.errors import UntrustedFileError
from lucidvi.files import (
    ADATA_DIGEST_KEY,
    check_free,
    check_readable,
    contents,
    digest_of,
    read_adata,
    read_model,
    read_saved_files,
    save_tensors,
    whole,
    writable,
    written_whole,
)
from lucidvi.model._loaded import check_finite, module_fits
from lucidvi.model.queries._errors import errors_of_query


class SafeFilesMixin:
    """Saving and loading in scvi's layout, without code in the files.

    Comes first among the bases of a model. Whatever reads a file here goes through
    :func:`~lucidvi.files._reader.read_pickle`.
    """

    def save(
        self,
        dir_path: str,
        prefix: str | None = None,
        overwrite: bool = False,
        save_anndata: bool = False,
        save_kwargs: dict[str, Any] | None = None,
        legacy_mudata_format: bool = False,
        datamodule: LightningDataModule | None = None,
        **anndata_write_kwargs: Any,
    ) -> None:
        """Save the model: its weights, arguments, registry, history and splits.

        Differs from scvi-tools: the files, which it reads too, hold data only: nothing that
        ``torch.load(weights_only=True)`` refuses once NumPy's arrays are allowed. They appear
        whole or not at all, also if the process is killed; other files in the folder stay.

        Of the processes that trained a model together the first writes it, and the others write
        nothing. Before another one reads the files, let all of them pass
        ``model.trainer.strategy.barrier()``.

        scvi-tools finds the history as plain values in ``model.history_values_``;
        :meth:`load` and :meth:`to_scvi_model` give tables.

        Parameters
        ----------
        dir_path
            Folder to write; the folders above it are made, and ``~`` is the user's own.
        prefix
            Prefix of the file names.
        overwrite
            Replace a model in a folder that exists, or a file where the folder shall be.
        save_anndata
            Save the AnnData as well.
        save_kwargs
            Passed to :func:`torch.save`; of its pickle protocols, the default alone is readable.
        legacy_mudata_format
            Has a meaning for models of a MuData alone.
        datamodule
            Source of the data, for a model made without AnnData.
        **anndata_write_kwargs
            Passed to :meth:`anndata.AnnData.write_h5ad`.

        Raises
        ------
        lucidvi.errors.FileError
            If the folder exists or cannot be written, or the model holds something that is not
            data. Nothing is written then.
        """
        if not getattr(getattr(self, "trainer", None), "is_global_zero", True):
            return
        dir_path = os.path.expanduser(dir_path)
        check_free(Path(dir_path), overwrite, "model")
        if save_anndata:
            refuse_collection(
                self.adata,  # type: ignore[attr-defined]
                "which are in files of their own or in memory, and it is not written as one",
                "leave out `save_anndata`, and give the collection to `load(dir_path, adata)`.",
            )
        saved = contents(self, legacy_mudata_format, datamodule)
        adata: Any = self.adata if save_anndata else None  # type: ignore[attr-defined]
        if save_anndata and adata is None:
            warnings.warn(
                "The model has no AnnData, so `save_anndata=True` has no effect.",
                UserWarning,
                stacklevel=scvi.settings.warnings_stacklevel,
            )
        if isinstance(adata, AnnData):
            check_can_be_written(adata)
        path = Path(dir_path, f"{prefix or ''}{SAVE_KEYS.MODEL_FNAME}")
        kind = SAVE_KEYS.ADATA_FNAME if isinstance(adata, AnnData) else SAVE_KEYS.MDATA_FNAME
        adata_path = Path(dir_path, f"{prefix or ''}{kind}")
        backed = adata is not None and adata.isbacked
        before = adata.filename if backed else None
        saving = Progress("Saving", slow_steps=adata is not None)
        try:
            with (
                saving,
                writable(path.parent),
                written_whole(path.parent, path.name, overwrite) as stage,
            ):
                if adata is not None:
                    write_adata(adata, str(stage / adata_path.name), **anndata_write_kwargs)
                    saved[ADATA_DIGEST_KEY] = digest_of(stage / adata_path.name)
                save_tensors(saved, stage / path.name, **(save_kwargs or {}))
                check_readable(stage / path.name, path)
        finally:
            if backed and adata.filename != before:  # writing made the new file its own
                adata.file.filename = adata_path if adata_path.exists() else before

    @classmethod
    def load(
        cls,
        dir_path: str,
        adata: AnnData | None = None,
        accelerator: str = "auto",
        device: int | str = "auto",
        prefix: str | None = None,
        backup_url: str | None = None,
        datamodule: LightningDataModule | None = None,
        allowed_classes_names_list: list[str] | None = None,
        *,
        trust: bool = False,
    ) -> Self:
        """Load a saved model, of LucidVI or of scvi-tools 1.x.

        Differs from scvi-tools: genes are matched by name, and nothing in the file is run. Plain
        data, arrays and the tables of a history are read; a file that asks for anything else is
        refused, unless it is trusted.

        Parameters
        ----------
        dir_path
            Folder that :meth:`save` wrote.
        adata
            AnnData with the model's genes, in any order; :meth:`setup_anndata` is not needed.
            ``None`` takes the AnnData saved with the model, ``False`` loads without one.
        accelerator, device
            Where to put the model, as for :meth:`train`.
        prefix
            Prefix of the saved file names.
        backup_url
            Where to fetch the model from if it is not on disk.
        datamodule
            Source of the data, in place of ``adata``.
        allowed_classes_names_list
            Names of other model classes whose files are accepted.
        trust
            Read the file as pickle does, which runs whatever code it contains. Only for files
            whose maker you trust.

        Raises
        ------
        lucidvi.errors.UntrustedFileError
            If the file holds more than data.
        lucidvi.errors.FileError
            If there is no model, or not one that can be read.
        lucidvi.errors.GeneMismatchError
            If ``adata`` lacks genes of the model.
        """
        if adata is not None and adata is not False:
            adata = opened(adata, f"{cls.__name__}.load({str(dir_path)!r}, adata=")
        saved = read_model(dir_path, prefix, backup_url, "cpu", trust, lenient=True)
        registry = saved.attributes["registry_"]
        if isinstance(adata, AnnData):
            adata = align_genes(adata, saved.names)

        def read(_: str, load_adata: bool, **__: Any) -> tuple[Any, ...]:
            return *saved[:3], read_adata(dir_path, prefix, saved) if load_adata else None

        load = reading_by(super().load.__func__, read)  # type: ignore[misc]
        path = Path(dir_path, f"{prefix or ''}{SAVE_KEYS.MODEL_FNAME}")
        with (
            whole(path, f"saved {cls.__name__}"),
            errors_of_query(adata, lambda: registry),
            module_fits(saved.weights),
        ):
            model = load(
                cls,
                dir_path,
                adata=adata,
                accelerator=accelerator,
                device=device,
                prefix=prefix,
                backup_url=backup_url,
                datamodule=datamodule,
                allowed_classes_names_list=allowed_classes_names_list,
            )
        check_finite(model.module, path)
        return model

    @staticmethod
    def load_registry(
        dir_path: str, prefix: str | None = None, *, trust: bool = False
    ) -> dict[str, Any]:
        """Return the registry saved with a model.

        Differs from scvi-tools: nothing in the file is run, unless it is trusted.

        Parameters
        ----------
        dir_path, prefix, trust
            See :meth:`load`.
        """
        return read_model(dir_path, prefix, trust=trust).attributes["registry_"]

    @staticmethod
    def view_setup_args(dir_path: str, prefix: str | None = None, *, trust: bool = False) -> None:
        """Print the arguments with which the data of a saved model were set up.

        Differs from scvi-tools: nothing in the file is run, unless it is trusted.

        Parameters
        ----------
        dir_path, prefix, trust
            See :meth:`load`.
        """
        AnnDataManager.view_setup_method_args(
            SafeFilesMixin.load_registry(dir_path, prefix, trust=trust)
        )

    @classmethod
    def convert_legacy_save(
        cls,
        dir_path: str,
        output_dir_path: str,
        overwrite: bool = False,
        prefix: str | None = None,
        *,
        trust: bool = False,
        **save_kwargs: Any,
    ) -> None:
        """Convert a model that scvi-tools before 0.15 saved.

        Differs from scvi-tools: such a model consists of pickles that can run any code, so it is
        converted only if it is trusted.

        Parameters
        ----------
        dir_path, output_dir_path, overwrite, prefix, **save_kwargs
            See :meth:`scvi.model.base.BaseModelClass.convert_legacy_save`.
        trust
            Unpickle the files. Only for files whose maker you trust.

        Raises
        ------
        lucidvi.errors.UntrustedFileError
            Unless ``trust=True``.
        """
        if not trust:
            raise UntrustedFileError(
                f"{dir_path} is in the layout of scvi-tools before 0.15, which can only be "
                "unpickled, and that can run any code.",
                remedy="pass `trust=True` only if you trust whoever made the files.",
            )
        super().convert_legacy_save(  # type: ignore[misc]
            dir_path, output_dir_path, overwrite, prefix, **save_kwargs
        )

    # Given a folder as `reference_model`, these read it safely, and are otherwise scvi's own.
    load_query_data: Any = classmethod(
        reading_by(ArchesMixin.load_query_data.__func__, read_saved_files)
    )
    prepare_query_anndata = staticmethod(
        reading_by(ArchesMixin.prepare_query_anndata, read_saved_files)
    )
    prepare_query_mudata = staticmethod(
        reading_by(ArchesMixin.prepare_query_mudata, read_saved_files)
    )
