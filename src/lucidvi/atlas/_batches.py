"""A model of the query: the reference's, with parameters for batches that it did not know."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from itertools import cycle, islice
from typing import Any

import numpy as np
import scvi
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import Parameter

from lucidvi.atlas._query import Query
from lucidvi.errors import DataError, first_few
from lucidvi.inference import PosteriorTarget, refine
from lucidvi.model import SCVI

#: Cells from which new batches are learned, at most, and cells a minibatch.
N_CELLS, BATCH_SIZE = 2_000, 128
#: Rounds of refining the cells and of adapting the batch to them, steps a round, their rate.
N_ROUNDS, N_STEPS, RATE = 3, 60, 1e-2
#: Draws of each cell's posterior at a step.
N_DRAWS = 4
SEED = 0
#: Warnings for whoever trains on a query; here the latent states move by refinement.
NOT_HERE = ("Training this model on the query cannot move", ".* has fewer than 3 cells")
#: What is known of it: where a batch differs much from all known ones, the encoder did better.
NEW = (
    "The query has batches that the reference's model does not know: {}. Their weights are "
    "learned from the query. If their effect is strong, such as that of another technology, "
    "labels can be worse than by the encoder alone: compare with "
    "SCVI.load_query_data(query, reference.model).get_latent_representation()."
)


@dataclass(frozen=True)
class NewColumns:
    """Weights of the decoder, of which the last columns belong to batches.

    Parameters
    ----------
    weight
        Weights, shape ``(n_out, n_in + n_batches)``.
    n_batches, n_new
        Batches in all, and those that are new.
    """

    weight: Parameter
    n_batches: int
    n_new: int

    def start(self) -> None:
        """Start the new batches in the middle of the known ones."""
        with torch.no_grad():
            batches = self.weight[:, -self.n_batches :]
            if batches.shape[1] - self.n_new == 1:  # a single batch had no column: it gets zeros
                batches.zero_()
            known = batches[:, : -self.n_new]
            batches[:, -self.n_new :] = known.mean(dim=1, keepdim=True)

    def keep_the_rest(self) -> None:
        """Zero the gradient of everything but the new batches."""
        if self.weight.grad is not None:
            self.weight.grad[:, : -self.n_new] = 0


def model_of_query(reference: SCVI, query: Query) -> SCVI:
    """Return a model with the reference's weights, bound to the query.

    Batches that the reference does not know get weights in the decoder, learned on the query
    with everything else frozen.

    Parameters
    ----------
    reference
        Trained model; it is not changed.
    query
        The cells.

    Raises
    ------
    lucidvi.errors.DataError
        If a batch is new to a model that batches enter otherwise than by the decoder's first
        layer.
    """
    if query.new_batches:
        _check_has_categories_of_batches_only(reference, query.new_batches)
    with warnings.catch_warnings():
        for message in NOT_HERE:
            warnings.filterwarnings("ignore", message=message)
        model: Any = SCVI.load_query_data(query.adata, reference)
    model.is_trained_ = True
    model.module.eval()
    if query.new_batches:
        columns = _new_columns(reference, model, query.new_batches)
        warnings.warn(
            NEW.format(first_few(query.new_batches)),
            UserWarning,
            stacklevel=scvi.settings.warnings_stacklevel,
        )
        _set_library_prior(model, query)
        _learn(model, query, columns)
    return model


def _learn(model: Any, query: Query, columns: list[NewColumns]) -> None:
    r"""Maximize the ELBO of the measured genes by the new batches' weights.

    In turns: each cell's posterior is refined, then the weights take steps up the gradient of
    :math:`\mathrm{E}_q[\log p(x_\text{measured}, z)]`. The module stays in evaluation mode, so
    that the batch norm is the reference's.
    """
    targets = list(_targets(model, query))
    optimizer = torch.optim.Adam([part.weight for part in columns], lr=RATE)
    generator = torch.Generator().manual_seed(SEED)
    for _ in range(N_ROUNDS):
        posteriors = [refine(target).posterior for target in targets]
        pairs = cycle(zip(targets, posteriors, strict=True))
        for target, posterior in islice(pairs, N_STEPS):
            draws = torch.randn(N_DRAWS, target.n_latent, generator=generator)
            z = posterior.at(draws.to(posterior.loc)).detach()
            optimizer.zero_grad()
            _loss(target, z).backward()
            for part in columns:
                part.keep_the_rest()
            optimizer.step()


def _loss(target: PosteriorTarget, z: Tensor) -> Tensor:
    with torch.enable_grad():
        return -target.log_joint(z).mean()


def _set_library_prior(model: Any, query: Query) -> None:
    """Give new batches the mean of their own log libraries and the variance of the known ones.

    A batch of one cell has no variance of its own. Nothing to do where the library is observed.
    """
    if model.module.use_observed_lib_size:
        return
    names = model.registry["field_registries"]["batch"]["state_registry"]["categorical_mapping"]
    batch = query.adata.obs[model.registry["setup_args"]["batch_key"]].astype(str).to_numpy()
    log_library = np.log(np.asarray(query.adata.X.sum(axis=1)).ravel())
    means, variances = model.module.library_log_means, model.module.library_log_vars
    n_new = len(query.new_batches)
    with torch.no_grad():
        means[:, -n_new:] = means.new_tensor(
            [log_library[batch == str(name)].mean() for name in names[-n_new:]]
        )
        variances[:, -n_new:] = variances[:, :-n_new].mean()


def _targets(model: Any, query: Query) -> list[PosteriorTarget]:
    """Targets of the cells that new batches are learned from, as the reference decodes them."""
    batch_key = model.registry["setup_args"]["batch_key"]
    is_new = query.adata.obs[batch_key].astype(str).isin(query.new_batches)
    cells = _some(np.flatnonzero(is_new.to_numpy()), N_CELLS)
    loader = model._make_data_loader(adata=model.adata, indices=cells, batch_size=BATCH_SIZE)
    genes = None if query.genes.all() else query.genes
    return [PosteriorTarget.from_module(model.module, tensors, genes) for tensors in loader]


def _some(cells: NDArray[np.integer], limit: int) -> NDArray[np.integer]:
    """At most ``limit`` of the cells, in a random order that is always the same."""
    return np.random.default_rng(SEED).permutation(cells)[:limit]


def _new_columns(reference: Any, model: Any, new: list[str]) -> list[NewColumns]:
    """Start the weights that grew, those of encoder and decoder, and return the decoder's."""
    before = reference.module.state_dict()
    grown = {
        name: weight
        for name, weight in model.module.named_parameters()
        if weight.shape != before[name].shape
    }
    others = [name for name in grown if "coder" not in name or "fc_layers" not in name]
    if others or not grown:
        raise _cannot_learn(new, f"Batches enter its {first_few(others or ['priors'])}")
    n_batches = model.summary_stats.n_batch
    columns = {name: NewColumns(weight, n_batches, len(new)) for name, weight in grown.items()}
    for part in columns.values():
        part.start()
    return [part for name, part in columns.items() if "decoder" in name]


def _check_has_categories_of_batches_only(reference: Any, new: list[str]) -> None:
    """Refuse models whose weights of batches are not the last columns."""
    if reference.registry["setup_args"].get("categorical_covariate_keys"):
        raise _cannot_learn(new, "It has other categorical covariates, `categorical_...keys`")
    if reference.module.batch_representation == "embedding":
        raise _cannot_learn(new, "It has `batch_representation='embedding'`")


def _cannot_learn(new: list[str], why: str) -> DataError:
    return DataError(
        f"The query has batches that the reference's model does not know: {first_few(new)}. "
        f"{why}, which mapping cannot extend yet.",
        remedy="train on them, model = SCVI.load_query_data(query, reference.model) and "
        "model.train(), and make a reference of that model; or give the cells the name of a "
        "known batch.",
    )
