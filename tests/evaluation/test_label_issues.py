import numpy as np

from tumorscope.evaluation.label_issues import describe_issue, label_issues
from tumorscope.predictions import Predictions


def answers(labels, truth, *, sure=0.94):
    """A model that knows the truth nearly always, and labels that may say otherwise."""
    probabilities = np.full((len(truth), 4), (1 - sure) / 3)
    probabilities[np.arange(len(truth)), truth] = sure
    return Predictions(tuple(f"{row}.png" for row in range(len(truth))), np.asarray(labels), probabilities)


def test_images_with_another_label_than_the_model_sees_are_found():
    truth = np.tile(np.arange(4), 50)
    labels = truth.copy()
    labels[[3, 77]] = [0, 2]
    assert sorted(label_issues(answers(labels, truth)).tolist()) == [3, 77]


def test_when_labels_and_model_agree_nothing_is_suspected():
    truth = np.tile(np.arange(4), 50)
    assert len(label_issues(answers(truth, truth))) == 0


def test_a_set_without_every_label_can_be_searched():
    truth = np.tile([0, 2], 60)
    labels = truth.copy()
    labels[5] = 0
    assert label_issues(answers(labels, truth)).tolist() == [5]


def test_one_label_alone_gives_no_suspicion():
    truth = np.zeros(20, dtype=np.int64)
    assert len(label_issues(answers(truth, truth))) == 0


def test_an_issue_is_told_in_words():
    assert describe_issue(answers([0], [2]), 0) == "label glioma (0.020), model notumor (0.940)"
