import pytest

from tumorscope.errors import RecipeError
from tumorscope.training.recipe import load_recipe, parse_recipe, shipped_recipes


@pytest.mark.parametrize("name", shipped_recipes())
def test_shipped_recipe_survives_toml_and_back(name):
    recipe = load_recipe(name)
    assert recipe.name == name
    assert parse_recipe(recipe.to_toml(), where="test") == recipe


def test_report_recipe_is_the_student_reports():
    recipe = load_recipe("report")
    fine_tuning = recipe.mobilenet_v2
    assert (fine_tuning.optimizer, fine_tuning.learning_rate) == ("adam", 1e-5)
    assert (fine_tuning.schedule, fine_tuning.step_epochs, fine_tuning.step_factor) == ("step", 7, 0.1)
    assert (recipe.augmentation.flip, recipe.augmentation.rotation_deg, recipe.augmentation.zoom) == (0.5, 20.0, (1.0, 1.0))
    assert fine_tuning.label_smoothing == recipe.cnn.label_smoothing == 0
    assert recipe.cnn.dropout == 0.3
    assert recipe.precision == "float32"
    assert fine_tuning.patience_epochs is not None


def test_unknown_key_is_refused_by_name():
    text = load_recipe("default").to_toml() + "\nmomentum = 0.9\n"
    with pytest.raises(RecipeError, match="momentum"):
        parse_recipe(text, where="mine.toml")


@pytest.mark.parametrize(
    ("old", "new", "what"),
    [
        ("batch_size = 32", "batch_size = 1", "batch_size"),
        ("flip = 0.5", "flip = 1.5", "flip"),
        ("image_size = 224", "image_size = 7", "image_size"),
        ('optimizer = "adamw"', 'optimizer = "sgd9"', "optimizer"),
    ],
)
def test_value_out_of_range_is_refused_by_name(old, new, what):
    text = load_recipe("default").to_toml()
    assert old in text
    with pytest.raises(RecipeError, match=what):
        parse_recipe(text.replace(old, new, 1), where="mine.toml")


def test_missing_file_broken_toml_and_binary_file_are_named(tmp_path):
    with pytest.raises(RecipeError, match="Shipped: default"):
        load_recipe("nothing.toml")
    broken = tmp_path / "broken.toml"
    broken.write_text("name = ")
    with pytest.raises(RecipeError, match="not valid TOML"):
        load_recipe(str(broken))
    binary = tmp_path / "binary.toml"
    binary.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(RecipeError, match="UTF-8"):
        load_recipe(str(binary))


def test_options_change_only_what_they_name():
    recipe = load_recipe("default")
    changed = recipe.changed(epochs=3, image_size=96, seed=7)
    assert (changed.mobilenet_v2.epochs, changed.cnn.epochs, changed.preprocessing.image_size, changed.seed) == (3, 3, 96, 7)
    assert changed.augmentation == recipe.augmentation
    assert recipe.changed() == recipe


def test_training_resolution_rises_with_the_epochs():
    choice = load_recipe("default").mobilenet_v2.model_copy(update={"epochs": 10, "sizes": ((0.3, 128), (0.6, 160), (1.0, 224))})
    assert [choice.size_at(epoch, image_size=224) for epoch in range(10)] == [128] * 3 + [160] * 3 + [224] * 4
    assert choice.size_at(0, image_size=96) == 96


def test_only_mobilenet_at_stride_16_can_be_joined():
    recipe = load_recipe("default").to_toml()
    with pytest.raises(RecipeError, match="only mobilenet_v2 can, with output_stride = 16"):
        parse_recipe(recipe.replace("output_stride = 16", "output_stride = 32"), where="test")


def test_patience_needs_the_best_epoch():
    recipe = load_recipe("default").to_toml()
    with pytest.raises(RecipeError, match="the last of the epochs that were no better"):
        parse_recipe(recipe.replace('keep = "last"', 'keep = "last"\npatience_epochs = 3'), where="test")
