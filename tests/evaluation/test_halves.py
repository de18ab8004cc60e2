import numpy as np

from tumorscope.evaluation.halves import final_half


def test_a_half_is_told_by_the_group_alone_and_both_are_about_as_large():
    groups = [f"slice-{number // 3:016x}" for number in range(3000)]
    paths = [f"{number}.png" for number in range(3000)]
    final = final_half(groups, paths)
    assert 0.45 < final.mean() < 0.55
    assert (final.reshape(-1, 3) == final[::3, None]).all()
    order = np.random.default_rng(0).permutation(3000)
    np.testing.assert_array_equal(final_half([groups[k] for k in order], [paths[k] for k in order]), final[order])


def test_images_without_a_group_are_told_by_their_path():
    paths = [f"{number}.png" for number in range(200)]
    np.testing.assert_array_equal(final_half([""] * 200, paths), final_half(paths, ["x"] * 200))
    assert final_half(["slice-0"], ["a.png"]).dtype == bool
