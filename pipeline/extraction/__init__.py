"""From image files to features: reading, preparing and embedding images."""
