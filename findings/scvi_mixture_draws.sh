#!/usr/bin/env bash
# Guess: draws of a mixture of two negative binomials, `NegativeBinomialMixture(...).sample((n,))`,
# are independent: each is of one component or the other, by the probabilities of the mixture.
#
# Behaviour: which component it is is drawn once an entry and shared by all n draws. So all draws of a
# protein in a cell are background, or all are foreground; their mean is that of one component, and an
# interval of them leaves the other out. The zero-inflated negative binomial draws anew each time.
#
# Versions: scvi-tools 1.4.2.
# Source: scvi-tools, distributions/_negative_binomial.py, `NegativeBinomialMixture.sample`.
#
# Output seen:
#   share of draws of the larger component, by entry: 0.0 1.0 0.0 0.0 0.0 1.0 0.0 1.0
#   share of draws that are not inflated, by entry:   about a half in each
# What to do: draw once at a time, n times.
set -euo pipefail
place="$(mktemp -d)"
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/venv"
"$place/venv/bin/pip" install --quiet --disable-pip-version-check scvi-tools==1.4.2 anndata==0.12.19 pandas==2.3.3 torch==2.13.0 numpy==2.4.6
cd "$place"
"$place/venv/bin/python" -W ignore - <<'PYTHON' || { echo "the behaviour has changed"; exit 1; }
import torch
from scvi.distributions import NegativeBinomialMixture, ZeroInflatedNegativeBinomial

torch.manual_seed(0)
entries = torch.ones(8, 1)
mixture = NegativeBinomialMixture(
    mu1=2 * entries, mu2=200 * entries, theta1=20 * entries, mixture_logits=0 * entries
)
shares = (mixture.sample((1000,)) > 40).float().mean(0).ravel()
print("share of draws of the larger component, by entry:", *shares.tolist())
inflated = ZeroInflatedNegativeBinomial(mu=50 * entries, theta=20 * entries, zi_logits=0 * entries)
others = (inflated.sample((1000,)) > 0).float().mean(0).ravel()
print("share of draws that are not inflated, by entry:  ", *[round(x, 2) for x in others.tolist()])
assert set(shares.tolist()) == {0.0, 1.0}
assert ((others > 0.4) & (others < 0.6)).all()
PYTHON
