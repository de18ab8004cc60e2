# %% [markdown]
# # A folder of scans: a table, and a closer look
#
# **Research software, not a medical device. Not for diagnosis or treatment decisions.**
#
# For whoever puts Tumorscope behind an archive. The scans here are synthetic: a program drew them, they show no patients. One of
# the files is no scan, as in every archive.

# %%
from pathlib import Path

from PIL import Image

from tumorscope.data.phantom import phantom_patient
from tumorscope.labels import LABELS

archive = Path("archive")
archive.mkdir()
for label in LABELS:
    for number in range(3):
        (one,) = phantom_patient(label, seed=3, number=number, slices=1, image_size=192)
        Image.fromarray(one.pixels).save(archive / f"{one.group}.png")
(archive / "letter.png").write_text("Dear colleague,")
len(list(archive.iterdir()))

# %% [markdown]
# ## All of them at once
#
# One command for a folder of any size; memory does not grow with it. A file that cannot be read becomes a record with an `error`,
# and the same command given again goes on where a killed one was. The suffix chooses the format: `.csv`, `.jsonl`, or `.parquet`
# with `pip install 'tumorscope[parquet]'`. `--model RUN/mobilenet_v2` takes a model of your own.

# %%
# !tumorscope predict archive -o findings.csv --heatmaps overlay

# %%
import pandas as pd

table = pd.read_csv("findings.csv")
table[["path", "recommended", "p_glioma", "p_meningioma", "p_notumor", "p_pituitary", "refused"]].round(3)

# %% [markdown]
# ## What needs a person first
#
# Files that could not be read, and scans that the model declines to answer for. A model refuses where it was calibrated, as those
# of your own runs are; the column `calibrated` says whether this one was.

# %%
for failure in table[table.error.notna()].error:
    print(failure)
refused = table[table.refused == "yes"]
print(f"{len(refused)} refused, model calibrated: {table.calibrated.dropna().unique().item()}")

# %% [markdown]
# ## What is recommended
#
# `recommended` is the label at the model's operating point. The names of these drawn scans tell what was drawn, so answers can be
# held against it. This is a look at twelve drawings and no evaluation: [own_model](own_model.ipynb) has one.

# %%
answered = table[table.error.isna() & (table.refused != "yes")]
drawn = answered.path.str.extract(r"phantom-([a-z]+)-", expand=False).rename("drawn")
pd.crosstab(drawn, answered.recommended)

# %% [markdown]
# ## The most suspicious
#
# Sorted by the probability of any tumour:

# %%
suspicious = answered.assign(p_tumour=1 - answered.p_notumor).sort_values("p_tumour", ascending=False)
suspicious[["path", "p_tumour", "recommended", "peak_row", "peak_column", "files"]].head(5).round(3)

# %% [markdown]
# Its overlay lies in `findings.csv-files`, as the column `files` says. Here it is with all that is said of it:

# %%
import tumorscope as ts

predictor = ts.load()
predictor.predict(suspicious.path.iloc[0])

# %% [markdown]
# ## The same inside a program of yours
#
# Findings come in the order of the files, while the next ones are decoded.

# %%
from tumorscope.streaming import answer_files

for answer in answer_files(predictor, sorted(map(str, archive.iterdir()))):
    for finding in answer.findings:
        if finding.recommended != "notumor" and finding.probabilities["notumor"] < 0.1:
            print(f"{finding.path}: {finding.recommended} {finding.probabilities[finding.recommended]:.2f}")
    if answer.error:
        print(answer.error)
