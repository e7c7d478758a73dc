"""Results on disk: a run's folder, where it was made, and which was the latest."""
