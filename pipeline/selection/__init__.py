"""Selections: which rows count, and how much. One file each, found by its name.

A selection module defines pure functions for one run; the training program stacks runs.

- `start(features, labels, num_classes, generator, *, option=default, ...) -> State`: before
  training, from the frozen features alone; declared as `features: Rows` it can do with features
  that stay on the disk, as `features: Tensor` a run on such features is refused;
- optionally `refresh(state, embeddings, labels, num_classes, progress, *, ...) -> State`: at the
  start of every epoch, with all training rows embedded by the head; `progress` runs from 0 to 1;
- `select(state, batch, *, ...) -> (Batch, State)`: in every step; sets the batch's weights and,
  where the selection knows them, its confidences. Fixed shapes: it runs under `torch.func.vmap`.

- optionally `turn(state, epoch, *, ...) -> State`: at the start of every epoch, from 0;
- with `HEADS = 2` a run trains two heads on the same batches, of which the first is the result, and
  `exchange(state, batch, logits, *, ...) -> ((2, B) weights, State)` takes the place of `select`:
  from the class scores (2, B, C) of both heads, the weights that each learns with.

`BANK = "queue"` asks for the published queue memory instead of the full one. The keyword-only
arguments are the options (`--set select.noise_rate=0.3`). Labels here are the given ones; no
function is ever shown true labels. Files that start with `_` are shared parts, not selections.
"""
