"""Label noise: models that make given labels wrong on purpose, one file each.

A noise module defines `corrupt(subject, generator, *, option=..., ...) -> Corrupted`, see
`_subject`. `pipeline.labels.corruption` reads a spec such as `symmetric:0.5` and applies it; the
first option without a default is the one that stands behind the colon. True labels stop here: what
follows sees only the corrupted ones.
"""
