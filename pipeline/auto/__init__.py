"""`--loss auto`: which closed form, transform and selection fit a store, by validation."""
