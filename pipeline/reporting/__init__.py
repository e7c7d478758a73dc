"""The parts of a report: one file a section, each from data to figures."""
