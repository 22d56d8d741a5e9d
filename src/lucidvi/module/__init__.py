"""The model's mathematics, as scvi-tools modules."""

from lucidvi.module._vae import UNTRANSFORMED_Z, VAE

__all__ = ["UNTRANSFORMED_Z", "VAE"]
