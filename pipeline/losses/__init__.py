"""Losses: one file each, found by its name (`proxy_anchor.py` is `proxy-anchor`).

A loss module defines

- `loss(parameters, batch, *, option=default, ...) -> Tensor`: the scalar loss of one `Batch`;
- optionally `parameters(num_classes, embedding_dim, generator, *, option=default, ...)`: a dict of
  the tensors that the loss itself learns (proxies), each in its own optimiser group;
- `SAMPLER` ("balanced" or "shuffle") and `BATCH_SIZE`: the batches it wants when nobody says;
- optionally `MEMORY = True`: it compares the batch with `batch.memory`;
- optionally `CONFIDENCES = True`: it reads `batch.confidences` in place of labels and weights.

The keyword-only arguments are the loss's options (`--set loss.margin=0.2`), each number with its
range as in `scale: Annotated[float, "above 0"]`; the docstring's first line is what
`dml list losses` prints. Every function is pure and of fixed shape, so it runs under
`torch.func.vmap`. A row of weight 0 counts as absent. Files that start with `_` are shared
mathematics, not losses.
"""
