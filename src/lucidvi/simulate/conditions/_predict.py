"""Cells as they would be under a condition that cells of their kind were never seen under."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import torch
from anndata import AnnData
from anndata.utils import make_index_unique
from numpy.typing import NDArray
from scipy import sparse
from scvi.model.base import BaseModelClass

from lucidvi import kernels
from lucidvi._kinds import checked
from lucidvi.checks import check_choice, check_whole
from lucidvi.model import Cells
from lucidvi.simulate._drawing import drawing
from lucidvi.simulate._models import model_of_counts
from lucidvi.simulate._output import STATE, columns_of_origin
from lucidvi.simulate._record import recorded
from lucidvi.simulate.conditions._carried_over import NOISE
from lucidvi.simulate.conditions._compared_cells import Compared, compared, condition_setting
from lucidvi.simulate.conditions._gene_responses import GeneShift, shrunk_log_ratios
from lucidvi.simulate.conditions._responses import METHODS, Seen

ASSUMPTIONS = (
    "The other labels' cells of both conditions come from the same kinds of cells, so that what "
    "differs between them is the response.",
    "The response of these cells is like that of other labels in the way that the method says.",
    "Each cell keeps its library size and its inverse dispersions.",
)


@checked
def predict_condition(
    model: BaseModelClass,
    adata: AnnData | None = None,
    *,
    condition_key: str,
    control: str,
    target: str,
    labels_key: str,
    label: str | None = None,
    indices: Any | None = None,
    method: Literal["shift", "nearest", "transport", "genes", "decoder"] = "nearest",
    noise: Literal["kept", "new"] = "kept",
    seed: int = 0,
) -> AnnData:
    r"""Predict how control cells would be under a condition that their label was not seen under.

    What the condition does is learned on the other labels, in the latent space of a model that was
    trained on all of them: each cell's state is drawn from its posterior, shifted, and decoded,

    .. math:: z_c \sim q(z \mid x_c), \qquad x'_c \sim p(x \mid z_c + \delta_c, s_c)

    Where the condition is the batch or a categorical covariate of the model's, :math:`s_c` is set
    to the target, and shifts are what differs between the conditions beyond it; not so for
    ``"genes"``.

    ================  ===========================================================================
    ``"shift"``       the mean over the other labels of their mean states under the target, less
                      those under control (scGen)
    ``"nearest"``     such differences weighted, for each cell, by the labels of its 50 nearest
                      control cells
    ``"transport"``   the mean way that optimal transport takes its 50 nearest control cells to
                      target cells of the same label; needs POT
    ``"genes"``       no shift of states: log means of genes are shifted by the labels' log fold
                      changes, weighted as the differences of ``"nearest"``
    ``"decoder"``     no shift; the model needs the condition as batch or covariate
    ================  ===========================================================================

    For ``"genes"`` the log means of a cell are those of its state and control, moved by

    .. math:: \log \mu'_{cg} = \log \mu_{cg} + \sum_\ell w_{c\ell} \beta_{\ell g} + k_c

    with :math:`w_{c\ell}` the share of label :math:`\ell` among the nearest control cells and
    :math:`k_c` such that the sum of the means stays. The log fold changes
    :math:`\beta_{\ell g}` are those of the sums of the label's counts, drawn to the response of
    all labels by five pseudo-counts, so that a label with few counts of a gene answers as the
    others do. They are all that differs between the conditions: a model that knows the condition
    decodes under control.

    How far to believe it, only cells that were seen can tell: :func:`compare_conditions` sets the
    methods beside "no change" and the mean shift of the other labels.

    Parameters
    ----------
    model
        Trained model of counts, of LucidVI or scvi-tools. It and the data are not changed.
    adata
        Cells of both conditions, to learn from, and those to predict for; by default the model's.
    condition_key
        Column of ``obs`` with the conditions.
    control, target
        Two of that column's values.
    labels_key
        Column of ``obs`` with the cell types.
    label
        Label whose control cells to predict for. Its target cells, if there are any, are not
        learned from.
    indices
        Control cells to predict for, in place of ``label``: positions, a boolean mask, a slice, or
        names. Target cells of their labels are not learned from.
    method
        How the response is learned, see above.
    noise
        ``"kept"`` changes each count as far as its expectation changes, so that what makes it
        differ from the expectation is that of the control cell; ``"new"`` draws it from the
        decoded likelihood.
    seed
        Seed of everything that is drawn.

    Returns
    -------
    A cell for each control cell, of the same name and ``obs`` but for the condition: counts in
    ``X`` (CSR), latent states in ``obsm["X_lucidvi"]``, the request in
    ``uns["lucidvi_simulation"]``.

    Raises
    ------
    lucidvi.errors.MissingKeyError
        If there is no such column.
    lucidvi.errors.DataError
        If a value does not occur, cells are no control cells, or no other label has two cells of
        each condition.
    lucidvi.errors.ModelTypeError
        If the model draws no counts, or the method needs the condition as a covariate.
    lucidvi.errors.MissingPackageError
        If POT is not installed: ``pip install "lucidvi[simulate]"``.

    References
    ----------
    Lotfollahi, Wolf and Theis, Nature Methods 16 (2019), scGen predicts single-cell perturbation
    responses.
    """
    request = {
        "adata": adata,
        "condition_key": condition_key,
        "control": control,
        "target": target,
        "labels_key": labels_key,
        "label": label,
        "indices": indices,
        "method": method,
        "noise": noise,
        "seed": seed,
    }
    check_choice("method", method, METHODS)
    check_choice("noise", noise, NOISE)
    check_whole("seed", seed)
    model = model_of_counts(model, whole=True)
    cells = compared(
        model, adata, condition_key, control, target, labels_key, label=label, indices=indices
    )
    out = predicted(cells, method, noise, seed)
    return recorded(out, "predict_condition", request, ASSUMPTIONS)


def predicted(cells: Compared, method: str, noise: str, seed: int) -> AnnData:
    """Predict the target cells of checked arguments, see :func:`predict_condition`."""
    row = METHODS[method]
    setting = None
    if row.gene_weights is None:
        setting = condition_setting(cells, required=row.needs_covariate, method=method)
    counts, states = [], []
    with drawing(cells.model, seed):
        z = latent_means(cells.predicted)
        control = {label: latent_means(part) for label, part in cells.control.items()}
        target = {label: latent_means(part) for label, part in cells.target.items()}
        seen = Seen(control, target, seed)
        shift = torch.as_tensor(row.shift(z, seen))
        genes = row.gene_weights and gene_shift(cells, row.gene_weights(z, seen))
        for rows, before in cells.predicted.targets("Predicting"):
            state = before.q0.sample()
            moved = before.with_latent(state, before.latent(state) + shift[rows].to(state))
            after = before if setting is None else setting.of(before, rows)
            x = kernels.to_dense(before.x)
            expected = after.likelihood(moved)
            if genes is not None:
                expected = genes.apply(expected, rows)
            drawn = NOISE[noise](x, before.likelihood(state), expected)
            counts.append(sparse.csr_matrix(drawn.cpu().numpy()))
            states.append(before.representation(moved).cpu().numpy())
    obs = columns_of_origin(cells.predicted)
    obs[cells.condition_key] = cells.target_name
    obs.index = make_index_unique(obs.index.astype(str))  # a cell may be there several times
    var = cells.model.adata.var.copy()
    out = AnnData(sparse.vstack(counts, format="csr"), obs=obs, var=var)
    out.obsm[STATE] = np.concatenate(states)
    return out


def gene_shift(cells: Compared, weights: NDArray[np.floating]) -> GeneShift:
    """Return the shift of log means that labels of these weights have, see :class:`GeneShift`."""
    sums = [
        np.stack([np.ravel(part.counts.sum(axis=0)) for part in by_label.values()])
        for by_label in (cells.control, cells.target)
    ]
    return GeneShift(weights, shrunk_log_ratios(*sums))


def latent_means(cells: Cells) -> NDArray[np.float32]:
    """Means of the encoder's posteriors, before any softmax, ``(n_cells, n_latent)``."""
    means = [target.latent(target.q0.mean) for _, target in cells.targets("Encoding")]
    return torch.cat(means).cpu().numpy()
