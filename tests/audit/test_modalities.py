"""An audit of a model of two modalities that is written with the contracts alone."""

import numpy as np
import pytest
import scvi
import torch
from scvi import REGISTRY_KEYS
from scvi.data.fields import CategoricalObsField, LayerField, ObsmField
from torch import nn
from torch.distributions import Normal

from lucidvi import audit
from lucidvi.audit.checks import CHECKS
from lucidvi.audit.cures import Cures
from lucidvi.audit.subject import Subject, draw_sample
from lucidvi.data import CheckedAnnDataManager
from lucidvi.distributions import NegativeBinomial, Poisson
from lucidvi.model import LucidModel
from lucidvi.module import Exposure, GenerativeModule, Modality
from lucidvi.nn import StateDistribution

N_LATENT = 2


class TwoModalities(GenerativeModule):
    """Genes and proteins, both linear in one latent state."""

    def __init__(self, n_genes, n_proteins):
        super().__init__()
        self.n_latent, self.sizes = N_LATENT, {"rna": n_genes, "protein": n_proteins}
        self.encoder = nn.Linear(n_genes + n_proteins, 2 * N_LATENT)
        self.decoders = nn.ModuleDict({k: nn.Linear(N_LATENT, n) for k, n in self.sizes.items()})

    @property
    def modalities(self):
        rna = Modality("rna", self.sizes["rna"], NegativeBinomial, field=REGISTRY_KEYS.X_KEY)
        return {
            "rna": rna,
            "protein": Modality("protein", self.sizes["protein"], Poisson, Exposure.NONE),
        }

    def encode(self, observed, s):
        x = torch.cat([o.x.to_dense().log1p() for o in observed.values()], dim=1)
        loc, log_scale = self.encoder(x).chunk(2, dim=1)
        return StateDistribution(Normal(loc, (log_scale - 1).exp()))

    def prior_of(self, z, s):
        return StateDistribution(Normal(torch.zeros_like(z), torch.ones_like(z)))

    def decode(self, z, s, log_exposures):
        log_theta = torch.zeros(self.sizes["rna"])
        logits, nothing = self.decoders["rna"](z), torch.zeros_like(z[..., :1])
        return {
            "rna": NegativeBinomial(
                logits=logits, log_library=log_exposures["rna"], log_theta=log_theta
            ),
            "protein": Poisson(log_scale=self.decoders["protein"](z), log_library=nothing),
        }


class ToyModel(LucidModel):
    """The model of that module."""

    _module_cls = TwoModalities

    def __init__(self, adata):
        super().__init__(adata)
        sizes = {"n_genes": adata.n_vars, "n_proteins": adata.obsm["protein"].shape[1]}
        self._make_module(sizes, {})
        self.init_params_ = self._get_init_params(locals())

    @classmethod
    def setup_anndata(cls, adata, batch_key=None, labels_key=None, protein="protein", **kwargs):
        method = cls._get_setup_method_args(**locals())
        fields = [
            LayerField(REGISTRY_KEYS.X_KEY, None),
            CategoricalObsField(REGISTRY_KEYS.BATCH_KEY, batch_key),
            CategoricalObsField(REGISTRY_KEYS.LABELS_KEY, labels_key),
            ObsmField("protein", protein),
        ]
        manager = CheckedAnnDataManager(fields=fields, setup_method_args=method)
        manager.register_fields(adata, **kwargs)
        cls.register_manager(manager)


@pytest.fixture(scope="module")
def model(simulate):
    adata = simulate(n_dimensions=2, n_cells=400, n_genes=60)
    x = adata.X.toarray()
    adata.obsm["protein"] = np.random.default_rng(0).poisson(1 + x[:, :5]).astype(np.float32)
    scvi.settings.seed = 0
    ToyModel.setup_anndata(adata, batch_key="batch", labels_key="label")
    model = ToyModel(adata)
    optimizer = torch.optim.Adam(model.module.parameters(), lr=0.02)
    for _ in range(60):
        for minibatch in model._make_data_loader(adata=adata, batch_size=100):
            optimizer.zero_grad()
            model.module(minibatch)[2].loss.backward()
            optimizer.step()
    model.is_trained_, model.history_ = True, {}
    model.module.eval()
    return model


def test_every_check_says_which_modality_it_looked_at(model, tmp_path):
    report = audit.run(model)
    assert list(report) == [name for name in CHECKS if name != "direction"]
    assert {finding.modality for finding in report.values()} == {"rna"}
    assert report.about["modalities"] == "rna, protein"
    assert report.about["gene_likelihood"] == "nb, poisson"
    assert len(report["fit"].genes) == model.adata.n_vars == 60
    for finding in report.values():
        compile(finding.cure, finding.name, "exec")
    report.to_html(tmp_path / "report.html")
    assert "rna, protein" in (tmp_path / "report.html").read_text()


def test_what_the_latent_state_explains_is_of_both(model):
    """Directions are worth less to a model whose proteins do not depend on its state."""
    sample = draw_sample(model, model.adata, None, None, 200, np.random.default_rng(0))
    model.module.eval()
    torch.manual_seed(0)
    both = Subject(model, model.adata, sample, 0).losses[0].mean()
    weight = model.module.decoders["protein"].weight
    kept = weight.detach().clone()
    with torch.no_grad():
        weight.zero_()
        torch.manual_seed(0)
        genes = Subject(model, model.adata, sample, 0).losses[0].mean()
        weight.copy_(kept)
    assert both > genes


def test_a_cure_asks_for_no_argument_that_the_model_does_not_take(model):
    cures = Cures.of_model(model, model.adata)
    assert cures.making.class_name == "ToyModel"
    assert cures.of("fewer_dimensions", n_latent=1) == ""
    assert "plan_kwargs" in cures.of("collapsed")
