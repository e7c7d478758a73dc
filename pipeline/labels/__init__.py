"""The labels of the training rows: as given, made wrong on purpose, and how wrong they are."""
