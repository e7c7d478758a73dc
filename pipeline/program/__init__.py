"""The training program: what a step sees, and the loop that trains many runs at once."""
