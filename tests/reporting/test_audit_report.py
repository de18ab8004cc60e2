import base64
import io

import numpy as np
import pytest
from PIL import Image

from tumorscope.errors import EvaluationError
from tumorscope.reporting.audit_report import SHOWN_PX, PictureRow


def drawn(*pictures):
    row = PictureRow(pictures, tuple(f"{number}.png" for number in range(len(pictures))), "a caption")
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(row.address.split(",", 1)[1]))))


def test_pictures_stand_side_by_side_at_one_height():
    image = drawn(np.zeros((10, 10), dtype=np.uint8), np.zeros((40, 20), dtype=np.uint8))
    assert image.shape == (SHOWN_PX, SHOWN_PX + 4 + SHOWN_PX // 2)


def test_a_coloured_picture_keeps_its_colour_beside_a_grey_one():
    red = np.zeros((10, 10, 3), dtype=np.uint8)
    red[..., 0] = 200
    image = drawn(np.full((10, 10), 90, dtype=np.uint8), red)
    assert image[5, 5].tolist() == [90, 90, 90]
    assert image[5, -5].tolist() == [200, 0, 0]


@pytest.mark.parametrize("picture", [np.zeros((4, 4)), np.zeros((4, 4, 4), dtype=np.uint8), np.zeros(4, dtype=np.uint8)])
def test_anything_but_pictures_is_refused(picture):
    with pytest.raises(EvaluationError, match="must be uint8"):
        PictureRow((picture,), ("a.png",), "")
