"""What a user typed, for the record of a result."""

from __future__ import annotations

import shlex

import typer

_WITHOUT_EFFECT = "as_json"


def typed(context: typer.Context) -> str:
    """Write the command of a context again, with the options that were given and no others."""
    words = ["dml", str(context.info_name)]
    for parameter in context.command.params:
        name = str(parameter.name)
        source = context.get_parameter_source(name)
        if source is None or source.name != "COMMANDLINE" or name == _WITHOUT_EFFECT:
            continue
        given = context.params[name]
        option = [parameter.opts[0]] if parameter.param_type_name == "option" else []
        if isinstance(given, bool):
            words += option if given else [f"--no-{name.replace('_', '-')}"]
            continue
        for value in given if isinstance(given, list | tuple) else [given]:
            words += [*option, str(value)]
    return shlex.join(words)
