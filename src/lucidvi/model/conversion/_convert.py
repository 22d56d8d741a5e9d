"""Lossless conversion between LucidVI's and scvi-tools' SCVI."""

from __future__ import annotations

import inspect
import warnings
from copy import deepcopy
from typing import Any

import scvi
import torch
from anndata import AnnData
from scvi.model.base import BaseModelClass
from scvi.module import SCANVAE
from scvi.module.base import BaseModuleClass
from scvi.nn import FCLayers

from lucidvi._random import isolated
from lucidvi.data import copy_in_memory, in_categories_of, in_memory, scvi_reads
from lucidvi.errors import ModelTypeError
from lucidvi.model.conversion._scanvi import (
    FACTS_OF_LABELS,
    check_has_an_scvi,
    is_scanvi,
    weights_without_labels,
    without_labels,
)

#: Options of our modules that scvi-tools lacks, with the value that is all that it can do.
OWN_OPTIONS: dict[str, Any] = {
    "prior": "standard_normal",
    "prior_kwargs": None,
    "posterior": "diagonal",
    "posterior_kwargs": None,
}


TURNED_BACK = (
    "scvi-tools keeps no rotation of the latent space, so the model made has the axes from before "
    "`canonicalize`: the same ELBO and expression, but other latent states. "
    "`model.module.rotation` is the matrix by which to multiply them."
)


def convert(source: BaseModelClass, target_cls: type[BaseModelClass]) -> Any:
    """Make a model of ``target_cls`` with the data, weights and history of ``source``.

    Parameters
    ----------
    source
        SCVI model, LucidVI's or scvi-tools', or a SCANVI, of which the part is taken that is a
        SCVI. Its weights are copied. The AnnData is shared, unless scvi-tools cannot read its
        counts (``csr_array``): it then gets a copy.
    target_cls
        The other class.

    Returns
    -------
    Instance of ``target_cls``, on the same device and in the same mode.

    Raises
    ------
    lucidvi.errors.ModelTypeError
        If ``source`` is a model that scvi-tools does not have.
    """
    parameters = dict(source.init_params_["non_kwargs"])
    for keyword_arguments in source.init_params_["kwargs"].values():
        parameters.update(keyword_arguments)
    from_scanvi = is_scanvi(source)
    if from_scanvi:
        parameters = without_labels(parameters)
    if target_cls is scvi.model.SCVI:
        if parameters.pop("rotated", False):
            _check_can_turn_back(source)
        _drop_own_options(parameters)

    # The initial weights are overwritten, so drawing them must not move the user's seed.
    with isolated():
        if getattr(source, "adata", None) is not None:
            adata = source.adata
            if target_cls is scvi.model.SCVI:
                adata = in_categories_of(_readable(source), source.registry_)
            _setup(source, adata, target_cls)
            target = target_cls(adata, **parameters)
        elif hasattr(source, "registry_"):
            target = target_cls(registry=deepcopy(source.registry_), **parameters)
        else:
            target = target_cls(**parameters)
    if source.module is not None:
        _copy_weights(source.module, target.module)
    of_conversion = ("registry_", "init_params_", *(FACTS_OF_LABELS if from_scanvi else ()))
    for name, value in vars(source).items():
        if name.endswith("_") and name not in of_conversion:
            setattr(target, name, deepcopy(value))
    return target


def _drop_own_options(parameters: dict[str, Any]) -> None:
    """Take out what scvi-tools does not know, unless it makes another model."""
    for name, only_value in OWN_OPTIONS.items():
        value = parameters.pop(name, only_value)
        if value and value != only_value:
            raise ModelTypeError(
                f"The model has `{name}={value!r}`, which scvi-tools does not have.",
                remedy="Stay with this model: it has every method of `scvi.model.SCVI`. One made "
                f"with `{name}={only_value!r}` can be converted.",
            )


def _check_can_turn_back(source: BaseModelClass) -> None:
    """Warn that the axes are turned back, or raise where stored states would have to be, too."""
    if source.minified_data_type is not None:
        raise ModelTypeError(
            "The model's latent space was turned (`canonicalize`), which scvi-tools does not "
            "have, and its data hold latent states in the turned axes.",
            remedy="Set `model.adata` to the AnnData with the counts; such a model can be "
            "converted.",
        )
    warnings.warn(TURNED_BACK, UserWarning, stacklevel=scvi.settings.warnings_stacklevel)


def _readable(source: BaseModelClass) -> AnnData:
    """Return the AnnData, or a copy with its counts in a form that scvi-tools reads."""
    layer = source.registry_["setup_args"].get("layer")
    counts = source.adata.X if layer is None else source.adata.layers[layer]
    if counts is None or scvi_reads(counts):
        return source.adata
    adata, counts = copy_in_memory(source.adata), in_memory(counts)
    if layer is None:
        adata.X = counts
    else:
        adata.layers[layer] = counts
    return adata


def _setup(source: BaseModelClass, adata: AnnData, target_cls: type[BaseModelClass]) -> None:
    """Register the data of ``source`` with ``target_cls``, with the same categories."""
    registry = deepcopy(source.registry_)
    accepted = inspect.signature(target_cls.setup_anndata).parameters
    arguments = {k: v for k, v in registry["setup_args"].items() if k in accepted}
    if "is_count_data" in accepted:
        arguments.setdefault("is_count_data", None)
    target_cls.setup_anndata(adata, source_registry=registry, **arguments)


def _copy_weights(source: BaseModuleClass, target: BaseModuleClass) -> None:
    weights = source.state_dict()
    if isinstance(source, SCANVAE):
        weights = weights_without_labels(weights)
    if getattr(target, "rotation", None) is None:
        weights.pop("rotation", None)
    target.load_state_dict(weights)
    target.to(source.device)
    target.train(source.training)
    frozen = {name for name, weight in source.named_parameters() if not weight.requires_grad}
    for name, weight in target.named_parameters():
        weight.requires_grad_(name not in frozen)
    modules = dict(target.named_modules())
    for name, module in source.named_modules():
        if name in modules:  # the dictionary of embeddings is made when it is first asked for
            _copy_freezing(module, modules[name])


def _copy_freezing(source: torch.nn.Module, target: Any) -> None:
    """Freeze what query surgery froze: it is not among the weights."""
    if isinstance(source, torch.nn.BatchNorm1d):
        target.momentum = source.momentum
    elif isinstance(source, torch.nn.Dropout):
        target.p = source.p
    elif isinstance(source, FCLayers) and getattr(source, "hooks", None):
        hooks_on_all = len(source.hooks) == 2 * len(source.fc_layers)  # weight and bias each
        target.set_online_update_hooks(hook_first_layer=hooks_on_all)


def check_is_scvi_model(model: Any) -> None:
    """Raise :class:`ModelTypeError` for anything but a SCVI or SCANVI of scvi-tools."""
    if is_scanvi(model):
        check_has_an_scvi(model)
        return
    module = getattr(model, "module", None)
    same_networks = module is None or type(module) is scvi.module.VAE
    if not (isinstance(model, scvi.model.SCVI) and same_networks):
        raise ModelTypeError(
            f"`scvi_model` is a {type(model).__module__}.{type(model).__name__}.",
            remedy="Pass a `scvi.model.SCVI` or `SCANVI`, as their `load` returns it.",
        )
