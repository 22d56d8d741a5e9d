"""A model of two modalities, written with the contracts alone."""

import numpy as np
import torch
from scvi import REGISTRY_KEYS
from scvi.data.fields import LayerField, ObsmField
from torch import nn
from torch.distributions import Normal

from lucidvi.data import CheckedAnnDataManager, MatchedObsField
from lucidvi.distributions import NegativeBinomial
from lucidvi.model import LucidModel
from lucidvi.module import GenerativeModule, Modality
from lucidvi.nn import StateDistribution


class ToyModule(GenerativeModule):
    """Genes and proteins, each through a linear decoder; encoders are experts of their own."""

    def __init__(self, n_latent=2, n_genes=20, n_proteins=6):
        super().__init__()
        self.n_latent = n_latent
        self.sizes = {"rna": n_genes, "protein": n_proteins}
        self.encoders_of_z = nn.ModuleDict(
            {key: nn.Linear(n, 2 * n_latent) for key, n in self.sizes.items()}
        )
        self.decoders = nn.ModuleDict(
            {key: nn.Linear(n_latent + 1, n) for key, n in self.sizes.items()}
        )
        self.log_theta = nn.ParameterDict({key: torch.zeros(n) for key, n in self.sizes.items()})

    @property
    def modalities(self):
        return {
            "rna": Modality("rna", self.sizes["rna"], NegativeBinomial, field=REGISTRY_KEYS.X_KEY),
            "protein": Modality("protein", self.sizes["protein"], NegativeBinomial),
        }

    def encode(self, observed, s):
        precision, product = 1.0, 0.0
        for key, layer in self.encoders_of_z.items():
            loc, log_scale = layer(observed[key].x.to_dense().log1p() / 4).chunk(2, dim=-1)
            weight = (-2 * log_scale).exp()
            if observed[key].present is not None:
                weight = weight * observed[key].present[:, None]
            precision, product = precision + weight, product + weight * loc
        return StateDistribution(Normal(product / precision, precision**-0.5))

    def prior_of(self, z, s):
        return StateDistribution(Normal(torch.zeros_like(z), torch.ones_like(z)))

    def decode(self, z, s, log_exposures):
        batch = s["batch"].float().expand(*z.shape[:-1], 1)
        return {
            key: NegativeBinomial(
                layer(torch.cat([z, batch], dim=-1)),
                log_exposures[key],
                log_theta=self.log_theta[key],
            )
            for key, layer in self.decoders.items()
        }


class Toy(LucidModel):
    """Genes in X, proteins in obsm."""

    _module_cls = ToyModule

    def __init__(self, adata=None, registry=None, n_latent=2, **kwargs):
        super().__init__(adata, registry)
        self._make_module({"n_latent": n_latent}, kwargs)
        self.init_params_ = self._get_init_params(locals())

    @classmethod
    def setup_anndata(cls, adata, protein_key="protein", batch_key=None, **kwargs):
        setup_method_args = cls._get_setup_method_args(**locals())
        manager = CheckedAnnDataManager(
            fields=[
                LayerField(REGISTRY_KEYS.X_KEY, None, is_count_data=True),
                ObsmField("protein", protein_key, is_count_data=True),
                MatchedObsField(REGISTRY_KEYS.BATCH_KEY, batch_key),
                MatchedObsField(REGISTRY_KEYS.LABELS_KEY, None),
            ],
            setup_method_args=setup_method_args,
        )
        manager.register_fields(adata, **kwargs)
        cls.register_manager(manager)

    def _module_dimensions(self):
        return {
            "n_genes": self.summary_stats.n_vars,
            "n_proteins": self.summary_stats.n_protein,
        }


def with_proteins(adata, seed=0):
    """Add counts of proteins that follow the group of a cell."""
    rng = np.random.default_rng(seed)
    group = (adata.obs["label"] == "T").to_numpy().astype(int)
    rates = np.array([[1, 2, 8, 1, 20, 3], [6, 2, 1, 9, 4, 3]])
    adata.obsm["protein"] = rng.poisson(rates[group]).astype(np.float32)
    adata.obsm["protein"][:, 1] += 1
    return adata
