"""Velocities of cells and genes, and rates of genes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from anndata import AnnData
from scvi.model.base import BaseModelClass

from lucidvi._positions import name_positions
from lucidvi._random import isolated
from lucidvi.checks import check_whole, is_number
from lucidvi.errors import DataError
from lucidvi.model._cells import Cells
from lucidvi.model.flow._cells import covariates_of, decoded_blocks, fitted, spliced_cells
from lucidvi.model.queries._query import query
from lucidvi.train import fit_kinetics

#: Most cells that kinetics are fitted to.
MOST_CELLS = 50_000
#: Agreement below which a gene speaks for the reverse of the direction: 5 % of genes by chance.
AGAINST = -1.645


class VelocityMixin(BaseModelClass):
    """Where cells go, and how fast."""

    def fit_kinetics(self, n_steps: int = 800, seed: int = 0) -> None:
        """Fit the field of velocity and the rates of genes; :meth:`train` does so at its end.

        Parameters
        ----------
        n_steps
            Steps of the training.
        seed
            Of all draws.

        Raises
        ------
        lucidvi.errors.DataError
            If the autoencoder is not trained, or no gene has enough molecules of both kinds.
        """
        check_whole("n_steps", n_steps, least=1)
        check_whole("seed", seed)
        self._check_if_trained(warn=False)
        n_cells = 0 if self.adata is None else self.adata.n_obs
        chosen = None
        if n_cells > MOST_CELLS:
            drawn = np.random.default_rng(seed).choice(n_cells, MOST_CELLS, replace=False)
            chosen = np.sort(drawn)
        with isolated(seed):
            cells = spliced_cells(self, None, chosen)
        fit_kinetics(self.module, cells, n_steps=n_steps, seed=seed)

    @query
    def get_velocity(
        self,
        adata: AnnData | None = None,
        indices: Sequence[int] | None = None,
        *,
        return_uncertainty: bool = False,
    ) -> np.ndarray | tuple[np.ndarray, np.ndarray]:
        r"""Return how fast cells move on the latent space.

        Parameters
        ----------
        adata, indices
            The cells, see :meth:`get_elbo`.
        return_uncertainty
            Return standard errors too: those of a jackknife that leaves out half of the genes.

        Returns
        -------
        Velocities at the means of the cells' posteriors, in latent units per mean lifetime of the
        spliced molecules of a typical gene, shape ``(n_cells, n_latent)``; in the order of the
        cells.
        """
        kinetics = fitted(self)
        z = torch.from_numpy(np.asarray(self.get_latent_representation(adata, indices)))
        with torch.no_grad():
            members = kinetics.velocity(z.to(self.device)).cpu()
        mean = members.mean(dim=0).numpy()
        if not return_uncertainty:
            return mean
        half = (members[0::2] - members[1::2]) / 2
        return mean, half.square().mean(dim=0).sqrt().numpy()

    @query
    def get_gene_velocity(
        self,
        adata: AnnData | None = None,
        indices: Sequence[int] | None = None,
        gene_list: Sequence[str] | None = None,
        *,
        library_size: float = 1e4,
        only_fitting: bool = True,
    ) -> pd.DataFrame:
        r"""Return how fast the spliced molecules of genes become more.

        .. math:: \frac{d s_g}{dt} = s_g(z) \, \nabla \log s_g(z) \cdot v(z)

        with the spliced expression :math:`s` that the decoder gives, see
        :meth:`get_spliced_expression`.

        Parameters
        ----------
        adata, indices
            The cells, see :meth:`get_elbo`.
        gene_list
            Names of the genes; by default all.
        library_size
            What the spliced expression of a cell sums to.
        only_fitting
            NaN for genes that do not fit, see :meth:`get_rates`.

        Returns
        -------
        Molecules per unit of time, a row a cell, a column a gene.
        """
        return self._of_genes(
            adata, indices, gene_list, library_size, velocity=True, only_fitting=only_fitting
        )

    @query
    def get_spliced_expression(
        self,
        adata: AnnData | None = None,
        indices: Sequence[int] | None = None,
        gene_list: Sequence[str] | None = None,
        *,
        library_size: float = 1e4,
    ) -> pd.DataFrame:
        """Return the spliced expression that the decoder gives at the means of the posteriors.

        Parameters
        ----------
        adata, indices
            The cells, see :meth:`get_elbo`.
        gene_list, library_size
            See :meth:`get_gene_velocity`.

        Returns
        -------
        A row a cell, a column a gene; all genes of a cell sum to ``library_size``.
        """
        return self._of_genes(
            adata, indices, gene_list, library_size, velocity=False, only_fitting=False
        )

    def _of_genes(
        self,
        adata: AnnData | None,
        indices: Any,
        gene_list: Sequence[str] | None,
        library_size: float,
        *,
        velocity: bool,
        only_fitting: bool,
    ) -> pd.DataFrame:
        """Return spliced expression of genes, or its velocity."""
        kinetics = fitted(self)
        if not (is_number(library_size) and library_size > 0):
            raise DataError(
                f"`library_size` is {library_size!r}, and has to be a positive number.",
                remedy="library_size=1e4",
            )
        cells = Cells.of(self, adata, indices)
        genes = pd.Index(self.get_var_names())
        columns = name_positions(gene_list, genes, "gene_list")
        found = np.empty((len(cells), len(genes[columns])), np.float32)
        z = self.get_latent_representation(cells.adata, cells.positions)
        states = torch.from_numpy(np.asarray(z)).to(self.device)
        with isolated(module=self.module), torch.no_grad():
            for block in decoded_blocks(self, states, covariates_of(self, cells)):
                values = kinetics.log_spliced(block.last, block.decoded).exp() * library_size
                if velocity:
                    mean = kinetics.velocity(block.z).mean(dim=0)
                    values = values * kinetics.slopes(block.last, block.decoded, mean)
                found[block.rows.numpy()] = values.cpu().numpy()[:, columns]
        if only_fitting:
            found[:, ~self._fits()[columns]] = np.nan
        return pd.DataFrame(found, index=cells.names, columns=genes[columns])

    def get_rates(self) -> pd.DataFrame:
        r"""Return the rates of genes, and whether they fit.

        A gene does not fit where it has too few molecules of both kinds, or where they speak for
        the reverse of the direction that was learned from other genes (``agreement`` below
        -1.645).

        Returns
        -------
        A row a gene. ``degradation``, the rate :math:`\gamma` of its spliced molecules, in units
        of a typical gene's, and ``degradation_error``, the standard deviation of its log, given
        the field, whose own speed comes out too low where molecules are few;
        ``unspliced_ratio``, unspliced over spliced molecules at rest,
        :math:`\gamma / \beta` times how well both are captured;
        ``agreement``, a standard normal number by chance, above zero where the gene speaks for
        the direction that was learned from others; ``n_unspliced`` molecules, ``overdispersion``
        of their share; ``is_used``; ``fits``.
        """
        kinetics = fitted(self)
        members = kinetics.learned.float()
        mean = kinetics.rate()
        apart = ((kinetics.log_rate - mean).square() * members).sum(dim=0)
        n_learned = members.sum(dim=0)
        between = apart / (n_learned - 1).clamp(min=1) / n_learned.clamp(min=1)
        error = (kinetics.log_rate_scale.square() + between).sqrt()
        ratio = (kinetics.log_odds * members).sum(dim=0) / n_learned.clamp(min=1)
        used = kinetics.is_used.cpu().numpy()
        columns = {
            "degradation": mean.exp(),
            "degradation_error": error,
            "unspliced_ratio": (ratio + kinetics.log_ratio).exp(),
            "agreement": kinetics.agreement,
            "n_unspliced": kinetics.n_unspliced,
            "overdispersion": kinetics.dispersion,
        }
        table = pd.DataFrame(
            {name: values.cpu().numpy().astype(float) for name, values in columns.items()},
            index=pd.Index(self.get_var_names(), name="gene"),
        )
        table.loc[~used, list(set(columns) - {"n_unspliced"})] = np.nan
        return table.assign(is_used=used, fits=self._fits())

    def _fits(self) -> np.ndarray:
        kinetics = fitted(self)
        return (kinetics.is_used & (kinetics.agreement > AGAINST)).cpu().numpy()
