"""What a config could be misused for by whoever wrote it, and what the user has agreed to.

A config is code: it says which key goes to which host, and which files become prompts. What it
says in the user's own words (flags, the environment, Python) is agreed to; what a file says is
asked about once where it could carry a key or a file away. Nothing is sent before.
"""

from __future__ import annotations

import json
import os
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from llm_batch.chain.config import Config
from llm_batch.chain.functions import file_of, parts_of
from llm_batch.chain.options import Model
from llm_batch.chain.params import FROM_ENVIRONMENT
from llm_batch.errors import ConfigError
from llm_batch.record.files import files_of, leads_out
from llm_batch.sending.providers import Route, route
from llm_batch.sending.providers.endpoints import (
    ENDPOINTS,
    OWN_SERVERS,
    SIGNED_IN,
    first_words_of,
    is_key_of_models,
    is_vendors_own,
    vendor_of_key,
)

_LIST = "trusted.toml"
_NAMES_KEY = re.compile(r"(?:^|_)(?:API_?KEY|KEY|TOKEN|SECRET|PASSWORD|CREDENTIALS?)(?:_|$)")


@dataclass(frozen=True, slots=True)
class Concern:
    """One thing that a config does and a stranger's should not.

    ``what`` goes where is as the trusted list has it: ``OPENAI_API_KEY to https://host``.
    """

    what: str
    why: str = ""
    does: str = "sends"

    @property
    def sentence(self) -> str:
        return f"{self.does} {self}"

    def __str__(self) -> str:
        return f"{self.what} ({self.why})" if self.why else self.what


def concerns(config: Config, jobs: bool = False) -> list[Concern]:
    """What must be agreed to before anything is sent; of a config that is no file, links alone.

    With ``jobs`` the models of batch jobs too, which may be in no step any more.

    Raises:
        ConfigError: A model cannot be served as configured.
        OutputError: A file of the run is none, or a link to somebody else's.
    """
    links = list(_links(config))
    if config.source is None:
        return links
    headers: dict[str, list[str]] = {}
    for step in config.asking:
        headers.setdefault(step.model, []).extend(variables_in_headers(step.params))
    if jobs or config.engine.by_batch:
        headers = {name: headers.get(name, []) for name in (*headers, *config.models)}
    found: list[Concern] = links
    strange: list[str] = []
    for model, variables in headers.items():
        settings = config.model(model)
        for place in settings.places:
            way = route(model, place)
            if way.is_inside:
                continue
            host = _Host(config, model, place, way)
            found.extend(host.concerns(variables))
            if host.is_strange:
                strange.append(host.origin)
    found.extend(_cluster(config))
    found.extend(_code(config))
    found.extend(_files(config, strange))
    return list(dict.fromkeys(found))


class _Host:
    def __init__(self, config: Config, model: str, place: Model, way: Route) -> None:
        self._model, self._place, self._way = model, place, way
        self._url = url = way.base_url
        parts = urlsplit(url)
        self.origin = f"{parts.scheme}://{parts.netloc}" if url else f"{way.vendor}'s own host"
        self._here = way.is_here
        typed = ("models", model, "api_base") in config.typed
        self._by_file = place.api_base is not None and not typed
        self.is_strange = self._by_file and not self._here and not is_vendors_own(way.vendor, url)

    def concerns(self, in_headers: Iterable[str]) -> Iterator[Concern]:
        named = {self._place.api_key_env, *in_headers} - {None}
        keys = keys_of(self._model, self._place)
        vendor = self._way.vendor.partition("/")[0]
        if self.is_strange and not keys and vendor in SIGNED_IN:
            what = f"this machine's sign-in to {vendor} to {self.origin}"
            yield Concern(what, f"for {self._model}; not a host of that vendor")
        for variable in dict.fromkeys([*keys, *in_headers]):
            what = f"{variable} to {self.origin}"
            if variable in named and not is_key_of_models(variable):
                yield Concern(what, "not a name that keys of LLM providers have")
            elif not self._may_have(variable, variable in named):
                yield Concern(what, f"for {self._model}; not a host of the key's vendor")

    def _may_have(self, variable: str, named: bool) -> bool:
        owner = vendor_of_key(variable)
        if self._here or is_vendors_own(owner or self._way.vendor, self._url):
            return True
        if self._by_file:
            return False
        # The user said where, or the vendor is there; a file may still name another's key.
        endpoint = ENDPOINTS.get(self._way.vendor) or OWN_SERVERS.get(self._way.vendor)
        own = endpoint is not None and variable in endpoint.key_envs
        return not named or own or owner in ("", self._way.vendor)


def _cluster(config: Config) -> Iterator[Concern]:
    """Keys travel to all machines of a cluster that the file names."""
    if (place := config.engine.keys_go_to(config)) is not None:
        for variable in variables_of(config):
            yield Concern(f"{variable} to {place}")


def _code(config: Config) -> Iterator[Concern]:
    """Rules in Python: the module is executed, with all that the user may do."""
    for step in config.steps:
        if step.python is not None:
            path, (_, name) = file_of(config.folder, step.python), parts_of(step.python)
            yield Concern(f"{name} in {os.path.realpath(path)}", "Python code", "runs")


def _files(config: Config, strange: Sequence[str]) -> Iterator[Concern]:
    """Files outside of the config's folder that go into prompts."""
    source = config.source
    assert source is not None  # or nothing would be asked
    folder = Path(os.path.realpath(source)).parent

    def is_outside(path: Path) -> bool:
        return not Path(os.path.realpath(path)).is_relative_to(folder)

    for step in config.asking:
        if step.prompt_file is not None and is_outside(path := config.beside(step.prompt_file)):
            yield Concern(
                f"{os.path.realpath(path)} as a prompt", "a file outside of the config's folder"
            )
    if not (hosts := ", ".join(dict.fromkeys(strange))):
        return
    data = config.data_path()
    by_file = config.data.path is not None and ("data", "path") not in config.typed
    if isinstance(data, Path) and by_file and is_outside(data):
        yield Concern(f"{os.path.realpath(data)} to {hosts}", "data outside of the config's folder")
    elif isinstance(data, str) and data != "-" and by_file:
        # It is read with the keys of whoever runs this.
        yield Concern(f"{data} to {hosts}", "data that your keys may open")
    if by_file and any("{" in each for step in config.asking for each in step.images or ()):
        # Where each lies is known when it is sent.
        yield Concern(
            f"pictures and PDFs that {config.data.path} names to {hosts}",
            "from any folder of this machine",
        )
    for name in dict.fromkeys(step.model for step in config.asking):
        script = config.model(name).script
        if script is not None and is_outside(Path(script)):
            yield Concern(f"{os.path.realpath(script)} to {hosts}", f"the script of {name}")


def _links(config: Config) -> Iterator[Concern]:
    """Links in the place of a run's own files that lead out of their folder."""
    for path in files_of(config.run.output):
        if (target := leads_out(path)) is not None:
            yield Concern(
                f"{os.path.abspath(path)} to {target}",
                "a link out of its folder: what it leads to is written over",
                "writes",
            )
        elif (target := _beyond(config, path)) is not None:
            yield Concern(
                f"{os.path.abspath(path)} to {target}",
                "its folder is a link out of the config's folder",
                "writes",
            )


def _beyond(config: Config, path: Path) -> Path | None:
    """Where a file lies that is below the config's folder by name alone."""
    folder = Path(os.path.abspath(config.source or ".")).parent
    if config.source is None or not Path(os.path.abspath(path)).is_relative_to(folder):
        return None
    target = Path(os.path.realpath(path))
    return None if target.is_relative_to(os.path.realpath(folder)) else target


def trusted_list() -> Path | None:
    """The user's own list of what was agreed to; ``None`` where there is no home for it."""
    home = os.environ.get("APPDATA" if os.name == "nt" else "XDG_CONFIG_HOME", "")
    try:
        base = Path(home) if Path(home).is_absolute() else Path.home() / ".config"
    except RuntimeError:
        return None
    return base / "llmb" / _LIST


def not_agreed(config: Config, jobs: bool = False) -> list[Concern]:
    """The concerns that the user's list does not answer."""
    found = concerns(config, jobs)
    if not found:
        return []
    agreed = _agreed(trusted_list(), _folder(config))
    return [concern for concern in found if concern.what not in agreed]


def require_trust(config: Config, jobs: bool = False) -> None:
    """Raise `ConfigError`, which says what to type, where nobody has agreed to a concern."""
    if found := not_agreed(config, jobs):
        raise refusal(config, found, "call it with trusted=True")


def refusal(config: Config, found: Sequence[Concern], agreeing: str) -> ConfigError:
    """What to say when nobody agrees, and how to."""
    path = trusted_list()
    lines = f", or put this into {path}:\n{entries(config, found)}" if path else ""
    return ConfigError(
        f"nothing was sent: {author(config)} {'; '.join(each.sentence for each in found)}, and "
        "nobody has agreed to that",
        f"if that is what you want: {agreeing}{lines}",
    )


def entries(config: Config, found: Sequence[Concern]) -> str:
    return "".join(
        f"[[agreed]]\nfolder = {_text(_folder(config))}\nwhat = {_text(concern.what)}\n"
        for concern in found
    )


def remember(config: Config, found: Sequence[Concern]) -> Path | None:
    path = trusted_list()
    if path is None:
        return None
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with open(
            os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600), "a", encoding="utf-8"
        ) as file:
            file.write(entries(config, found))
    except OSError:
        return None
    return path


def author(config: Config) -> str:
    return "this folder" if config.source is None else str(config.source)


def _folder(config: Config) -> str:
    return str(Path(os.path.realpath(config.source or ".")).parent)


def _text(value: str) -> str:
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _agreed(path: Path | None, folder: str) -> set[str]:
    """What the list agrees to in a folder; an entry without a folder holds in all."""
    if path is None:
        return set()
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return set()
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"cannot read {path}: {error}", "correct it, or delete it and be asked again"
        ) from error
    listed = raw.get("agreed", [])
    return {
        str(entry.get("what"))
        for entry in (listed if isinstance(listed, list) else ())
        if isinstance(entry, dict) and entry.get("folder", folder) == folder
    }


# The variables that serving reads


def variables_of(config: Config) -> dict[str, str]:
    """What serving a config reads of the environment, and goes to other machines with the run."""
    found: dict[str, str] = {}
    for step in config.asking:
        settings = config.model(step.model)
        names = [name for place in settings.places for name in _read(step.model, place)]
        names += variables_in_headers(step.params)
        found |= {name: os.environ[name] for name in names if name in os.environ}
    return found


def keys_of(model: str, settings: Model) -> list[str]:
    return [
        name
        for name in dict.fromkeys(_read(model, settings))
        if os.environ.get(name, "").strip()
        and (name == settings.api_key_env or _NAMES_KEY.search(name))
    ]


def variables_in_headers(params: Mapping[str, Any]) -> list[str]:
    values = (params.get("extra_headers") or {}).values()
    return [
        value.removeprefix(FROM_ENVIRONMENT)
        for value in values
        if value.startswith(FROM_ENVIRONMENT)
    ]


def _read(model: str, settings: Model) -> Iterator[str]:
    way = route(model, settings)
    if way.is_inside:
        return
    if settings.api_key_env is not None:
        yield settings.api_key_env
    if (endpoint := ENDPOINTS.get(way.vendor) or OWN_SERVERS.get(way.vendor)) is not None:
        if settings.api_key_env is None:
            yield from endpoint.key_envs
        yield from endpoint.base_envs
    if way.provider == "litellm":
        begin = tuple(f"{word}_" for word in first_words_of(way.vendor.partition("/")[0]))
        yield from (name for name in os.environ if name.startswith(begin))
