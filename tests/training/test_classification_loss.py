import math

import torch
from torch.nn import functional

from tumorscope.data.lesions import UNSTATED
from tumorscope.labels import LABELS, NO_TUMOUR
from tumorscope.training.classification_loss import classification_loss, with_likely_types

NONE = LABELS.index(NO_TUMOUR)


def test_stated_labels_give_the_usual_cross_entropy():
    logits, labels = torch.randn(9, 4), torch.randint(4, (9,))
    assert classification_loss(logits, labels, smoothing=0.1) == functional.cross_entropy(logits, labels, label_smoothing=0.1)


def test_an_unstated_tumour_costs_minus_log_of_all_tumours_together():
    logits = torch.tensor([[0.3, 1.2, -0.4, 2.0]])
    tumour = 1 - logits.softmax(dim=1)[0, NONE].item()
    assert math.isclose(
        classification_loss(logits, torch.tensor([UNSTATED]), smoothing=0.0).item(), -math.log(tumour), rel_tol=1e-5
    )


def test_batches_of_both_are_averaged_over_images():
    logits, labels = torch.randn(3, 4), torch.tensor([UNSTATED, 0, NONE])
    parts = [classification_loss(logits[i : i + 1], labels[i : i + 1], smoothing=0.05) for i in range(3)]
    torch.testing.assert_close(classification_loss(logits, labels, smoothing=0.05), torch.stack(parts).mean())


def test_unstated_tumours_pull_on_no_type_more_than_the_network_does():
    logits = torch.zeros(1, 4, requires_grad=True)
    classification_loss(logits, torch.tensor([UNSTATED]), smoothing=0.0).backward()
    pull = logits.grad[0]
    assert pull[NONE] > 0
    types = torch.cat([pull[:NONE], pull[NONE + 1 :]])
    torch.testing.assert_close(types, types.mean().expand(3))


def test_the_likeliest_type_stands_in_and_is_never_none():
    logits = torch.zeros(2, 4)
    logits[:, NONE] = 9.0
    logits[0, 1], logits[1, 3] = 1.0, 1.0
    labels = with_likely_types(torch.tensor([UNSTATED, 0]), logits)
    assert labels.tolist() == [1, 0]
