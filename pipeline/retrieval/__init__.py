"""Search in the embeddings of a store: exact or by an index, with queries from anywhere."""
