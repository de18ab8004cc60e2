# %% [markdown]
# # One scan: answer, heatmap, JSON
#
# **Research software, not a medical device. Not for diagnosis or treatment decisions.**
#
# For whoever looks at a single scan. The one here is synthetic: a program drew it, it shows no patient. Put the name of a file of
# yours in the place of `scan.png`: JPEG, PNG, TIFF, NPY, NPZ, MATLAB, NIfTI or DICOM.

# %%
from PIL import Image

from tumorscope.data.phantom import phantom_patient

slices = phantom_patient("meningioma", seed=1, slices=7, image_size=192)
Image.fromarray(slices[3].pixels).save("scan.png")

# %% [markdown]
# ## The answer
#
# `load()` takes the model that comes with Tumorscope, `load("RUN/mobilenet_v2")` one of your own. No GPU and no network are needed.

# %%
import tumorscope as ts

predictor = ts.load()
finding = predictor.predict("scan.png")
finding

# %% [markdown]
# The same in a terminal, and as values:

# %%
print(finding)
print()
print(finding.recommended, finding.refused, round(finding.probabilities["meningioma"], 2))

# %% [markdown]
# ## Where the model looked
#
# The heatmap is a raw Grad-CAM with a value for every pixel of the scan. Where the tumour of a drawn scan lies is known, so numbers
# can say what the map is worth here. [heatmaps.md](../heatmaps.md) explains what it is worth in general.

# %%
import numpy as np

heatmap, tumour = finding.heatmap, slices[3].mask
inside = heatmap.values[tumour].sum() / heatmap.values.sum()
away = np.hypot(*(np.argwhere(tumour) - heatmap.peak).T).min()
print(f"{heatmap.values.dtype}, {heatmap.values.shape}, highest value {heatmap.highest:.3f}")
print(f"its peak is {away:.0f} pixels from the nearest one of the tumour")
print(f"{inside:.0%} of the map lies in the tumour, which is {tumour.mean():.1%} of the scan")

# %% [markdown]
# The overlay as a picture of its own:

# %%
from pathlib import Path

from tumorscope.overlay import overlay_png

size = Path("overlay.png").write_bytes(overlay_png(heatmap.picture, heatmap.values))
print(f"overlay.png: {size / 1000:.0f} kB, as large as the scan: {heatmap.picture.shape}")

# %% [markdown]
# ## JSON for another program
#
# [finding.schema.json](../finding.schema.json) describes it. What is read back equals what was written. The first half of it:

# %%
import json

from tumorscope.finding import Finding

text = json.dumps(finding.to_json(), indent=1)
Path("finding.json").write_text(text)
print(*text.splitlines()[:32], "...", sep="\n")
assert Finding.from_json(json.loads(text)) == finding

# %% [markdown]
# ## A volume, slice by slice
#
# `predict` takes the middle slice of a volume and says so. `predict_slices` takes all. Every slice is answered for by itself; the
# summary counts and is no diagnosis of the volume. In this one the tumour reaches through three of seven slices.

# %%
import nibabel

healthy = phantom_patient("meningioma", seed=1, slices=7, image_size=192, with_tumour=False)
drawn = [*healthy[:2], *slices[2:5], *healthy[5:]]
volume = np.stack([one.pixels[::-1, ::-1].T for one in drawn], axis=2)  # to the right, front and crown
nibabel.save(nibabel.Nifti1Image(volume, np.diag([1.2, 1.2, 5.0, 1.0])), "head.nii.gz")

# %%
from tumorscope.finding_summary import SliceSummary

findings = list(predictor.predict_slices("head.nii.gz"))
for one in findings:
    print(f"{one.path:<22}{one.recommended:<12}{one.probabilities[one.recommended]:.2f}")
summary = SliceSummary.of(findings)
print()
print(summary)

# %% [markdown]
# The slice that looks most like one with a tumour:

# %%
from tumorscope.data.slice_choice import SliceChoice

predictor.predict("head.nii.gz", choice=SliceChoice(slices=str(summary.most_suspicious.index)))

# %% [markdown]
# In the shell it is `tumorscope predict head.nii.gz`; [predict.md](../predict.md) has all options.
