# %% [markdown]
# # A model of your own: train, calibrate, evaluate, ask
#
# **Research software, not a medical device. Not for diagnosis or treatment decisions.**
#
# For whoever has labelled scans. To be done in a minute, this takes a few small synthetic scans and four epochs. The numbers below
# show what is measured, not what is possible. `tumorscope run --data DATA --out RUN` does the same and more in one command, see the
# [README](../../README.md).

# %%
from pathlib import Path

from tumorscope.data.phantom import write_phantom

manifest = write_phantom(Path("data"), patients_per_label=15, slices_per_patient=4, image_size=96)
print(manifest.notes[0])
print(manifest.counts("train"), manifest.counts("test"))

# %% [markdown]
# ## Split
#
# By patient: no patient stands on two sides. Calibration images see no training. With your own folder, NPZ or CSV, begin with
# `tumorscope index DATA -o manifest.csv`, and give `tumorscope audit` a look before you train.

# %%
# !tumorscope split data/manifest.csv -o split.csv --validation-share 0.15 --calibration-share 0.3

# %% [markdown]
# ## Train
#
# It starts from the model that comes with Tumorscope. The recipe `phantom` is small and made for these drawings; for real scans
# take `default`, with its own number of epochs and size. A training that was killed goes on when the same command is given again.

# %%
# !tumorscope train split.csv --out run --models mobilenet_v2 --init bundled --recipe phantom --epochs 4 --image-size 96

# %% [markdown]
# ## Calibrate and evaluate
#
# Fits what probabilities mean, prediction sets, an operating point and what is refused, on the calibration images, and tests each
# of these promises on the test images. Promises that so few images cannot carry are not made, and it says so.

# %%
# !tumorscope calibrate run --sample 4

# %% [markdown]
# The numbers lie in JSON files, each with an interval. Beside them stands what a look-up of the most similar training image scores,
# a baseline that learns nothing:

# %%
import json

metrics = json.loads(Path("run/mobilenet_v2/metrics.json").read_text())
low, high = metrics["intervals"]["accuracy"]
print(f"accuracy {metrics['accuracy']:.2f} ({low:.2f}-{high:.2f}) on {metrics['n']} test images")
print(f"look-up  {metrics['lookup_baseline']['accuracy']:.2f}")
print(f"tumours whose most probable label is no tumour: {metrics['missed_tumours']}")

# %% [markdown]
# `trust.json` holds every promise beside what became of it; `run/trust.html` says it in sentences and figures, and
# [trust.md](../trust.md) explains them.

# %%
trust = json.loads(Path("run/mobilenet_v2/trust.json").read_text())
for sets in trust["all"]["sets"]:
    if not sets["conditional"]:
        held, labels = (sets[measure]["by_image"]["value"] for measure in ("coverage", "size"))
        print(f"sets of {sets['promised']:.0%} held the truth in {held:.0%}, labels in each: {labels:.1f}")
wanted, found = trust["operating_point"], trust["all"]["operating_point"]
print("at the operating point:")
print(f"  tumours found {found['sensitivity']['value']:.0%}")
print(f"  wanted {wanted['target']:.0%}, enough images to promise it: {wanted['guaranteed']}")
print(f"  scans without a tumour recognised {found['specificity']['value']:.0%}")

# %% [markdown]
# ## Ask it
#
# The folder of the model is all that it needs; it can be copied elsewhere. A calibrated model names the labels that cannot be ruled
# out, and refuses what is unlike all that it knows.

# %%
import numpy as np

import tumorscope as ts
from tumorscope.scan import Scan

predictor = ts.load("run/mobilenet_v2")
unseen = next(record for record in manifest if record.split == "test")
predictor.predict(Path("data") / unseen.path)

# %%
noise = np.random.default_rng(0).integers(0, 256, (96, 96), dtype=np.uint8)
print(predictor(Scan(noise, origin="noise")))

# %% [markdown]
# It remembers what it was trained on, so that no one takes memory for skill:

# %%
from tumorscope.manifest import read_manifest

trained_on = next(record for record in read_manifest(Path("split.csv")) if record.split == "train")
print(*predictor.predict(trained_on.path).warnings)
