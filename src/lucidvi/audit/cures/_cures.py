"""What to do about each problem, as code in the terms of the model that has it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from lucidvi.audit.cures import _advice
from lucidvi.audit.cures._terms import Terms
from lucidvi.results import Cure


class Cures(Terms):
    """Makes the code that mends a problem of one model, which works when it is pasted.

    In the code ``adata`` are the cells and ``model`` is the model, as where it was trained; what
    else it needs it imports. A cure asks for nothing that is set already, and leaves all other
    arguments of the model as they are. For the parameters see :class:`Terms`.
    """

    def of(self, cure: str, **facts: Any) -> str:
        """Return a cure by its name.

        Parameters
        ----------
        cure
            Its name, such as ``"batch_shows"``.
        **facts
            What the cure depends on besides the model.
        """
        text = CURES[cure](self, **facts)
        if not text or getattr(text, "change", None) is not None or not self.making.is_joined:
            return text
        joined = Cure("\n".join([*self.joined, text]))
        joined.trains_further = getattr(text, "trains_further", False)
        return joined


#: All that can be advised, by name.
CURES: Mapping[str, Callable[..., str]] = {
    cure.__name__: cure
    for cure in (
        _advice.fewer_dimensions,
        _advice.collapsed,
        _advice.read_together,
        _advice.canonical_axes,
        _advice.encoder_is_off,
        _advice.longer,
        _advice.likelihood,
        _advice.needed_likelihood,
        _advice.dispersion_by_batch,
        _advice.more_dimensions,
        _advice.more_weights,
        _advice.fewer_weights,
        _advice.batch_shows,
        _advice.depth_shows,
        _advice.modalities_apart,
        _advice.imputation_off,
        _advice.unstable,
        _advice.unstable_dimensions,
        _advice.fewer_clusters,
        _advice.certain_genes,
    )
}
