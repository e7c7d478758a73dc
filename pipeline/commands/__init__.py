"""The commands, one file each: arguments in, one call, the result as text.

Results go to standard output, progress and notes to standard error; `--json` prints one JSON value
and nothing else. Heavy libraries are imported inside the functions, so that help and errors come at
once. `cli.py` gives them their names.
"""
