import pytest
import torch
from torch.nn.functional import normalize

from scrcl.train.methods.scgpcl.loss import (
    cluster_loss,
    contrast_loss,
    prototype_loss,
    sharpened,
    soft_assignment,
)


def rows(n=6, width=4, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, width, generator=generator, dtype=dtype).requires_grad_()


def paper_contrast(one, other, tau):
    """Each term of the paper's sums, one after the other."""
    one, other = normalize(one, dim=1), normalize(other, dim=1)
    total = 0
    for a, b in ((one, other), (other, one)):
        for i in range(len(a)):
            up = torch.exp(a[i] @ b[i] / tau)
            down = sum(torch.exp(a[i] @ a[j] / tau) for j in range(len(a)) if j != i)
            down = down + sum(torch.exp(a[i] @ b[j] / tau) for j in range(len(a)))
            total = total - torch.log(up / down)
    return total / (2 * len(one))


def assert_same(found, expected, *wanted):
    assert found.item() == pytest.approx(expected.item(), rel=1e-10)
    for one, other in zip(
        torch.autograd.grad(found, wanted), torch.autograd.grad(expected, wanted), strict=True
    ):
        torch.testing.assert_close(one, other, rtol=1e-8, atol=1e-11)


@pytest.mark.parametrize("tau", [0.25, 1.0])
def test_the_contrast_of_views_is_that_of_the_paper(tau):
    one, other = rows(seed=1), rows(seed=2)
    found = contrast_loss((one, other), (one, other), 0, tau)
    assert_same(found, paper_contrast(one, other, tau), one, other)


def test_parts_of_ranks_add_up_to_the_contrast_of_one_process():
    one, other = rows(7, seed=1), rows(7, seed=2)
    parts = [
        contrast_loss((one[a:b], other[a:b]), (one, other), a, 0.25) for a, b in ((0, 3), (3, 7))
    ]
    assert_same(sum(parts), contrast_loss((one, other), (one, other), 0, 0.25), one, other)


def test_the_contrast_with_prototypes_is_that_of_the_paper():
    one, other = rows(seed=1), rows(seed=2)
    levels = [rows(k, seed=k).detach() for k in (2, 3, 4)]
    expected = 0
    for level in levels:
        for i in range(len(one)):
            own = int((other[i] - level).square().sum(1).argmin())
            scores = torch.exp(normalize(level, dim=1) @ normalize(one, dim=1)[i] / 0.25)
            expected = expected - torch.log(scores[own] / scores.sum()) / (len(levels) * len(one))
    found = prototype_loss(one, other, levels, len(one), 0.25)
    assert_same(found, expected, one)
    assert torch.autograd.grad(found, other, allow_unused=True)[0] is None


def test_the_loss_of_clusters_is_that_of_the_paper():
    cells, centres = rows(seed=1), rows(3, seed=2)
    kernel = 1 / (1 + (cells[:, None] - centres[None]).norm(dim=2) ** 2)
    q = kernel / kernel.sum(1, keepdim=True)
    p = q**2 / q.sum(0)
    p = (p / p.sum(1, keepdim=True)).detach()
    expected = (p * torch.log(p / q)).sum() / len(cells)
    shares = soft_assignment(cells, centres)
    targets = sharpened(shares, shares.sum(0)).detach()
    torch.testing.assert_close(targets, p)
    assert_same(cluster_loss(shares, targets, len(cells)), expected, cells, centres)


def test_targets_do_not_depend_on_the_scale_of_the_sizes():
    shares = soft_assignment(rows(seed=1), rows(3, seed=2))
    torch.testing.assert_close(sharpened(shares, shares.sum(0)), sharpened(shares, shares.mean(0)))


@pytest.mark.parametrize("scale", [0.0, 1e-30, 1e12])
def test_rows_of_zeros_at_a_centre_and_far_away_have_finite_gradients(scale):
    one = (scale * rows(seed=1, dtype=torch.float32)).detach().requires_grad_()
    other = (scale * rows(seed=2, dtype=torch.float32)).detach().requires_grad_()
    centres = one[:2].detach().clone().requires_grad_()
    shares = soft_assignment(one, centres)
    total = (
        contrast_loss((one, other), (one, other), 0, 0.25)
        + prototype_loss(one, other, [centres.detach()], len(one), 0.25)
        + cluster_loss(shares, sharpened(shares, shares.sum(0)).detach(), len(one))
    )
    assert torch.isfinite(total)
    for grad in torch.autograd.grad(total, (one, other, centres)):
        assert torch.isfinite(grad).all()
