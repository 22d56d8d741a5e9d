"""Processes that are killed: in the midst of a step, at the end of an epoch, while writing.

``benchmarks/kill.py`` kills at random moments, and more often.
"""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
#: Each process is a copy of one that has loaded the packages; Windows has none.
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs fork")

SCRIPT = textwrap.dedent(
    """
    import os, pickle, signal, sys, warnings
    from pathlib import Path

    import numpy as np
    from anndata import AnnData, read_h5ad
    from lightning.pytorch.callbacks import Callback
    from scipy import sparse
    from runs import FAST, differences, make_model, outcome

    from lucidvi.files import _atomic

    warnings.simplefilter("ignore")
    folder, kind = Path(sys.argv[1]), sys.argv[2]
    cells = AnnData(sparse.csr_matrix(np.random.default_rng(0).poisson(2.0, (120, 15)) * 1.0))
    cells.obs["batch"] = np.resize(["a", "b"], 120)
    cells.write_h5ad(folder / "cells.h5ad")


    class Cells:
        def copy(self):
            file = kind == "in a file"
            return read_h5ad(folder / "cells.h5ad", backed="r" if file else None)


    def die():
        os.kill(os.getpid(), signal.SIGKILL)


    class Die(Callback):
        def __init__(self, hook, n_updates):
            setattr(self, hook, lambda trainer, *_: trainer.global_step < n_updates or die())


    def while_writing(n, flush=_atomic._flush):
        # Of a checkpoint, its file and its folders are flushed.
        calls = []

        def killed(path):
            calls.append(path)
            if len(calls) == n:
                die()
            flush(path)

        _atomic._flush = killed


    def process(seed, before, **arguments):
        child = os.fork()
        if child == 0:
            before()
            model = make_model(Cells(), seed=seed, dropout_rate=0.2)
            model.train(
                **FAST, early_stopping=True, early_stopping_patience=1, train_size=0.8, **arguments
            )
            (folder / "outcome").write_bytes(pickle.dumps(outcome(model)))
            os._exit(0)
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


    assert process(0, lambda: None) == 0
    want = pickle.loads((folder / "outcome").read_bytes())
    run = {
        "checkpoint_every": 1,
        "checkpoint_dir": folder / "run",
        "resume_from": folder / "run",
    }
    kills = [
        (lambda: None, [Die("on_train_batch_end", 10)]),
        (lambda: while_writing(2), []),
        (lambda: while_writing(4), []),
        (lambda: None, [Die("on_validation_epoch_end", 20)]),
    ]
    for i, (before, callbacks) in enumerate(kills):
        status = process(i, before, callbacks=callbacks, **run)
        assert status == -signal.SIGKILL, (i, status)
    assert process(9, lambda: None, **run) == 0
    print(differences(want, pickle.loads((folder / "outcome").read_bytes())))
    """
)


@pytest.mark.parametrize("kind", ["in memory", "in a file"])
def test_a_training_that_is_killed_and_goes_on(tmp_path, kind):
    ran = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path), kind],
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join([*map(str, (HERE, HERE.parents[2] / "src"))]),
        },
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.strip().splitlines()[-1] == "[]"
