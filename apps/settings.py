"""Settings of a command: command line over file over preset over default.

A settings file is YAML and holds only what differs from the defaults; its keys are the words of the command
line, with underscores: `--start-sigma 0.5` is `start_sigma: 0.5`.
"""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from core.errors import ConfigError, unknown

__all__ = ["merge", "read_settings", "to_yaml"]


def merge(
    known: Collection[str],
    *,
    given: Mapping[str, Any],
    file: Path | None = None,
    preset: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """What differs from the defaults, by precedence.

    Args:
        known: names of the settings.
        given: what stands on the command line; None where nothing does.
        file: a settings file.
        preset: values of the preset.

    Raises:
        ConfigError: see `read_settings`.
    """
    named = {key: value for key, value in given.items() if value is not None}
    return {**(preset or {}), **(read_settings(file, known) if file else {}), **named}


def read_settings(file: Path, known: Collection[str]) -> dict[str, Any]:
    """Read a settings file.

    Raises:
        ConfigError: no such file, not YAML, not a mapping, or a key that is no setting.
    """
    import yaml

    try:
        content = yaml.safe_load(file.read_text("utf-8"))
    except yaml.YAMLError as err:
        mark = getattr(err, "problem_mark", None)
        where = f" in line {mark.line + 1}" if mark else ""
        raise ConfigError(
            f"{file} is not YAML{where}.", hint="Write one 'name: value' per line, such as 'gamma: 0.3'."
        ) from err
    except (OSError, UnicodeDecodeError) as err:
        reason = getattr(err, "strerror", None) or "it is not text"
        raise ConfigError(f"cannot read the settings file {file}: {reason}.") from err
    if content is None:
        return {}
    if not isinstance(content, Mapping):
        raise ConfigError(
            f"{file} holds a {type(content).__name__}, expected 'name: value' lines.",
            hint=f"Settings are: {', '.join(known)}.",
        )
    for key in content:
        if key not in known:
            raise unknown(f"setting in {file.name}:", str(key), known)
    return dict(content)


def to_yaml(settings: Mapping[str, Any]) -> str:
    """Settings as YAML text that `read_settings` reads back: one per line, lists in brackets."""
    import yaml

    class Lines(yaml.SafeDumper):
        """YAML with lists on one line."""

    Lines.add_representer(
        list, lambda dumper, value: dumper.represent_sequence("tag:yaml.org,2002:seq", value, flow_style=True)
    )
    return yaml.dump(dict(settings), Dumper=Lines, sort_keys=False, default_flow_style=False)
