import pytest

from tumorscope.evaluation.parts import right_by_part


def test_shares_are_those_of_each_part_the_lowest_first():
    found = right_by_part(["b", "a", "a", "b", "a"], [False, True, True, True, False], groups=["", "", "", "", ""])
    assert list(found) == ["b", "a"]
    assert found["b"]["value"] == 0.5
    assert found["a"]["value"] == pytest.approx(2 / 3)
    assert (found["a"]["n"], found["b"]["n"]) == (3, 2)


def test_a_part_without_mistakes_gets_exact_bounds_by_its_groups():
    """Clopper-Pearson at n of n: the lower bound is 0.025 to the power of 1/n, here with two groups of two images."""
    found = right_by_part(["a"] * 4 + ["b"], [True] * 4 + [False], groups=["p", "p", "q", "q", "r"])
    assert found["a"]["interval"] == [pytest.approx(0.025 ** (1 / 2)), 1.0]


def test_nothing_has_no_parts():
    assert right_by_part([], [], groups=[]) == {}
