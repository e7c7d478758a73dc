"""A page on this machine for one person who decides about the suspects of an audit."""
