# ruff: noqa: T201
"""dml from Python, cell by cell; an editor that knows `# %%` shows it as a notebook.

It expects a folder `photos/` with one folder of images for each class, and writes beside it.
"""

# %% [markdown]
# # From photos to a model
# Features are made once, with a frozen backbone; goes on where it was stopped.

# %%
from pathlib import Path

import dml

store = dml.extract("photos", "photos.zarr", backbone="efficientnet_lite0")
print(f"{store.num_rows} images, {store.num_features} features each")

# %% [markdown]
# ## Train, on labels as they are and on labels of which a fifth is wrong

# %%
runs = {
    noise: dml.train(store, "prism", noise=noise, dim=64, epochs=10, path=f"runs/{noise or 'none'}")
    for noise in (None, "symmetric:0.2")
}
for noise, run in runs.items():
    found = dml.evaluate(run, recall=(1, 4)).rows
    before, after = found["untrained"].recall[1], found[run.path.name].recall[1]
    print(f"noise {noise}: recall@1 {before:.3f} untrained, {after:.3f} trained")

# %% [markdown]
# ## Which labels are probably wrong?

# %%
findings = dml.audit(store, noise="symmetric:0.2")
print(f"estimated noise rate {findings.summary['estimated_noise_rate']:.2f}")
for row in findings.table.slice(0, 5).to_pylist():
    print(f"{row['p_wrong']:.2f}  {row['id']}: {row['given_label']}, {row['suggested_label']}?")

# %% [markdown]
# ## Embed and search

# %%
images = sorted(Path("photos").rglob("*.*"))[:4]
embeddings = dml.embed(runs[None], images)  # (4, 64), unit norm
print((embeddings @ embeddings.T).round(2))

for answer in dml.search(runs[None], images, k=3).answers:
    print(answer.query.name, "->", [(hit.id, round(hit.cosine, 3)) for hit in answer.hits])

# %% [markdown]
# ## A file for other programs
# With `format="onnx"` (`pip install 'dml[onnx]'`) it runs wherever onnxruntime does.

# %%
exported = dml.export(runs[None], "model", format="torchscript", with_backbone=True)
print(exported.card["check"])
