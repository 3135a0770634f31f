import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from scrcl.train.methods.scgpcl.zinb import Counts, Zinb, zinb_loss

N_CELLS, N_GENES = 5, 7


def reference(heads, counts, log_factors):
    """The negative log likelihood of every entry, as the paper writes it, in float64."""
    mean = heads.mean.clamp(-11.5, 13.8).exp() * log_factors.exp()[:, None]
    theta = torch.nn.functional.softplus(heads.dispersion).clamp(1e-4, 1e4)
    pi = torch.sigmoid(heads.dropout)
    nb = torch.exp(
        torch.lgamma(counts + theta)
        - torch.lgamma(counts + 1)
        - torch.lgamma(theta)
        + theta * (theta / (theta + mean)).log()
        + counts * (mean / (theta + mean)).log()
    )
    likelihood = torch.where(counts == 0, pi + (1 - pi) * nb, (1 - pi) * nb)
    return -likelihood.log().sum()


def stored(counts, log_factors, dtype):
    at = counts.flatten().nonzero()[:, 0]
    return Counts(at, counts.flatten()[at].to(dtype), log_factors.to(dtype))


def of_heads(raw, dtype):
    return Zinb(*(one.to(dtype).requires_grad_() for one in raw))


def drawn(seed=0, spread=1.0, most=6):
    generator = torch.Generator().manual_seed(seed)
    raw = [spread * torch.randn(N_CELLS, N_GENES, generator=generator).double() for _ in range(3)]
    counts = torch.randint(0, most, (N_CELLS, N_GENES), generator=generator).double()
    counts[:, 0] = 0
    factors = torch.randn(N_CELLS, generator=generator).double()
    return raw, counts, factors


def gradients(loss, heads):
    return torch.stack(torch.autograd.grad(loss, (heads.mean, heads.dispersion, heads.dropout)))


@pytest.mark.parametrize(("dtype", "rel"), [(torch.float64, 1e-10), (torch.float32, 2e-5)])
@pytest.mark.parametrize("spread", [0.3, 3.0])
def test_the_loss_and_its_gradients_are_those_of_the_paper(dtype, rel, spread):
    raw, counts, factors = drawn(spread=spread)
    wide, heads = of_heads(raw, torch.float64), of_heads(raw, dtype)
    expected = reference(wide, counts, factors)
    found = zinb_loss(heads, stored(counts, factors, dtype))
    assert found.item() == pytest.approx(expected.item(), rel=rel)
    torch.testing.assert_close(
        gradients(found, heads).double(), gradients(expected, wide), rtol=10 * rel, atol=10 * rel
    )


def test_without_dropout_it_is_the_negative_binomial_of_scipy():
    mean, theta, counts = 3.0, 1.7, torch.arange(0.0, 12).double()[None]
    inverse = float(np.log(np.expm1(theta)))
    heads = Zinb(
        torch.full_like(counts, np.log(mean)),
        torch.full_like(counts, inverse),
        torch.full_like(counts, -60.0),
    )
    found = zinb_loss(heads, stored(counts, torch.zeros(1).double(), torch.float64))
    expected = -stats.nbinom.logpmf(counts.numpy(), theta, theta / (theta + mean)).sum()
    assert found.item() == pytest.approx(expected, rel=1e-10)


@given(
    st.floats(-40, 40),
    st.floats(-60, 60),
    st.floats(-80, 80),
    st.sampled_from([0, 1, 3, 10**4, 10**7]),
    st.floats(-7, 7),
)
@settings(max_examples=80)
def test_zeros_huge_counts_and_tiny_dispersions_have_finite_losses_and_gradients(
    mean, dispersion, dropout, count, factor
):
    heads = Zinb(
        *(torch.full((1, 1), value, requires_grad=True) for value in (mean, dispersion, dropout))
    )
    counts = stored(torch.tensor([[float(count)]]), torch.tensor([factor]), torch.float32)
    found = zinb_loss(heads, counts)
    assert torch.isfinite(found)
    assert torch.isfinite(gradients(found, heads)).all()
    assert found.item() >= -1e-5


def test_a_huge_count_keeps_its_digits():
    """In float32 the gamma functions of a million differ by whole units."""
    raw = [torch.tensor([[value]]).double() for value in (np.log(9e5), 9.0, -3.0)]
    counts, factors = torch.tensor([[1_000_000.0]]).double(), torch.zeros(1).double()
    wide, heads = of_heads(raw, torch.float64), of_heads(raw, torch.float32)
    expected = reference(wide, counts, factors).item()
    found = zinb_loss(heads, stored(counts, factors, torch.float32)).item()
    assert found == pytest.approx(expected, abs=0.01)
