"""Dense twins of `scrcl.train`, from the paper's equations: N x N matrices, float64, small N."""

from __future__ import annotations

import torch


def skl(p, q, dim=None):
    """SKL(P, Q) = KL(P || Q) + KL(Q || P), summed over ``dim`` (all entries if None)."""
    divergence = p * (p / q).log() + q * (q / p).log()
    return divergence.sum() if dim is None else divergence.sum(dim)


def hea_global(em, eg, t):
    """Eq. 2 and the first term of Eq. 3."""
    p, q = (torch.softmax((e / t).flatten(), 0) for e in (em, eg))
    return skl(p, q)


def hea_cell(em, eg, t):
    """The second term of Eq. 3, as a mean over cells."""
    return skl(torch.softmax(em / t, 1), torch.softmax(eg / t, 1), dim=1).mean()


def kappa(em, eg, t):
    """Eq. 5: the N x N matrix."""
    p, q = torch.softmax(em / t, 1), torch.softmax(eg / t, 1)
    return skl(p[:, None, :], q[None, :, :], dim=2)


def ndc(em, eg, adjacency, t, *, self_in_mean=False):
    """Eq. 4; with ``self_in_mean``, its denominators run over all j and not all j != i."""
    k, eye = kappa(em, eg, t), torch.eye(len(em), dtype=em.dtype)
    near = (k * (adjacency + eye)).sum(1) / (adjacency.sum(1) + 1)
    mean = k.mean(1) if self_in_mean else (k * (1 - eye)).sum(1) / (len(em) - 1)
    return (near / mean).mean()


def similarity(zm, zg):
    """Eq. 8."""
    return zm @ zg.T / (zm.norm(dim=1)[:, None] * zg.norm(dim=1)[None, :])


def cvc(zm, zg, adjacency):
    """Eq. 9."""
    eye = torch.eye(len(zm), dtype=zm.dtype)
    return (similarity(zm, zg) - (adjacency + eye)).square().sum() / len(zm)


def cvc_per_anchor(zm, zg, adjacency, m):
    """Eq. 9 with each anchor's N' non-neighbours weighing as much as m of them."""
    s, near = similarity(zm, zg), adjacency + torch.eye(len(zm), dtype=zm.dtype)
    total = zm.new_zeros(())
    for i in range(len(zm)):
        far = near[i] == 0
        total = total + (1 - s[i][~far]).square().sum()
        if far.any():
            n_far = int(far.sum())
            total = total + min(m, n_far) / n_far * s[i][far].square().sum()
    return total / len(zm)


def normalized(adjacency):
    """D^-1/2 (A + I) D^-1/2."""
    with_self = adjacency + torch.eye(len(adjacency), dtype=adjacency.dtype)
    scale = with_self.sum(1).rsqrt()
    return scale[:, None] * with_self * scale[None, :]


def embed(model, x, ax, genes, adjacency):
    """Eq. 1, 6 and 7 on all cells: E^m, E^g, Z^m, Z^g, forming E W (N x M)."""
    act = torch.nn.LeakyReLU(model.leaky_slope)
    em = act(x @ model.phi.weight.T + model.phi.bias)
    hidden = act(ax @ model.psi_1.weight.T + model.psi_1.bias)
    hidden = act(normalized(adjacency) @ hidden @ model.psi_2.weight.T + model.psi_2.bias)
    eg = hidden @ model.psi_out.weight.T + model.psi_out.bias
    em, eg = (e / e.norm(dim=1, keepdim=True) for e in (em, eg))
    u = act(genes @ model.varphi.weight.T + model.varphi.bias)
    return em, eg, (em @ model.W) @ u, (eg @ model.W) @ u


def terms(em, eg, zm, zg, adjacency, config):
    """All weighted terms over all cells."""
    t = config.temperature
    return {
        "hea_global": hea_global(em, eg, t),
        "hea_cell": config.hea_cell_weight * hea_cell(em, eg, t),
        "ndc": config.alpha * ndc(em, eg, adjacency, t),
        "cvc": config.beta * cvc_per_anchor(zm, zg, adjacency, config.cvc_negatives),
    }
