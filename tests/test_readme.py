"""The README's example runs as it stands, and with scvi-tools by changing the import."""

import copy
import re
import shlex
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest
from tests.model.mosaic.cells import as_mudata, simulated
from tests.splicing import spliced_anndata
from typer.testing import CliRunner

from lucidvi.cli import app

README = Path(__file__).resolve().parent.parent / "README.md"
EXAMPLE, CONVERSION, REFINEMENT, AUDIT, ATLAS, SEVERAL, FLOW, SIMULATE = re.findall(
    r"```python\n(.*?)```", README.read_text(), flags=re.DOTALL
)


@pytest.fixture(autouse=True)
def _no_windows(monkeypatch):
    monkeypatch.setattr(plt, "show", lambda *args, **kwargs: None)


#: Calls that the tests make shorter.
SHORT = {
    "model.train()": "model.train(max_epochs=5)",
    "indices=model.validation_indices": "indices=model.validation_indices[:20]",
    "audit.run(model)": "audit.run(model, max_cells=200)",
}


def run(code, namespace=None):
    """Execute code with training and estimates cut short."""
    namespace = {} if namespace is None else namespace
    for call, short in SHORT.items():
        code = code.replace(call, short)
    exec(compile(code, str(README), "exec"), namespace)
    return namespace


@pytest.fixture(scope="module")
def example():
    """Return what the example leaves behind, which no test changes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plt, "show", lambda *args, **kwargs: None)
        return run(EXAMPLE)


@pytest.fixture
def after_example(example):
    """Return a function that executes code after the example, with a copy of its model."""

    def execute(code):
        model = copy.deepcopy(example["model"])
        return run(code, {**example, "model": model, "adata": model.adata})

    return execute


def test_every_call_that_is_made_shorter_is_there():
    assert all(call in README.read_text() for call in SHORT)


@pytest.mark.parametrize("module", ["lucidvi.model", "scvi.model"])
def test_example(example, module):
    code = EXAMPLE.replace("from lucidvi.model import", f"from {module} import")
    assert module in code
    namespace = example if code == EXAMPLE else run(code)
    model, adata = namespace["model"], namespace["adata"]
    assert type(model).__module__.startswith(module)
    assert model.is_trained
    assert adata.obsm["X_scVI"].shape == (700, 10)
    assert adata.obsm["X_umap"].shape == (700, 2)
    plt.close("all")


def test_example_is_as_short_as_it_says():
    assert len([line for line in EXAMPLE.splitlines() if line.strip()]) <= 11


def test_refinement(after_example):
    namespace = after_example(REFINEMENT)
    gap, refined, model = (namespace[name] for name in ("gap", "refined", "model"))
    assert (gap["elbo_refined"] >= gap["elbo"] - 0.5).all()
    assert (refined.elbo >= refined.elbo_before).all()
    z = model.get_latent_representation()
    np.testing.assert_allclose(z, refined.loc, rtol=1e-6)
    plt.close("all")


def test_conversion(after_example):
    namespace = after_example(CONVERSION)
    assert type(namespace["theirs"]).__module__.startswith("scvi.")
    assert type(namespace["model"]).__module__.startswith("lucidvi.")
    plt.close("all")


def test_audit(after_example, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    report = after_example(AUDIT)["report"]
    assert "Audit: " in capsys.readouterr().out
    assert "Can this model be trusted?" in (tmp_path / "report.html").read_text()
    assert set(report) == {"collapse", "identifiability", "amortization", "fit", "confounding"}
    plt.close("all")


def test_atlas(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    namespace = run(EXAMPLE)
    adata = namespace["adata"]
    namespace["query"] = adata[:50].copy()
    out = run(ATLAS, namespace)["out"]
    assert out.obsm["X_lucidvi"].shape == (50, 10)
    assert set(out.obs["lucidvi_label"]) <= set(adata.obs["cell_type"])
    assert (tmp_path / "my_reference" / "README.md").exists()
    plt.close("all")


def test_several_modalities():
    parts, _ = simulated(150)
    mdata = as_mudata({"rna": parts["rna"][:100].copy(), "prot": parts["prot"][50:].copy()})
    code = SEVERAL.replace('["rna"], ', '["rna"], indices=range(9), ')
    left = run(code, {"mdata": mdata})
    assert mdata.obsm["X_mosaic"].shape == (150, 20)
    assert left["proteins"].upper.shape == (9, 30)


def test_simulate(after_example):
    left = after_example(SIMULATE.replace("depth_factor=4", "depth_factor=4, indices=range(50)"))
    assert left["cells"].n_obs == 1000
    counted = left["model"].adata.X[:50].sum()
    assert left["deeper"].X.sum() == pytest.approx(4 * counted, rel=0.1)


def test_commands(make_adata, tmp_path, monkeypatch):
    """Those of the command line, one after the other, each on what the one before has written."""
    monkeypatch.chdir(tmp_path)
    text = README.read_text().partition("## From the command line")[2].partition("\n## ")[0]
    commands = re.findall(r"^\$ lucidvi (.*)", text, flags=re.MULTILINE)
    assert [shlex.split(line)[0] for line in commands] == ["train", "audit", *["reference"] * 2]
    cells = make_adata(90)
    cells.obs["cell_type"] = cells.obs["label"]
    cells.write_h5ad("CELLS.h5ad")
    cells[:20, 3:].copy().write_h5ad("QUERY.h5ad")
    for line in commands:
        result = CliRunner().invoke(app, shlex.split(line))
        assert result.exit_code in ((0, 1) if line.startswith("audit") else (0,)), result.output
    assert {path.name for path in tmp_path.iterdir()} >= {"MODEL", "REFERENCE", "OUT.h5ad"}
    assert "<html" in (tmp_path / "report.html").read_text()


def test_where_cells_go():
    adata = spliced_anndata(300, 50)
    # Of what is trained any less there is no direction, and so no time.
    code = FLOW.replace("model.train()", "model.train(max_epochs=30, n_kinetic_steps=200)")
    left = run(code, {"adata": adata})
    assert left["velocity"].shape == (300, 10)
    assert left["direction"].name == "direction"
    assert np.corrcoef(left["time"], adata.obs["time"])[0, 1] > 0.8
    assert left["later"].n_obs == 900
