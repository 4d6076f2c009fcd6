"""The engine stays within the memory that it is given, and gets by with less."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from conftest import Shape
from scoring.test_evaluate import INTERVENTIONS
from scoring.test_score_slow import CIRCUIT

from circuitgen.errors import InputError
from circuitgen.scoring import Replacements, evaluate, prepare_ablation, score_circuit
from circuitgen.scoring.intervene import Batch, Fold
from circuitgen.scoring.memory import (
    MEMORY_VARIABLE,
    halve_until_it_fits,
    is_out_of_memory,
    memory_limit,
    parse_size,
    plan_batches,
    plan_sizes,
)


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        (5_000, 5_000),
        ("5000", 5_000),
        ("2GB", 2 * 10**9),
        ("1.5 gb", 15 * 10**8),
        ("300MB", 300 * 10**6),
        ("64 MiB", 64 * 2**20),
        ("10k", 10_000),
    ],
)
def test_sizes_are_read_as_people_write_them(size: int | str, expected: int) -> None:
    assert parse_size(size) == expected


@pytest.mark.parametrize("size", ["much", "", "-2GB", "2 XB", "0", 0, -5, "GB"])
def test_what_is_no_size_is_refused(size: int | str) -> None:
    with pytest.raises(InputError, match="is not a size; write bytes, or a number with kB"):
        parse_size(size)


def test_the_limit_comes_from_the_caller_then_the_environment_then_what_is_free(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(MEMORY_VARIABLE, "3GB")
    assert memory_limit("2GB") == 2 * 10**9
    assert memory_limit() == 3 * 10**9
    monkeypatch.delenv(MEMORY_VARIABLE)
    monkeypatch.setattr("psutil.virtual_memory", lambda: type("Free", (), {"available": 10**10}))
    assert memory_limit() == 5 * 10**9


def test_more_memory_never_means_smaller_batches(shape: Shape) -> None:
    least = smallest_limit(shape)
    planned = [plan_sizes(shape.anatomy, 15, least * 2**power) for power in range(12)]
    assert planned[0].n_prompts == 1
    for smaller, larger in pairwise(planned):
        assert smaller.n_prompts <= larger.n_prompts
        assert smaller.n_tokens <= larger.n_tokens
    assert planned[-1].n_prompts > 1


def test_batches_hold_every_prompt_once_and_one_length(shape: Shape) -> None:
    items = shape.prompts.prompts
    for options in ({}, {"limit": smallest_limit(shape)}, {"batch_size": 2}):
        planned = list(plan_batches(shape.anatomy, items, **options))
        assert sorted(i for indices, _ in planned for i in indices) == list(range(len(items)))
        for indices, sizes in planned:
            assert len({len(items[i].tokens) for i in indices}) == 1
            assert len(indices) <= min(sizes.n_prompts, options.get("batch_size", 10**6))


def test_a_small_limit_changes_nothing_but_the_batches(
    shape: Shape, monkeypatch: pytest.MonkeyPatch
) -> None:
    replacements = prepare_ablation(shape.anatomy, shape.prompts, "counterfactual")
    whole = evaluate(shape.anatomy, shape.prompts, INTERVENTIONS, replacements)
    table = score_circuit(shape.model, CIRCUIT, shape.prompts, ablation=replacements)
    monkeypatch.setenv(MEMORY_VARIABLE, str(smallest_limit(shape)))
    parts = evaluate(shape.anatomy, shape.prompts, INTERVENTIONS, replacements)
    np.testing.assert_allclose(parts, whole, atol=1e-5)
    small = score_circuit(shape.model, CIRCUIT, shape.prompts, ablation=replacements)
    np.testing.assert_allclose(small["logit_diff_circuit"], table["logit_diff_circuit"], atol=1e-5)


def test_a_limit_below_one_prompt_is_refused(shape: Shape) -> None:
    limit = smallest_limit(shape) - 1
    for work in (
        lambda: prepare_ablation(shape.anatomy, shape.prompts, memory_limit=limit),
        lambda: evaluate(
            shape.anatomy, shape.prompts, [], Replacements("zero", 0, {}), memory_limit=limit
        ),
        lambda: score_circuit(shape.model, CIRCUIT, shape.prompts, memory_limit=limit),
    ):
        with pytest.raises(InputError, match="is below what one prompt of .* tokens needs") as no:
            work()
        assert "raise memory_limit or CIRCUITGEN_MEMORY." in str(no.value)
        assert "\n" not in str(no.value)


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory."),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 4 bytes."),
        RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 4 bytes."),
    ],
    ids=["python", "cuda", "linux", "windows"],
)
def test_lack_of_memory_is_known_by_its_names(error: Exception) -> None:
    assert is_out_of_memory(error)


def test_batches_are_halved_where_memory_runs_out(
    shape: Shape, monkeypatch: pytest.MonkeyPatch
) -> None:
    replacements = prepare_ablation(shape.anatomy, shape.prompts, "zero")
    whole = evaluate(shape.anatomy, shape.prompts, INTERVENTIONS, replacements)
    ends, prepare = Batch.ends, Batch.prepare.__func__  # type: ignore[attr-defined]
    sizes, lengths = [], []

    def few_ends(batch: Batch, fold: Fold) -> torch.Tensor:
        sizes.append(len(fold.numbers) * len(fold.rows))
        if sizes[-1] > 2:
            raise MemoryError
        return ends(batch, fold)

    def few_prompts(
        cls: type, anatomy: object, items: object, indices: list[int], *rest: object
    ) -> Batch:
        lengths.append(len(indices))
        if lengths[-1] > 2:
            raise MemoryError
        return prepare(cls, anatomy, items, indices, *rest)

    monkeypatch.setattr(Batch, "ends", few_ends)
    monkeypatch.setattr(Batch, "prepare", classmethod(few_prompts))
    parts = evaluate(shape.anatomy, shape.prompts, INTERVENTIONS, replacements)
    np.testing.assert_allclose(parts, whole, atol=1e-5)
    assert max(sizes) > 2
    assert max(lengths) > 2


def test_other_failures_are_not_taken_for_lack_of_memory() -> None:
    assert not is_out_of_memory(RuntimeError("shapes cannot be multiplied"))
    assert not is_out_of_memory(ValueError("out of memory"))

    def fail(_: int) -> None:
        raise RuntimeError("shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="shapes"):
        list(halve_until_it_fits(fail, 4, lambda n: (n // 2, n // 2)))


def test_when_even_one_prompt_does_not_fit_it_is_said() -> None:
    def fail(_: int) -> None:
        raise MemoryError

    with pytest.raises(InputError, match="Memory ran out with one prompt at a time"):
        list(halve_until_it_fits(fail, 4, lambda n: (n // 2, n // 2) if n > 1 else None))


def smallest_limit(shape: Shape) -> int:
    """Least bytes that the longest prompt is allowed with."""
    n_pos = max(len(prompt.tokens) for prompt in shape.prompts.prompts)
    low, high = 0, 2**40
    while high - low > 1:
        middle = (low + high) // 2
        try:
            plan_sizes(shape.anatomy, n_pos, middle)
        except InputError:
            low = middle
        else:
            high = middle
    return high
