"""Surface proteins: a background that is learned a protein and batch, and what is above it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import logsigmoid

from lucidvi.distributions import Likelihood, Moments
from lucidvi.module._drawn import made_now
from lucidvi.module.mosaic._part import Part

#: Log odds of the background's mean as a share of the foreground's where a training starts.
RATIO_START = -1.0


class Protein(Part):
    r"""Networks and parameters of surface proteins.

    Proteins have no exposure, since their total is no measure of depth: a few of them make most of
    it. The mean of the background is that of the protein in the batch, times what depends on the
    state, and the foreground lies above it:

    .. math::
        \log \mu^\text{bg}_t = b_{t s} + h_t(z, s), \quad
        \mu^\text{fg}_t = \mu^\text{bg}_t / \alpha_t(z, s)

    For the arguments see :class:`Part`.
    """

    def __init__(
        self,
        likelihood: type[Likelihood],
        n_features: int,
        *,
        n_cat_list: Sequence[int],
        **kwargs: Any,
    ) -> None:
        super().__init__(likelihood, n_features, n_cat_list=n_cat_list, **kwargs)
        self.log_background = nn.Parameter(torch.zeros(max(n_cat_list[0], 1), n_features))

    def decode(self, z: Tensor, categories: Sequence[Tensor], log_exposure: Tensor) -> Likelihood:
        """See :meth:`Part.decode`."""
        mean, heads = self.decoder.deferred(z, *categories)
        values: dict[str, Any] = made_now({**self.parameters_of_features, **heads})
        log_mean = self.log_background[categories[0].squeeze(-1).long()] + mean["logits"]
        if "ratio_logits" in heads:
            ratio = values["ratio_logits"]
            values["ratio_logits"] = ratio = ratio() if callable(ratio) else ratio
            log_mean = log_mean - logsigmoid(ratio)
        return self.likelihood(log_scale=log_mean, **values, log_library=log_exposure)

    @torch.no_grad()
    def start_from(self, moments: Moments) -> None:
        """See :meth:`Part.start_from`."""
        self._start_mean(torch.zeros_like(moments.rate))
        log_rate = moments.rate.log()
        if "ratio_logits" in self.decoder.heads:
            self.decoder.head("ratio_logits").bias.fill_(RATIO_START)
            ratio = 1 / (1 + math.exp(-RATIO_START))
            # With as much background as foreground the mean is what was counted.
            log_rate = log_rate + math.log(2 * ratio / (1 + ratio))
        self.log_background.copy_(log_rate.to(self.log_background).expand_as(self.log_background))
        self._start_parameters(moments)
