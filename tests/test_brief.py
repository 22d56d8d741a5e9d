"""Results show what they hold in a few lines, however many numbers that are."""

import dataclasses
import inspect

import numpy as np
import pandas as pd
import pytest
import torch
from anndata import AnnData
from torch.distributions import Normal

import lucidvi
from lucidvi import atlas, audit, data, dynamics, inference, model, results, simulate
from lucidvi._brief import brief
from lucidvi.audit.retraining import Run
from lucidvi.audit.subject import CellPriors, Comparison, Imputed, Predictions
from lucidvi.inference import Estimate, NormalPosterior
from lucidvi.module import DrawnStates, Observed
from lucidvi.nn import Networks
from lucidvi.results import Setting

#: Most lines and letters of a line.
LINES, LETTERS = 10, 110
N, K, G = 300, 10, 2_000


def vector():
    return torch.linspace(-600, -500, N)


def estimate():
    return Estimate(vector(), vector(), vector(), vector(), vector(), 1000)


def normal():
    return NormalPosterior(torch.zeros(N, K), torch.eye(K).expand(N, K, K))


def arrays(cls, **others):
    """Make an instance whose arrays have as many numbers as those of real data."""
    values = {}
    for field in dataclasses.fields(cls):
        kind = str(field.type)
        values[field.name] = others.get(
            field.name,
            {f"long_name_{i}": np.zeros((N, G)) for i in range(20)}
            if "dict" in kind
            else np.zeros((N, G))
            if "ndarray" in kind
            else 5,
        )
    return cls(**values)


def setting():
    numbers = {f.name: 0.5 for f in dataclasses.fields(Setting)}
    long = {f.name: np.zeros(N) for f in dataclasses.fields(Setting) if "NDArray" in str(f.type)}
    return Setting(**{**numbers, **long})


def refined(family="diagonal", n=N):
    return model.RefinedPosteriors(
        loc=np.zeros((n, K)),
        scale=np.ones((n, K)),
        scale_tril=np.zeros((n, K, K)) if family == "full" else None,
        library=np.full(n, 612.0),
        elbo_before=np.full(n, -630.0),
        elbo=np.full(n, -627.25),
        n_steps=np.full(n, 3),
        names=pd.Index([f"cell{i}" for i in range(n)]),
        slots=("scvi_latent_qzm", "scvi_latent_qzv", "_scvi_observed_lib_size"),
    )


def states():
    return DrawnStates(
        torch.nn.Sequential(*(torch.nn.Linear(9, 9) for _ in range(50))),
        torch.zeros(N, K),
        {"batch": torch.zeros(N, 1), "labels": None},
        {"rna": torch.zeros(N, 1)},
    )


def target():
    return inference.PosteriorTarget(
        torch.nn.Sequential(*(torch.nn.Linear(9, 9) for _ in range(50))),
        {"rna": Observed(torch.zeros(N, G), torch.zeros(N, 1))},
        {"batch": torch.zeros(N, 1)},
        Normal(torch.zeros(N, K), torch.ones(N, K)),
    )


def plan():
    sizes, rates = ["n_cells", "n_donors", "depth_factor"], ["power", "power_se", "fdr", "fdr_se"]
    columns = [*sizes, *rates, "n_repeats"]
    table = pd.DataFrame(np.ones((200, 8)), columns=columns)
    request = {"effect": -2.0, "share": 0.05, "fdr": 0.05, "test": "pseudobulk"}
    return simulate.DesignResult(table, request, pd.Series([0.2]), "5% of the genes", ("None.",))


def imputation():
    mean, lower, upper = (pd.DataFrame(np.ones((N, G))) for _ in range(3))
    return results.Imputation("prot", ("rna", "atac"), mean, lower, upper, 0.9)


def field():
    networks = Networks(5, K + 1, K, 128, 3)
    times = np.linspace(0, 1, N)
    return dynamics.VectorField(networks, None, np.zeros(K), np.eye(K), 1.0, times, 1.0, 1.0)


#: Instances, by class.
RESULTS = {
    atlas.Calibration: lambda: atlas.Calibration(True, tuple(setting() for _ in range(6)), 1.0),
    DrawnStates: states,
    dynamics.VectorField: field,
    data.JoinedModality: lambda: data.JoinedModality(
        "prot", "protein", False, pd.RangeIndex(G).astype(str), data.Panels.complete(N, G)
    ),
    data.Panels: lambda: data.Panels.complete(N, G),
    inference.Bracket: lambda: inference.Bracket(estimate(), estimate()),
    inference.Estimate: estimate,
    inference.InferenceGap: lambda: inference.InferenceGap(vector(), vector(), estimate()),
    inference.NormalPosterior: normal,
    inference.PosteriorTarget: target,
    inference.Refined: lambda: inference.Refined(normal(), vector(), vector(), vector()),
    model.Cells: lambda: model.Cells(None, AnnData(np.zeros((N, G))), np.arange(N)),
    model.RefinedPosteriors: refined,
    results.Imputation: imputation,
    results.Setting: setting,
    results.Posteriors: lambda: results.Posteriors.of(normal(), pd.RangeIndex(N).astype(str)),
    simulate.DesignResult: plan,
}
#: Instances of what is on the way to a finding.
BETWEEN = {
    CellPriors: lambda: CellPriors.standard_normal(N, K),
    Comparison: lambda: arrays(Comparison),
    Imputed: lambda: arrays(Imputed),
    Predictions: lambda: arrays(Predictions),
    Run: lambda: Run(np.zeros((N, K)), np.eye(K), K, np.zeros(G)),
}
#: Those that show themselves otherwise, or are shown by other tests: reports, and numbers alone.
ELSEWHERE = {
    atlas.Integration,
    atlas.Reference,
    atlas.ReferenceData,
    audit.Report,
    data.CellSource,
    results.Findings,
}


def holds_arrays(cls):
    holders = ("ndarray", "NDArray", "Tensor", "DataFrame", "AnnData", "tuple[Setting")
    holders += tuple(each.__name__ for each in RESULTS)
    return any(name in str(field.type) for field in dataclasses.fields(cls) for name in holders)


def test_every_result_that_holds_arrays_is_here():
    public = {
        value
        for part in lucidvi._PARTS
        for value in (
            getattr(getattr(lucidvi, part), name)
            for name in getattr(getattr(lucidvi, part), "__all__", ())
        )
        if inspect.isclass(value) and dataclasses.is_dataclass(value)
    }
    findings = {cls for cls in public if issubclass(cls, results.Finding)}
    assert {cls for cls in public - findings - ELSEWHERE if holds_arrays(cls)} == set(RESULTS)


@pytest.mark.parametrize("cls", RESULTS | BETWEEN, ids=lambda cls: cls.__name__)
def test_a_few_lines(cls):
    text = repr((RESULTS | BETWEEN)[cls]())
    lines = text.splitlines()
    assert text.startswith(f"{cls.__name__}(")
    assert len(lines) <= LINES
    assert max(map(len, lines)) <= LETTERS
    assert "array([" not in text
    assert "tensor([" not in text


def test_refined_posterior():
    first = "RefinedPosteriors(300 cells, 10 latent dimensions, family='diagonal', ELBO +2.75 nats"
    assert repr(refined()).startswith(first)
    assert "elbo_before -630, elbo -627.2" in repr(refined())  # their means
    assert "scale_tril (300, 10, 10)" in repr(refined("full"))
    assert "family='full'" in repr(refined("full"))
    assert "0 cells" in repr(refined(n=0))


def test_values_of_any_kind():
    @dataclasses.dataclass
    class Held:
        name: str = "a" * 100
        number: float = 1 / 3
        nothing: None = None
        finite: object = None
        flags: object = None
        names: object = None
        empty: object = None
        scalar: object = None
        hidden: object = dataclasses.field(default=1, repr=False)
        __repr__ = brief

    held = Held(
        finite=np.array([np.nan, 1.0, np.inf, 3.0]),
        flags=np.array([True, False]),
        names=np.array(["a", "b"]),
        empty=np.zeros(0),
        scalar=np.float32(0.5),
    )
    text = " ".join(repr(held).split())
    assert "number=0.3333" in text
    assert "a" * 41 not in text
    assert "means: finite 2, flags 0.5" in text
    assert "names (2)" in text
    assert "empty (0)" in text
    assert "hidden" not in text
