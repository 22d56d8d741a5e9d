"""The code of the page runs."""

import copy
import re
from pathlib import Path

import numpy as np
import pytest
from tests.linear_field import straight

PAGE = Path(__file__).resolve().parents[2] / "docs" / "simulate.md"
DYNAMICS = PAGE.with_name("dynamics.md")
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


@pytest.mark.slow
def test_cells_of_other_times_as_the_page_on_dynamics_has_them(model):
    adata = model.adata.copy()
    adata.obs["day"] = np.resize([2.0, 4.0], adata.n_obs)
    own = copy.copy(model)
    own.adata = adata
    (block,) = [
        b
        for b in re.findall(r"```python\n(.*?)```", DYNAMICS.read_text(), re.DOTALL)
        if "follow_cells" in b
    ]
    names = {"model": own, "field": straight([0.1, 0.2, 0.3], times=(2.0, 4.0))}
    exec(block, names)
    assert names["third"].n_obs == 1000
    assert names["ends"].n_obs == 3 * 10 * (adata.obs["day"] == 2).sum()
