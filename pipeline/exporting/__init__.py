"""A run as a file for other programs: one graph, written in one of three formats, with its card."""
