"""The kinds of modalities: how each is read, through which likelihoods, by which networks."""

from __future__ import annotations

from dataclasses import dataclass

from lucidvi.module._generative import Exposure
from lucidvi.module.mosaic._part import Part
from lucidvi.module.mosaic._protein import Protein


@dataclass(frozen=True)
class Kind:
    """A kind of modality.

    Parameters
    ----------
    likelihoods
        Families that its values may have, by their names in
        :data:`lucidvi.distributions.FAMILIES`; the first is the default.
    exposure
        Source of its exposure.
    part
        Class of its networks.
    needs_counts
        Whether a cell that has it has to have a count of it.
    weight_scale
        Standard deviation of the normal prior of the weights by which its features are decoded;
        None for a flat one. Of thousands of features with a few counts each, most of what a
        decoder fits is noise.
    counts_fragments
        Whether its counts should be those of fragments, of which each gives two reads.
    has_panels
        Whether features without a count in a batch were perhaps not measured in it, as where
        panels of antibodies differ.
    """

    likelihoods: tuple[str, ...]
    exposure: Exposure = Exposure.OBSERVED
    part: type[Part] = Part
    weight_scale: float | None = None
    needs_counts: bool = False
    counts_fragments: bool = False
    has_panels: bool = False


#: Kinds of modalities by name. A new one is a row.
KINDS: dict[str, Kind] = {
    "rna": Kind(("nb", "zinb", "poisson"), weight_scale=0.1, needs_counts=True),
    "protein": Kind(("nb_mixture", "nb"), Exposure.NONE, part=Protein, has_panels=True),
    "accessibility": Kind(
        ("poisson", "bernoulli", "nb"),
        weight_scale=0.05,
        needs_counts=True,
        counts_fragments=True,
    ),
    "counts": Kind(("nb", "poisson", "zinb")),
}
