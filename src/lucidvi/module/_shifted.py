"""A module that decodes the features of its main modality otherwise."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from lucidvi.distributions import adopt
from lucidvi.nn import Covariates


class ShiftedModule(nn.Module):
    """A :class:`Generative` whose main modality is shifted, by its likelihood.

    All else is that of the module.

    Parameters
    ----------
    module
        The module; its weights are shared.
    log_shift
        See :meth:`Generative.shifted`.
    """

    def __init__(self, module: Any, log_shift: Tensor) -> None:
        super().__init__()
        self.module = module
        self.log_shift = log_shift
        self.training = module.training

    def __getattr__(self, name: str) -> Any:
        """Return what the module has."""
        module = super().__getattr__("module")
        return module if name == "module" else getattr(module, name)

    def decode(
        self, z: Tensor, s: Covariates, log_exposures: Mapping[str, Tensor]
    ) -> dict[str, Any]:
        """See :meth:`Generative.decode`."""
        likelihoods = self.module.decode(z, s, log_exposures)
        key, modality = next(iter(self.module.modalities.items()))
        log_shift = self.log_shift.to(z)
        shifted = adopt(likelihoods[key]).shifted(log_shift, modality.is_normalized)
        return {**likelihoods, key: shifted}
