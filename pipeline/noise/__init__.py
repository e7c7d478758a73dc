"""Label noise: models that make given labels wrong on purpose, one file each.

A noise module defines `corrupt(labels, num_classes, generator, *, option=..., ...) -> labels`: (N,)
int64 numpy arrays in and out. `pipeline.corruption` reads a spec such as `symmetric:0.5` and
applies it. True labels stop here: what follows sees only the corrupted ones.
"""
