"""How much there is to compile before a first training, and where compiled code is kept."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import lucidvi

FIRST = """
import json, sys, time, warnings
warnings.simplefilter("ignore")
import numpy as np
from anndata import AnnData
from numba.core.event import Listener, register
from scipy import sparse
import lucidvi.model, scvi
from lucidvi.kernels import _compiled_csr, _compiled_layers, _compiled_likelihoods
from lucidvi.kernels._compile import kernel

class Heard(Listener):
    def on_start(self, event):
        function = event.data["dispatcher"].py_func
        if function.__module__.startswith("lucidvi"):
            functions.append(function.__name__)
    def on_end(self, event):
        pass

functions = []
register("numba:compile", Heard())
scvi.settings.seed = 0
rng = np.random.default_rng(0)
x = rng.poisson(3, (200, 300)) * (rng.random((200, 300)) < float(sys.argv[2]))
adata = AnnData(sparse.csr_matrix((x + np.eye(200, 300)).astype(np.float32)))
start = time.process_time()
lucidvi.model.SCVI.setup_anndata(adata)
kwargs = {} if sys.argv[1] == "default" else {"gene_likelihood": sys.argv[1]}
model = lucidvi.model.SCVI(adata, **kwargs)
model.train(max_epochs=1, enable_progress_bar=False, accelerator="cpu")
seconds = time.process_time() - start
modules = (_compiled_csr, _compiled_layers, _compiled_likelihoods)
made = [
    what for module in modules for what in vars(module).values()
    if isinstance(what, kernel) and "compiled" in vars(what)
]
print(json.dumps({
    "functions": functions,
    "kernels": [one.__name__ for one in made],
    "from_disk": sum(one.compiled.cache_hits for one in made),
    "seconds": seconds,
    "elbo": float(model.history["elbo_train"].iloc[-1, 0]),
}))
"""

LAYERS = {"activate", "activate_backward", "normal_of", "normal_of_backward", "kl", "kl_backward"}
SPARSE = {"sparse_product", "transposed_product"}
#: What kernels and the reading of data are made of.
PARTS = {"exp", "exp_all", "exp_within", "exponentials", "log1p", "quotient", "row_max", "row_sum"}
PARTS |= {"log_factorial", "stirling", "short_rising", "_add_sparse", "gather"}
OF_NB = {"digamma", "digamma_rest", "rising", "is_ascending"}


def train(folder, likelihood="default", density=0.3, **environment):
    """Return what a first training in another process compiled, and what it wrote to stderr."""
    command = [sys.executable, "-c", FIRST, likelihood, str(density)]
    variables = {**os.environ, "NUMBA_CACHE_DIR": str(folder), **environment}
    variables = {name: value for name, value in variables.items() if value != ""}
    done = subprocess.run(command, capture_output=True, text=True, env=variables)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1]), done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("likelihood", "density", "kernels", "parts"),
    [
        ("default", 0.3, {"zinb", "densify"}, PARTS | OF_NB),
        ("nb", 0.05, {"nb"} | SPARSE, PARTS | OF_NB | {"add_rows"}),
        ("poisson", 0.3, {"poisson", "densify"}, PARTS),
    ],
)
def test_a_first_training_compiles_what_its_model_needs(
    tmp_path, likelihood, density, kernels, parts
):
    first, _ = train(tmp_path, likelihood, density)
    assert set(first["kernels"]) == kernels | LAYERS | {"sum_rows"}
    assert sorted(first["functions"]) == sorted(parts)  # each of them for one combination of types
    assert first["from_disk"] == 0
    second, _ = train(tmp_path, likelihood, density)
    assert second["functions"] == []
    assert second["from_disk"] == len(second["kernels"]) == len(first["kernels"])
    assert second["elbo"] == first["elbo"]
    # On a machine that nothing else keeps busy it takes less than half of that.
    assert first["seconds"] - second["seconds"] < 12


@pytest.mark.parametrize("home", ["a file", "no home"])
def test_where_nothing_can_be_written_kernels_are_compiled_in_memory(tmp_path, home):
    """As root permissions do not bind, so files stand where numba would make its folders."""
    package = Path(lucidvi.__file__).parent
    shutil.copytree(package, tmp_path / "lucidvi", ignore=shutil.ignore_patterns("__pycache__"))
    for folder in [path.parent for path in (tmp_path / "lucidvi").rglob("__init__.py")]:
        (folder / "__pycache__").touch()
    (tmp_path / "home").touch()
    place = str(tmp_path / "home") if home == "a file" else str(tmp_path / "none" / "home")
    (tmp_path / "none").touch()
    environment = {
        "HOME": place,
        "XDG_CACHE_HOME": place,
        "LOCALAPPDATA": place,
        "PYTHONPATH": str(tmp_path),
        "PYTHONDONTWRITEBYTECODE": "1",
        "MPLCONFIGDIR": str(tmp_path / "matplotlib"),
    }
    done, said = train("", **environment)
    assert done["from_disk"] == 0
    assert done["elbo"] > 0
    assert said.count("NUMBA_CACHE_DIR") == 1
    assert "Traceback" not in said
