"""What a user can choose, by name: losses, selections, their options, recipes, settings."""
