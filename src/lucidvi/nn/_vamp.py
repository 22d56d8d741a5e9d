"""The mixture of the posteriors of pseudo-inputs."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from lucidvi.nn._mixture import Mixture, check_n_components
from lucidvi.nn._prior import Covariates, Encode, Prior, Sizes

#: Columns that an encoder may see besides the genes.
COLUMNS = ("batch", "categorical", "continuous")
#: What a pseudo-input starts above its cell, since an absolute value has no slope at zero.
START = 0.01


class VampPrior(Prior):
    r"""Variational mixture of posteriors, :math:`\sum_k w_k \, q(z \mid u_k, s_k)`.

    The weights and the pseudo-inputs :math:`u_k` are learned, in the space that the encoder sees
    and non-negative as cells are: :math:`u_k` is the absolute value of a weight, which nothing
    keeps from leaving zero again. Each starts as a random training cell and keeps its covariates
    :math:`s_k`. Without training cells to start from, they are drawn from an exponential
    distribution, with random levels.

    Its components are no wider than posteriors, so that deeply sequenced cells between them are
    explained badly: try :class:`NormalMixture` first.

    With a frozen prior (that of a reference model, when it is trained on a query) the posteriors
    are constants, so that what the reference's cells are mapped to does not change.

    Parameters
    ----------
    sizes
        See :class:`Prior`.
    n_components
        Number of pseudo-inputs.

    References
    ----------
    Tomczak and Welling, AISTATS (2018), VAE with a VampPrior.
    """

    def __init__(self, sizes: Sizes, n_components: int = 50) -> None:
        super().__init__(sizes)
        check_n_components(n_components)
        self.n_starting_cells = n_components
        self.logits = nn.Parameter(torch.zeros(n_components))
        self.pseudo_inputs = nn.Parameter(torch.empty(n_components, sizes.n_input).exponential_())
        for name in ("batch", "categorical"):
            n_levels = sizes.n_levels.get(name, ())
            levels = [torch.randint(max(1, n), (n_components,)) for n in n_levels]
            column = torch.stack(levels, dim=1) if levels else torch.empty(n_components, 0).long()
            self.register_buffer(name, column)
        self.register_buffer("continuous", torch.randn(n_components, sizes.n_continuous))

    def forward(self, z: Tensor, covariates: Covariates, encode: Encode) -> Mixture:
        """See :meth:`Prior.forward`."""
        columns = {name: cast(Tensor, getattr(self, name)) for name in COLUMNS}
        shown = {name: column if column.shape[1] else None for name, column in columns.items()}
        learns = torch.is_grad_enabled() and self.pseudo_inputs.requires_grad
        with torch.set_grad_enabled(learns):
            components = encode(self.pseudo_inputs.abs(), shown)
        return Mixture(self.logits, components, z.shape[:-1])

    @torch.no_grad()
    def start_from(self, x: Tensor, covariates: Covariates) -> None:
        """See :meth:`Prior.start_from`."""
        self.pseudo_inputs.copy_(x + START)
        for name in COLUMNS:
            values = covariates.get(name)
            if values is not None:
                getattr(self, name).copy_(values)
