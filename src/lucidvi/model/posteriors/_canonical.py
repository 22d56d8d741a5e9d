"""The latent space in the one rotation that is well defined."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from scvi.model.base import BaseModelClass

from lucidvi._random import in_evaluation
from lucidvi.errors import DataError, ModelTypeError
from lucidvi.inference import canonical_axes
from lucidvi.model._cells import Cells

#: Most cells that the directions are taken from, drawn with a fixed seed.
N_CELLS = 5_000


class CanonicalMixin(BaseModelClass):
    """Axes of the latent space that can be compared between models."""

    def canonicalize(self) -> np.ndarray:
        r"""Turn the latent space to its canonical axes, in place.

        With a standard normal prior every rotation of the latent space, undone by the decoder,
        fits equally well. This one orders the axes by how much expression varies along them, and
        fixes their signs, see :func:`lucidvi.inference.canonical_axes`. One orthogonal matrix
        :math:`R`, the module's buffer ``rotation``, is kept between encoder and decoder:

        .. math:: q(z \mid x) = \mathrm{Normal}(R^\top m, \; R^\top S R), \quad
            p(x \mid z) = p_\mathrm{decoder}(x \mid R z)

        The ELBO of each cell does not change, nor do neighbours, clusters and expression. The
        posteriors have full covariances from then on, so that all that holds of a model with
        ``posterior="full"`` does here. Latent states that were stored before are turned by
        multiplying them with the result. The model can be trained further, with the matrix as it
        is; call this again afterwards. A second call changes nothing.

        Returns
        -------
        The matrix by which the latent states that the model gave so far have to be multiplied,
        ``model.get_latent_representation() @ matrix``, shape ``(n_latent, n_latent)``.

        Raises
        ------
        lucidvi.errors.ModelTypeError
            If another rotation would not fit equally well, since the prior is another one or the
            latent state a logistic normal.
        lucidvi.errors.DataError
            If the model holds no counts, or latent states that were stored in the old axes.
        """
        self._check_if_trained(warn=False)
        self._check_can_turn()
        directions = self._canonical_directions()
        module, dtype = self.module, next(self.module.parameters()).dtype
        before = np.eye(len(directions))
        if module.rotation is not None:
            before = module.rotation.double().cpu().numpy()
        module.rotation = torch.tensor(directions, dtype=dtype, device=module.device)
        # A model that is loaded, or made for a query, is made with these arguments.
        self._module_kwargs["rotated"] = True
        self.init_params_["kwargs"]["kwargs"]["rotated"] = True
        return before.T @ directions

    def _canonical_directions(self) -> np.ndarray:
        """Canonical directions in the encoder's own axes, so that each call finds the same."""
        module = self.module
        order = np.random.default_rng(0).permutation(self.adata.n_obs)
        cells = Cells(self, self.adata, np.sort(order[:N_CELLS]))
        rotation, module.rotation = module.rotation, None
        try:
            with in_evaluation(module):
                targets = (target for _, target in cells.targets())
                return canonical_axes(targets)[0]
        finally:
            module.rotation = rotation

    def _check_can_turn(self) -> None:
        """Raise where the latent space cannot be turned."""
        if not self.module.is_rotation_invariant:
            raise ModelTypeError(
                "The latent axes of this model cannot be turned: another rotation fits equally "
                "well with a standard normal prior alone, where the decoder can undo it, and the "
                f"model has {_what(self.module)}.",
                remedy='Train a model with `prior="standard_normal"` and '
                '`latent_distribution="normal"`, or read the axes as they are.',
            )
        if not hasattr(self.module, "rotation"):
            raise ModelTypeError(
                f"The latent axes of this model cannot be turned: a {type(self.module).__name__} "
                "keeps no rotation between its encoders and its decoders.",
                remedy="Read the axes as they are; `lucidvi.audit.run(model)` tells which "
                "directions the data tell apart.",
            )
        if self.adata is None or self.minified_data_type is not None:
            problem = "has no AnnData" if self.adata is None else "takes stored latent states"
            raise DataError(
                f"The model {problem}, so canonical axes cannot be found, or would not be those "
                "of what is stored.",
                remedy="Set `model.adata` to the AnnData with the counts, and minify it, or "
                "refine its posteriors, after `model.canonicalize()`.",
            )


def _what(module: Any) -> str:
    """Say what a module has in place of a latent space that can be turned."""
    prior = getattr(module, "prior", None)
    if prior is None:
        return f"a {type(module).__name__}, which does not say that it does"
    return (
        f"the prior {type(prior).__name__} and "
        f"`latent_distribution={module.latent_distribution!r}`"
    )
