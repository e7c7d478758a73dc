"""Extraction on the machines of a Ray cluster: the connection, the crew of workers, a worker."""
