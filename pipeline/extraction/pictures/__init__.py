"""One image file: decoded, hashed, made into pixels and augmented views."""
