"""Features from elsewhere: what their columns mean, and where further labels go."""
