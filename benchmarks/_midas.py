"""States by MIDAS, in an environment of its own: ``python _midas.py FILE.h5mu SEED OUT.csv``."""

from __future__ import annotations

import sys
import tempfile
import time

import mudata
import pandas as pd
import scmidas
import torch


def main() -> None:
    """Train MIDAS as its own quick start does, and write states and seconds."""
    file, seed, out = sys.argv[1:]
    torch.set_num_threads(1)
    mdata = mudata.read_h5mu(file)
    with tempfile.TemporaryDirectory() as folder:
        start = time.process_time()
        scmidas.integrate(mdata, seed=int(seed), accelerator="cpu", save_model_path=folder)
        seconds = time.process_time() - start
    states = pd.DataFrame(mdata.obsm["X_midas"], index=mdata.obs_names)
    states.to_csv(out)
    print(seconds)


if __name__ == "__main__":
    main()
