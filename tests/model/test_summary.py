"""What print(model) says."""

import rich
import scvi

from lucidvi.model import SCVI


def test_what_a_model_is_and_which_preset_holds(adata, tmp_path, capsys):
    SCVI.setup_anndata(adata)
    model = SCVI(adata, n_hidden=8, n_latent=2)
    assert repr(model).startswith("LucidVI SCVI model with the following parameters: \n")
    assert "n_latent: 2" in repr(model)
    assert "Training status: Not Trained\n" in repr(model)
    for preset in ("lucid", "scvi"):
        model.train(max_epochs=1, preset=preset)
        assert f"Training status: Trained (preset: {preset})\n" in repr(model)
    model.save(tmp_path / "model")
    assert "(preset: scvi)" in repr(SCVI.load(tmp_path / "model", adata))
    capsys.readouterr()
    print(model)
    plain = capsys.readouterr().out
    assert plain == repr(model) + "\n"
    rich.print(model)
    assert " ".join(capsys.readouterr().out.split()) == " ".join(plain.split())


def test_of_a_model_that_was_converted(adata):
    scvi.model.SCVI.setup_anndata(adata)
    theirs = scvi.model.SCVI(adata, n_hidden=8, n_latent=2)
    theirs.train(max_epochs=1)
    model = SCVI.from_scvi_model(theirs)
    assert "LucidVI" in repr(model)
    assert "Training status: Trained\n" in repr(model)
    assert "LucidVI" not in theirs.summary_string
