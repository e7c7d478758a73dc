"""Losses: one file each, found by its name (`proxy_anchor.py` is `proxy-anchor`).

A loss module defines

- `loss(parameters, batch, *, option=default, ...) -> Tensor`: the scalar loss of one `Batch`;
- optionally `parameters(num_classes, embedding_dim, generator, *, option=default, ...)`: a dict of
  the tensors that the loss itself learns (proxies), each in its own optimiser group;
- `SAMPLER` ("balanced" or "shuffle") and `BATCH_SIZE`: the batches it wants when nobody says;
- optionally `MEMORY = True`: it compares the batch with `batch.memory`;
- optionally `CONFIDENCES = True`: it reads `batch.confidences` in place of labels and weights;
- optionally `logits(parameters, embeddings, *, ...) -> (B, C)`: class scores, of a classifier;
- optionally `survey(rows, labels, weights, num_classes, generator, *, ...) -> dict of tensors`: a
  look at all (N, *) rows of unit norm between steps, which arrives in every `batch.survey`; with
  `SURVEYS = "start"` once, at the frozen features, with `SURVEYS = "epochs"` also at the start of
  every later epoch, at the head's embeddings; declared as `rows: Rows` it can do with features
  that stay on the disk, as `rows: Tensor` a run on such features is refused;
- optionally `sample(labels, batch_size, generator, survey, *, ...) -> (steps, B)`: its own batches
  of row numbers (-1 = absent place), with `SAMPLER = "own"`;
- optionally `BATCHED = False`: it cannot run under `torch.func.vmap`, so runs take turns;
- optionally `facts(parameters, batch, *, ...)`: figures for the record, as () tensors; they are
  averaged over tiles of all rows, before and after training, and it may refuse to train.

The keyword-only arguments are the loss's options (`--set loss.margin=0.2`), each number with its
range as in `scale: Annotated[float, "above 0"]`; the docstring's first line is what
`dml list losses` prints. `loss` is pure and of fixed shape, so it runs under `torch.func.vmap`, and
its cosines pass through `batch.tap`, where `dml probe` reads their gradient. A row of weight 0
counts as absent. Files that start with `_` are shared mathematics, not losses.
"""
