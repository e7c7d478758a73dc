"""Published data sets, read from their official files: one file each, found by its name.

A module defines `read(root, *, option=..., ...) -> Listing`: it lists the images with their splits
and labels and says which counts are known. Labels are the official class numbers or ids, as
published label lists write them; names of classes go to the extra column `class_name`. The ids do
not depend on where the data lie. `pipeline.datasets.reading` checks a listing and makes the
manifest. Files that begin with an underscore are shared by several sets.
"""
