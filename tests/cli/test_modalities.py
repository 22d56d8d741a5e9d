"""Commands on a file of several modalities: from its counts to labels of a query."""

import mudata
import numpy as np
import pytest
from anndata import read_h5ad
from tests.model.mosaic.cells import as_mudata, simulated
from typer.testing import CliRunner

from lucidvi.cli import app

MODALITIES = ["--modality", "rna=rna", "--modality", "prot=protein"]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A file of cells with labels, and a folder to write to."""
    folder = tmp_path_factory.mktemp("commands")
    parts, z = simulated(150)
    mdata = as_mudata({key: parts[key] for key in ("rna", "prot")})
    mdata.obs["side"] = np.where(z[:, 0] > 0, "up", "down")
    mdata.write(folder / "cells.h5mu")
    mudata.MuData({"prot": parts["prot"][:40].copy()}).write(folder / "query.h5mu")
    return folder


def said(*arguments):
    result = CliRunner().invoke(app, list(map(str, arguments)))
    return result.exit_code, result.output


def test_from_counts_to_labels(files):
    cells, model, reference = files / "cells.h5mu", files / "model", files / "reference"
    code, text = said(
        "train", cells, "-o", model, "--kind", "MOSAICVI", *MODALITIES, "--batch-key", "batch",
        "--max-epochs", 2,
    )  # fmt: skip
    assert code == 0, text
    code, text = said("reference", "build", model, cells, "-o", reference, "--labels-key", "side")
    assert code == 0, text
    code, text = said(
        "reference", "map", files / "query.h5mu", "--reference", reference, "-o",
        files / "out.h5ad",
    )  # fmt: skip
    assert code == 0, text
    out = read_h5ad(files / "out.h5ad")
    assert out.n_obs == 40
    assert set(out.obs["lucidvi_label"]) <= {"up", "down"}


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ([], "--kind MOSAICVI --modality rna=rna"),
        (["--kind", "MOSAICVI"], "has to be told what the modalities are"),
        (["--kind", "MOSAICVI", "--modality", "rna"], "--modality prot=protein"),
        (["--kind", "MOSAICVI", *MODALITIES, "--layer", "X"], "several modalities"),
    ],
)
def test_what_has_to_be_said_of_modalities(files, options, expected):
    code, text = said("train", files / "cells.h5mu", "-o", files / "none", *options)
    assert code == 2
    assert expected in " ".join(text.split())
    assert not (files / "none").exists()
