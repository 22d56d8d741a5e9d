"""Encoder and decoder: scvi-tools' weights, in log space, finite where exp overflows."""

import pytest
import scvi.nn
import torch
from torch.nn.functional import softplus

from lucidvi.nn import Decoder, Encoder
from lucidvi.nn._decoder import log_softplus


def test_encoder_is_that_of_scvi_tools():
    x, batch = torch.rand(12, 6), torch.arange(12)[:, None] % 3
    kwargs = {"n_input": 6, "n_output": 4, "n_cat_list": [3], "n_hidden": 8, "n_layers": 2}
    ours, theirs = Encoder(**kwargs).eval(), scvi.nn.Encoder(**kwargs, return_dist=True).eval()
    ours.load_state_dict(theirs.state_dict())
    qz, (want, _) = ours(x, batch), theirs(x, batch)
    torch.testing.assert_close(qz.loc, want.loc)
    torch.testing.assert_close(qz.scale, want.scale)


@pytest.mark.parametrize("size", [-1e4, 1e4])
def test_posterior_stays_finite_where_exp_overflows(size):
    encoder = Encoder(n_input=3, n_output=2).eval()
    with torch.no_grad():
        encoder.var_encoder.bias.fill_(size)
    qz = encoder(torch.rand(5, 3))
    assert torch.isfinite(qz.scale).all()
    assert (qz.scale > 0).all()
    assert torch.isfinite(qz.rsample()).all()


def test_own_variance_activation_is_used_as_it_is():
    encoder = Encoder(n_input=3, n_output=2, var_activation=softplus).eval()
    with torch.no_grad():
        encoder.var_encoder.weight.zero_()
        encoder.var_encoder.bias.fill_(50.0)
    assert encoder(torch.rand(5, 3)).scale.square().allclose(torch.tensor(50.0), rtol=1e-4)


@pytest.mark.parametrize("activation", ["softmax", "softplus"])
@pytest.mark.parametrize("heads", [(), ("log_theta",), ("zi_logits",), ("log_theta", "zi_logits")])
def test_decoder_is_that_of_scvi_tools(activation, heads):
    z, library = torch.randn(7, 4), torch.randn(7, 1)
    ours = Decoder(4, 6, heads=heads, scale_activation=activation).eval()
    theirs = scvi.nn.DecoderSCVI(4, 6, scale_activation=activation).eval()
    ours.load_state_dict(theirs.state_dict())
    scale, log_theta, _, zi_logits = theirs("gene-cell", z, library)
    parameters = ours(z)
    got = (
        parameters["logits"].softmax(-1)
        if activation == "softmax"
        else parameters["log_scale"].exp()
    )
    torch.testing.assert_close(got, scale)
    for name, want in (("log_theta", log_theta), ("zi_logits", zi_logits)):
        assert (name in parameters) == (name in heads)
        if name in heads:
            torch.testing.assert_close(parameters[name], want)


def test_log_softplus():
    x = torch.tensor([-1e4, -200.0, -50.0, -15.0, -14.9, -1.0, 0.0, 3.0, 1e4], dtype=torch.float32)
    x.requires_grad_()
    want = torch.log(softplus(x.detach().double()))
    want[:3] = x[:3].detach().double()  # where softplus(x) = exp(x), even where that underflows
    torch.testing.assert_close(log_softplus(x).double(), want, rtol=1e-6, atol=1e-6)
    log_softplus(x).sum().backward()
    assert torch.isfinite(x.grad).all()
    torch.testing.assert_close(x.grad[:3], torch.ones(3))
