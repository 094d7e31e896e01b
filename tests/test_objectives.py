"""The energy (Eqs. 4, 6) as a number, and its gradient as a number."""

import math

import pytest
import torch

from motionclone.errors import InputError
from motionclone.motion import SparseMap, temporal_attention, top_k
from motionclone.objectives import OBJECTIVES, energy, objective_named

P, HEADS, F, D = 3, 2, 4, 5


def query_and_key(seed):
    generator = torch.Generator().manual_seed(seed)
    return tuple(torch.randn((P, HEADS, F, D), generator=generator, dtype=torch.float64) for _ in range(2))


def reference(query, key, k, dtype=torch.float64):
    kept = top_k(temporal_attention(query, key), k)
    return SparseMap(kept.values.to(dtype), kept.indices.long())


@pytest.mark.parametrize("k", [1, 2, F])
def test_energy_of_the_reference_itself_is_zero(k):
    clip = query_and_key(0)
    assert energy(*clip, reference(*clip, k)) == 0


@pytest.mark.parametrize("k", [1, F])
def test_storage_in_fp16_costs_nothing(k):
    clip = query_and_key(0)
    assert 0 < energy(*clip, reference(*clip, k, torch.float16)) < 1e-6


def naive_energy(generated, wanted, masked):
    """Eqs. 4 and 6 entry by entry; `masked` keeps only the largest entry of each row of the reference."""
    squares = []
    for p in range(P):
        for head in range(HEADS):
            for i in range(F):
                rows = []
                for query, key in (generated, wanted):
                    weights = [math.exp(query[p, head, i] @ key[p, head, j] / math.sqrt(D)) for j in range(F)]
                    rows.append([w / sum(weights) for w in weights])
                new, old = rows
                kept = [old.index(max(old))] if masked else range(F)
                squares += [(new[j] - old[j]) ** 2 for j in kept]
    return sum(squares) / len(squares)


@pytest.mark.parametrize(("k", "masked"), [(1, True), (F, False)])
def test_energy_is_the_paper_s(k, masked):
    generated, wanted = query_and_key(1), query_and_key(0)
    found = energy(*generated, reference(*wanted, k))
    assert found.item() == pytest.approx(naive_energy(generated, wanted, masked), rel=1e-12)


@pytest.mark.parametrize("k", [1, F])
def test_gradient_is_that_of_finite_differences(k):
    wanted = reference(*query_and_key(0), k)
    query, key = query_and_key(1)
    torch.autograd.gradcheck(lambda q, k: energy(q, k, wanted), (query.requires_grad_(), key.requires_grad_()))


def test_positions_are_averaged():
    """The same motion seen at twice as many positions has the same energy."""
    generated, wanted = query_and_key(1), query_and_key(0)
    doubled = [[torch.cat([x, x]) for x in clip] for clip in (generated, wanted)]
    found = energy(*doubled[0], reference(*doubled[1], 1))
    assert found.item() == pytest.approx(energy(*generated, reference(*wanted, 1)).item(), rel=1e-12)


def test_energy_of_half_precision_is_computed_in_float32():
    generated, wanted = ([x.half() for x in query_and_key(seed)] for seed in (1, 0))
    found = energy(*generated, reference(*wanted, 1, torch.float32))
    assert found.dtype == torch.float32
    expected = energy(*(x.float() for x in generated), reference(*wanted, 1, torch.float32))
    assert found.item() == pytest.approx(expected.item(), rel=1e-6)


@pytest.mark.parametrize("name", OBJECTIVES)
@pytest.mark.parametrize("k", [1, 2, F])
def test_every_objective_is_zero_for_the_reference_itself(name, k):
    clip = query_and_key(0)
    assert float(OBJECTIVES[name](*clip, reference(*clip, k))) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_every_objective_has_the_gradient_of_its_differences(name):
    wanted = reference(*query_and_key(1), 2)
    inputs = tuple(part.requires_grad_() for part in query_and_key(0))
    assert torch.autograd.gradcheck(lambda q, key: OBJECTIVES[name](q, key, wanted), inputs)


def test_cross_entropy_by_hand():
    """One row, [0.5, 0.25, 0.25], of which the reference kept 0.8 at frame 0."""
    query = torch.ones(1, 1, 3, 1, dtype=torch.float64)
    key = torch.tensor([0.5, 0.25, 0.25], dtype=torch.float64).log().view(1, 1, 3, 1)
    wanted = SparseMap(torch.full((1, 1, 3, 1), 0.8, dtype=torch.float64), torch.zeros(1, 1, 3, 1, dtype=torch.int64))
    assert float(OBJECTIVES["cross-entropy"](query, key, wanted)) == pytest.approx(0.8 * math.log(0.8 / 0.5))


def test_an_objective_is_a_function_and_a_line(monkeypatch):
    monkeypatch.setitem(OBJECTIVES, "toy", lambda query, key, _: (query - key).square().mean())
    assert objective_named("toy")(*query_and_key(0), None) > 0
    with pytest.raises(InputError, match="no objective 'none'; there are control, cross-entropy, toy"):
        objective_named("none")
