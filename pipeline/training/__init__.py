"""From a store to what runs have learned: which rows take part, validation, training."""
