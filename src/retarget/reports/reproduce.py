"""How to do a run again: the command line and the configuration."""

import shlex
from pathlib import Path

import yaml

from retarget.core.config import DataConfig, FitConfig
from retarget.core.text import printable

_FLAGS = {
    "columns": "--column",
    "sources": "--source",
    "layers": "--layer",
    "methods": "--method",
    "baselines": "--baseline",
    "from_layer": "--from",
}

# The data stand first; overwriting an earlier run is no part of doing this one again.
_NOT_ASKED = {"data", "force"}


def command(config: FitConfig) -> str:
    """Return the command line of a fit, one option a line: only what differs from the defaults.

    Methods with settings of their own have no options: then it names the run's `config.yaml`.
    """
    if all(isinstance(method, str) for method in config.methods):
        options = _differing(config, FitConfig)
    else:
        options = [["--config", str(Path(config.out or "") / "config.yaml")]]
    lines = [["retarget", "fit", config.data], *options]
    return " \\\n  ".join(
        " ".join(shlex.quote(printable(word, 1000)) for word in line) for line in lines
    )


def reading(config: DataConfig) -> list[str]:
    """Return the words of a fit on the same data, read in the same way, else by the defaults."""
    options = _differing(config, DataConfig)
    return ["retarget", "fit", config.data, *(word for line in options for word in line)]


def _differing(config: DataConfig, among: type[DataConfig]) -> list[list[str]]:
    """Return the options of the fields of `among` that are not as by default."""
    lines: list[list[str]] = []
    for name, field in among.model_fields.items():
        value = getattr(config, name)
        if name in _NOT_ASKED or value == field.get_default(call_default_factory=True):
            continue
        flag = _FLAGS.get(name, "--" + name.replace("_", "-"))
        lines += _options(flag, ("none",) if name == "baselines" and not value else value)
    return lines


def _options(flag: str, value: object) -> list[list[str]]:
    if value is True:
        return [[flag]]
    if value is False:
        return [[flag.replace("--", "--no-", 1)]]
    if isinstance(value, dict):
        return [[flag, f"{key}={to}"] for key, to in value.items()]
    if isinstance(value, tuple):
        return [[flag, str(one)] for one in value]
    return [[flag, str(value)]]


def as_yaml(config: FitConfig) -> str:
    """Return the whole configuration as YAML. Where it holds characters that could mislead a
    reader or a terminal, all that is not ASCII is escaped."""
    readable = _dump(config, allow_unicode=True)
    if all(line == printable(line, len(line)) for line in readable.split("\n")):
        return readable
    return _dump(config, allow_unicode=False)


def _dump(config: FitConfig, allow_unicode: bool) -> str:
    return yaml.safe_dump(
        config.model_dump(mode="json"), sort_keys=False, width=10_000, allow_unicode=allow_unicode
    )
