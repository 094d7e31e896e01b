"""Energies (Eqs. 4, 6) as numbers, and their gradients as numbers."""

import math

import pytest
import torch

from motionclone.motion import SparseMap, represent
from motionclone.objectives import energies, total

P, HEADS, F, D = 3, 2, 4, 5


def queries_and_keys(seed, sites=("a",)):
    generator = torch.Generator().manual_seed(seed)
    shape = (P, HEADS, F, D)
    return {
        s: tuple(torch.randn(shape, generator=generator, dtype=torch.float64) for _ in range(2)) for s in sites
    }


def reference(found, k, dtype=torch.float64):
    return {site: SparseMap(m.values.to(dtype), m.indices.long()) for site, m in represent(found, k).items()}


@pytest.mark.parametrize("k", [1, 2, F])
def test_energy_of_the_reference_itself_is_zero(k):
    found = queries_and_keys(0)
    assert energies(found, reference(found, k))["a"] == 0


@pytest.mark.parametrize("k", [1, F])
def test_storage_in_fp16_costs_nothing(k):
    found = queries_and_keys(0)
    assert 0 < energies(found, reference(found, k, torch.float16))["a"] < 1e-6


def naive_energy(generated, wanted, masked):
    """Eqs. 4 and 6 entry by entry; `masked` keeps only the largest entry of each row of the reference."""
    total_of_squares, entries = 0.0, 0
    for p in range(P):
        for head in range(HEADS):
            for i in range(F):
                rows = []
                for query, key in (generated, wanted):
                    logits = [float(query[p, head, i] @ key[p, head, j]) / math.sqrt(D) for j in range(F)]
                    weights = [math.exp(x) for x in logits]
                    rows.append([w / sum(weights) for w in weights])
                new, old = rows
                for j in [old.index(max(old))] if masked else range(F):
                    total_of_squares += (new[j] - old[j]) ** 2
                    entries += 1
    return total_of_squares / entries


@pytest.mark.parametrize(("k", "masked"), [(1, True), (F, False)])
def test_energy_is_the_paper_s(k, masked):
    generated, wanted = queries_and_keys(1), queries_and_keys(0)
    found = energies(generated, reference(wanted, k))["a"]
    assert found.item() == pytest.approx(naive_energy(generated["a"], wanted["a"], masked), rel=1e-12)


@pytest.mark.parametrize("k", [1, F])
def test_gradient_is_that_of_finite_differences(k):
    wanted = reference(queries_and_keys(0), k)
    query, key = queries_and_keys(1)["a"]
    torch.autograd.gradcheck(
        lambda q, key: energies({"a": (q, key)}, wanted)["a"], (query.requires_grad_(), key.requires_grad_())
    )


def test_sites_are_summed():
    generated, wanted = queries_and_keys(1, "abc"), queries_and_keys(0, "abc")
    found = energies(generated, reference(wanted, 1))
    alone = [
        energies({s: generated[s]}, reference({s: wanted[s]}, 1))[s].item() for s in "abc"
    ]
    assert total(found).item() == pytest.approx(math.fsum(alone), rel=1e-12)


def test_sites_beyond_the_reference_do_not_count():
    generated, wanted = queries_and_keys(1, "ab"), reference(queries_and_keys(0), 1)
    assert list(energies(generated, wanted)) == ["a"]


def test_positions_are_averaged():
    """The same motion seen at twice as many positions has the same energy."""
    generated, wanted = queries_and_keys(1), queries_and_keys(0)
    doubled = [{"a": tuple(torch.cat([x, x]) for x in pair["a"])} for pair in (generated, wanted)]
    found = energies(doubled[0], reference(doubled[1], 1))["a"]
    assert found.item() == pytest.approx(energies(generated, reference(wanted, 1))["a"].item(), rel=1e-12)
