"""Everything that makes a feature store or uses one: extraction, training, evaluation."""
