"""Feature transforms: what is done to features before any head, fitted on the training rows."""
