"""The variational autoencoder of spliced and unspliced molecules."""

from __future__ import annotations

from typing import Any, cast

from torch import nn

from lucidvi.module._vae import VAE
from lucidvi.module.kinetics._kinetics import Kinetics


class KineticVAE(VAE):
    r"""Autoencoder of all molecules of a gene, of which kinetics say how many are unspliced.

    .. math::
        t_{ng} &\sim p(t \mid z_n) \\
        u_{ng} &\sim \mathrm{Binomial}(t_{ng}, \pi_{ng}(z_n)), \qquad s_{ng} = t_{ng} - u_{ng}

    For the first line see :class:`VAE`, of which it takes the arguments; for the second
    :class:`Kinetics`, which is fitted once the autoencoder is.

    Parameters
    ----------
    n_input
        Number of genes.
    n_pairs
        See :class:`Kinetics`.
    **kwargs
        Further arguments of :class:`VAE`.
    """

    def __init__(self, n_input: int, *, n_pairs: int = 2, **kwargs: Any) -> None:
        super().__init__(n_input, **kwargs)
        last = cast(nn.Linear, self.decoder.px_scale_decoder[0])
        self.kinetics = Kinetics(
            n_input, last.in_features, self.n_latent, max(self.n_batch, 1), n_pairs
        )
