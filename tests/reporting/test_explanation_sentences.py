import pytest

from tumorscope.reporting.explanation_sentences import RIVALS, model_sentences, threshold_sentence, verdict


def said(content) -> str:
    return " ".join(model_sentences(content))


def test_nothing_measured_says_nothing():
    assert model_sentences({}) == ()
    assert model_sentences({"pointing_game": None, "curves": None, "randomisation": None, "stability": {"flip": None}}) == ()
    assert model_sentences({"pointing_game": {"value": None, "interval": None, "n": 0}}) == ()


def test_scans_without_any_outline_are_said_to_prove_nothing():
    assert "nothing here says whether the map falls on one" in said({"with_mask": 0})


def test_a_peak_is_told_with_its_interval_its_scans_and_what_the_usual_drawing_gives(make_content):
    text = said(make_content())
    assert "The peak of the map lies inside the tumour in 13.6 % (10.9–16.5) of 612 outlined scans." in text
    assert "without asking where the network's cells lie: 8.0 % (6.0–10.0)." in text


def test_a_baseline_within_the_interval_is_a_tie_and_the_map_is_then_not_about_the_tumour(make_content):
    text = said(make_content())
    assert "The map cannot be told from a centred spot that never saw the scan (12.4 %) and the brightest region" in text
    assert ", and beats the edges of the scan (3.0 %) and a network that learned nothing (5.0 %)." in text
    assert "A map that does not beat the baselines has not been shown to be about the tumour." in text
    assert "owes something to the tumour" not in text


def test_a_baseline_above_the_interval_is_said_to_be_better(make_content, make_cell):
    metric = make_cell(0.08, 0.06, 0.1) | {"baselines": {"centred_gaussian": make_cell(0.124), "edges": make_cell(0.08)}}
    text = said(make_content(pointing_game=metric))
    assert "The map does worse than a centred spot that never saw the scan (12.4 %), and cannot be told from the edges" in text
    assert "has not been shown to be about the tumour" in text


def test_a_map_that_beats_every_baseline_is_credited_and_its_misses_are_told(make_content, make_cell):
    metric = make_cell(0.52, 0.48, 0.56) | {"baselines": dict.fromkeys(RIVALS, make_cell(0.14))}
    text = said(make_content(pointing_game=metric))
    assert "So it owes something to the tumour and to what was learned; in 48.0 % the peak lies elsewhere." in text
    assert "has not been shown to be about the tumour" not in text


def test_a_baseline_on_the_border_of_the_interval_is_a_tie(make_cell):
    for bound in (0.4, 0.6):
        sentence, beats_all = verdict(make_cell(0.5, 0.4, 0.6) | {"baselines": {"edges": make_cell(bound)}}, RIVALS, "share")
        assert sentence.startswith("The map cannot be told from")
        assert beats_all is False


def test_where_less_is_better_a_lower_baseline_wins(make_cell):
    metric = make_cell(30.0, 28.0, 32.0) | {"baselines": {"edges": make_cell(20.0), "centred_gaussian": make_cell(40.0)}}
    sentence, beats_all = verdict(metric, RIVALS, "px", more_is_better=False)
    assert sentence == (
        "The map does worse than the edges of the scan (20.0), and beats a centred spot that never saw the scan (40.0)."
    )
    assert beats_all is False


def test_without_an_interval_no_winner_is_named(make_cell):
    sentence, beats_all = verdict(make_cell(0.9) | {"baselines": {"edges": make_cell(0.1)}}, RIVALS, "share")
    assert sentence == "No interval is known, so it stays open whether the map beats the edges of the scan (10.0 %)."
    assert beats_all is None


def test_without_baselines_there_is_no_verdict(make_cell):
    assert verdict(make_cell(0.9, 0.8, 1.0), RIVALS, "share") == ("", None)


@pytest.mark.parametrize(
    ("even", "words"),
    [(0.0231, "more than an even map"), (0.045, "no more than an even map"), (0.2, "less than an even map")],
)
def test_energy_is_compared_with_an_even_map(make_content, make_cell, even, words):
    assert f": {words} would have there." in said(make_content(mask_share=make_cell(even)))


@pytest.mark.parametrize(
    ("elsewhere", "words"),
    [
        (0.04, "by 0.040. The answer rests on the tumour more than on other places."),
        (0.3, "by 0.300. The difference is within the interval: it was not shown that the answer rests on the tumour."),
        (0.5, "by 0.500. Other places matter more to the answer than the tumour does."),
    ],
)
def test_the_tumour_painted_over_is_compared_with_as_much_elsewhere(make_content, make_cell, elsewhere, words):
    metric = make_cell(0.31, 0.28, 0.34) | {"baselines": {"elsewhere": make_cell(elsewhere)}}
    text = said(make_content(tumour_inpainted_drop=metric))
    assert "Painting the tumour over lowers the probability of the answer by 0.310 (0.280 to 0.340); painting over as much" in text
    assert words in text


def test_a_probability_that_rises_without_the_tumour_is_said_to_rise(make_content, make_cell):
    text = said(make_content(tumour_blurred_drop=make_cell(-0.02, -0.05, 0.01)))
    assert "Blurring the tumour raises the probability of the answer by 0.020 (−0.010 to 0.050)." in text


def test_an_order_is_credited_only_when_it_beats_the_others(make_content):
    deletion, insertion = (
        next(s for s in model_sentences(make_content()) if s.startswith(word)) for word in ("Blurring", "Bringing")
    )
    assert "does worse than an order from the centre outwards (0.400), and beats a random order (0.550)." in deletion
    assert deletion.endswith("So it was not shown to mark what the answer rests on.")
    assert insertion.endswith("It marks places that matter to the answer.")


@pytest.mark.parametrize(
    ("left", "words"),
    [
        (0.04, "Hardly anything of the map is left"),
        (0.35, "Part of the map is left"),
        (0.5, "Most of the map is left"),
        (-0.9, "Most"),
    ],
)
def test_random_weights_that_leave_the_map_as_it_is_count_against_it(make_content, make_cell, left, words):
    layers = [
        {"layer": "classifier", "rank_correlation": make_cell(0.7)},
        {"layer": "features.0", "rank_correlation": make_cell(left)},
    ]
    assert words in said(make_content(randomisation={"layers": layers}))


def test_what_was_found_of_wrong_answers_is_told_as_it_was_measured(make_content):
    assert said(make_content(correct_and_incorrect={"sentences": ["Nothing differs."]})).endswith("Nothing differs.")
    assert "Nothing differs." not in said(make_content(correct_and_incorrect=None))


def test_agreement_with_itself_and_with_another_training_is_told(make_content):
    text = said(make_content())
    assert "0.910 (0.900 to 0.920) with the scan mirrored (same answer in 97.0 %)" in text
    assert (
        "Against the training with seed 1 its rank correlation is 0.910 (0.900 to 0.920), and the peaks lie 4.2 (4.0–4.5)" in text
    )


def test_the_threshold_names_where_it_was_chosen():
    content = {"threshold": {"value": 0.35, "chosen_on": "validation", "n": 400}}
    assert threshold_sentence(content) == (
        "Dice and intersection over union are taken at a threshold of 0.35, chosen on validation (400 scans)."
    )
    assert threshold_sentence({"threshold": None}) is None
