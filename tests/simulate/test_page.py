"""The code of the page runs."""

import re
from pathlib import Path

import pytest

PAGE = Path(__file__).resolve().parents[2] / "docs" / "simulate.md"
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)


@pytest.mark.slow
def test_blocks_run_in_turn(make_adata):
    adata = make_adata(80)
    adata.X = 5 * adata.X  # a quarter of which is still a cell
    adata.obs["cell_type"], adata.obs["condition"] = adata.obs["label"], adata.obs["site"]
    adata.obs["cell_type"] = adata.obs["cell_type"].cat.add_categories("NK")
    adata.obs.loc[adata.obs_names[adata.obs["label"] == "T"][::3], "cell_type"] = "NK"
    adata.obs["condition"] = adata.obs["condition"].cat.rename_categories(["ctrl", "stim"])
    truth = adata[(adata.obs["cell_type"] == "B") & (adata.obs["condition"] == "stim")].copy()
    names = {"adata": adata, "truth": truth}
    for block in BLOCKS:
        exec(block.replace("model.train()", "model.train(max_epochs=2)"), names)
    assert len(BLOCKS) == 11
    assert names["mixed"].n_obs == 1000
    assert names["knocked_out"].n_obs == 80
    assert set(names["predicted"].obs["cell_type"]) == {"B"}
    assert len(names["table"]) > 2
    assert set(names["plan"].labels["label"]) == {"B", "NK", "T"}
    assert names["genes"]["fdr"].notna().all()
    assert list(names["types"].index) == ["B", "NK", "T"]
