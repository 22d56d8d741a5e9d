"""Write a saved model of the installed scvi-tools, as a regression fixture of ``test_files.py``.

Run once for each release: ``python tests/model/saved/make.py``, and once with pyarrow installed,
which changes how pandas 3 stores strings. Beside the model it writes the
latent means and the history that the model had when it was saved.
"""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import scvi
import torch
from anndata import AnnData
from scipy import sparse


def saved_adata() -> AnnData:
    """Return the data of the fixtures: 20 cells, 8 genes, and a column of every kind."""
    cells, genes = np.arange(20), np.arange(8)
    counts = (cells[:, None] * 7 + genes * 5 + cells[:, None] * genes) % 6
    counts[:, 0] += 1
    obs = pd.DataFrame(
        {
            "batch": pd.Categorical(np.array(["a", "b"])[cells % 2]),
            "label": pd.Categorical(np.array(["B", "T"])[cells // 3 % 2]),
            "donor": pd.Categorical(np.array(["w", "x", "y"])[cells % 3]),
            "age": np.linspace(-1, 1, 20),
        },
        index=[f"cell{i}" for i in cells],
    )
    var = pd.DataFrame(index=[f"gene{i}" for i in genes])
    return AnnData(sparse.csr_matrix(counts.astype(np.float32)), obs=obs, var=var)


def main() -> None:
    """Train for two epochs and save."""
    scvi.settings.seed = 0
    adata = saved_adata()
    scvi.model.SCVI.setup_anndata(
        adata,
        batch_key="batch",
        labels_key="label",
        categorical_covariate_keys=["donor"],
        continuous_covariate_keys=["age"],
    )
    model = scvi.model.SCVI(
        adata, n_latent=2, n_hidden=4, var_activation=torch.nn.functional.softplus
    )
    model.train(max_epochs=2, train_size=0.8, check_val_every_n_epoch=1, accelerator="cpu")
    strings = (
        "-pyarrow" if "Arrow" in type(model.history["elbo_train"].columns.array).__name__ else ""
    )
    folder = Path(__file__).parent / f"scvi-{scvi.__version__}{strings}"
    model.save(str(folder), overwrite=True)
    expected = {
        "latent": model.get_latent_representation().tolist(),
        "history": {key: frame[key].tolist() for key, frame in model.history.items()},
        "train_indices": model.train_indices.tolist(),
        "versions": {"pandas": pd.__version__, "numpy": np.__version__},
    }
    (folder / "expected.json").write_text(json.dumps(expected, indent=1) + "\n")


if __name__ == "__main__":
    main()
