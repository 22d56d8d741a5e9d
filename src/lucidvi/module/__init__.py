"""The model's mathematics, as scvi-tools modules."""

from lucidvi.module._vae import VAE

__all__ = ["VAE"]
