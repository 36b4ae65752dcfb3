"""dbt's Jinja for segconn.yml and dbt's own files. An undefined name is an error, not an empty text."""

from __future__ import annotations

import os
import re
import sys
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import Any

from dbt_segconn.errors import ConfigurationError
from dbt_segconn.project.strict_model import near_name

Names = Mapping[str, Any]

SHOWN_CHARACTERS = 80
# Checked before * and **: no signal interrupts one operation of C, such as 9 ** 9 ** 9
MAX_PARTS, MAX_EXPONENT = 100_000, 1_000
# A typical text of segconn.yml needs a thousandth of both
CPU_SECONDS, MORE_BYTES = 2.0, 256_000_000
# Messages keep variable names and mask other literals, because they may be secrets
_QUOTED = re.compile(r"""'([^']*)'|"([^"]*)\"""")
_LITERAL = re.compile(r"""(?P<name>\b(?:env_var|var)\(\s*)?(?P<text>'[^']*'|"[^"]*")""")
# Only Linux has this file
_STATM = Path("/proc/self/statm")


class _UnsetNameError(Exception):
    """A variable is not set. `render` converts it to ConfigurationError, because the name may be a secret."""

    def __init__(self, name: str, problem: str) -> None:
        super().__init__(problem)
        self.name = str(name)


class Jinja:
    """Renders single texts. `load_names` returns rarely used names; it takes seconds."""

    def __init__(self, names: Names, load_names: Callable[[], Names] = dict) -> None:
        self._names = names
        self._load_names = load_names

    def render(self, text: str) -> Any:
        """Return a number, a boolean or a text. Raises ConfigurationError without values of variables.

        https://docs.getdbt.com/reference/dbt-jinja-functions
        """
        from jinja2 import TemplateError, UndefinedError

        try:
            return self._evaluate(text)
        except _UnsetNameError as error:
            reason = str(error) if error.name in text else "a computed name is not set"
        except ConfigurationError as error:
            reason = str(error).removesuffix(".")
        except UndefinedError as error:
            reason = str(error.message)
        except TemplateError as error:
            # Its message may quote a computed name, which may be a secret
            message = error.message or type(error).__name__
            reason = _QUOTED.sub(lambda one: one[0] if one[0][1:-1] in text else "'…'", message).removesuffix(".")
        except _TimeLimitExceeded:
            reason = f"it needs more than {CPU_SECONDS:.0f} seconds of CPU time"
        except MemoryError:
            reason = f"it needs more than {MORE_BYTES // 1_000_000} MB of memory"
        except Exception as error:  # noqa: BLE001  a template may raise anything
            reason = f"it raises {type(error).__name__}"  # its text may hold a value
        raise ConfigurationError(f"{_mask_literals(text)} cannot be rendered: {reason}.")

    def _evaluate(self, template: Any) -> Any:
        """Render a text or a parsed template."""
        from jinja2 import meta

        names = dict(self._names)
        environment = _environment(names, template if isinstance(template, str) else "")
        with _limited():
            tree = environment.parse(template) if isinstance(template, str) else template
            _check_statements(tree)
            undeclared = meta.find_undeclared_variables(tree)
        if isinstance(target := names.get("target"), TargetNames):
            target.preload(tree)
        if undeclared - set(names):
            names.update({**self._load_names(), **names})
        with _limited():
            value = environment.from_string(tree, globals=names).render(names)
            _check_defined(value)
        if isinstance(value, str) and len(value) > MAX_PARTS:
            raise ConfigurationError(f"the result has more than {MAX_PARTS:,} characters")
        return value

    def config_in(self, sql: str, keys: Collection[str]) -> dict[str, Any]:
        """Return these keyword arguments of config() in a model's SQL, such as `config(schema=target.name)`.

        A value is None if it cannot be evaluated here, for example if it uses a variable that the SQL sets.
        """
        from jinja2 import TemplateError, nodes

        if "config" not in sql:
            return {}
        environment = _environment({})
        try:
            calls = list(environment.parse(sql).find_all(nodes.Call))
        except TemplateError:  # a tag that only dbt's own parser supports
            return {}
        matching = [call for call in calls if isinstance(call.node, nodes.Name) and call.node.name == "config"]
        pairs = [(pair.key, pair.value) for call in matching for pair in call.kwargs if pair.key in keys]
        return {
            key: self._value(nodes.Template([nodes.Output([value])], lineno=1), environment) for key, value in pairs
        }

    def _value(self, template: Any, environment: Any) -> Any:
        with suppress(Exception):  # an expression may raise anything
            return self._evaluate(template.set_environment(environment))
        return None


def _check_statements(tree: Any) -> None:
    """Raise ConfigurationError for statements that may loop or read files."""
    from jinja2 import nodes

    refused = (nodes.For, nodes.Include, nodes.Import, nodes.FromImport, nodes.Extends, nodes.Macro, nodes.CallBlock)
    for node in tree.find_all(refused):
        raise ConfigurationError(
            f"{{% {type(node).__name__.lower()} %}} is not supported here. Use only expressions, {{% if %}} and "
            "{% set %}"
        )


def _multiply(left: Any, right: Any) -> Any:
    """Multiply, but raise ConfigurationError for a text or list that is too long."""
    for parts, times in ((left, right), (right, left)):
        if hasattr(parts, "__len__") and isinstance(times, int) and len(parts) * times > MAX_PARTS:
            raise ConfigurationError(f"the result of * has more than {MAX_PARTS:,} characters or items")
    return left * right


def _power(left: Any, right: Any) -> Any:
    if isinstance(right, (int, float)) and abs(right) > MAX_EXPONENT:
        raise ConfigurationError(f"the exponent of ** must be at most {MAX_EXPONENT}")
    return left**right


def _check_defined(value: Any) -> None:
    """Raise UndefinedError for an undefined value or part: jinja2 returns it if an expression is the whole text."""
    from jinja2 import Undefined

    if isinstance(value, Undefined):
        str(value)
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple, set)) else ()
    for part in parts:
        _check_defined(part)


def _environment(names: Names, text: str = "") -> Any:
    """Return dbt's Jinja environment, changed to raise for undefined names."""
    from dbt_common.clients.jinja import get_environment  # takes 0.3 s, too long for --help
    from jinja2 import StrictUndefined

    class Undefined(StrictUndefined):
        """Adds the nearest known name to the message."""

        @property
        def _undefined_message(self) -> str:
            if text and str(self._undefined_name) not in text:
                return "a computed name is not defined"
            return _describe_undefined(self._undefined_name, self._undefined_obj, names)

    environment = get_environment(native=True)  # as dbt renders its YAML files: "1" becomes a number
    environment.undefined = Undefined
    environment.intercepted_binops = frozenset({"*", "**"})
    environment.binop_table = {**environment.binop_table, "*": _multiply, "**": _power}
    return environment


def _describe_undefined(name: Any, owner: Any, names: Names) -> str:
    from jinja2.utils import missing

    if owner is missing:
        return f"{name!r} is not defined{_suggestion(str(name), names)}"
    keys = owner.keys() if isinstance(owner, Mapping) else ()
    what = "target" if isinstance(owner, TargetNames) else type(owner).__name__
    return f"{what} has no {name!r}{_suggestion(str(name), map(str, keys))}"


def _suggestion(name: str, known: Iterable[str]) -> str:
    near = near_name(name, known).strip()
    return f" ({near[0].lower()}{near[1:]})" if near else ""


def _mask_literals(text: str) -> str:
    masked = _LITERAL.sub(lambda found: found[0] if found["name"] else "'…'", " ".join(text.split()))
    return masked if len(masked) <= SHOWN_CHARACTERS else f"{masked[: SHOWN_CHARACTERS - 1]}…"


def env_var(name: str, default: str | None = None) -> str:
    """Return an environment variable or a default.

    https://docs.getdbt.com/reference/dbt-jinja-functions/env_var
    """
    if not isinstance(name, str):
        return str(name)  # an undefined name: its text raises
    value = os.environ.get(name, default)
    if value is None:
        raise _UnsetNameError(
            name, f"the environment variable {name} is not set. Set it, or add a default: env_var('{name}', '...')"
        )
    return value


def var_of(variables: Names) -> Callable[..., Any]:
    """Return dbt's var() over these variables: https://docs.getdbt.com/reference/dbt-jinja-functions/var ."""

    def var(name: str, default: Any = None) -> Any:
        if name not in variables and default is None:
            raise _UnsetNameError(
                name, f"the variable {name} is not set. Set it with --vars, or under vars: in dbt_project.yml"
            )
        return variables.get(name, default)

    return var


class TargetNames(Mapping[str, Any]):
    """dbt's `target` in Jinja. Its names are free; all other keys load the profile with dbt's classes."""

    def __init__(self, names: Callable[[], Names], load: Callable[[], Names]) -> None:
        self._names = names
        self._load = load

    def preload(self, tree: Any) -> None:
        """Load the profile if a template reads a key of it: the import of dbt would exceed the template's limits."""
        from jinja2 import nodes

        keys = {
            one.attr if isinstance(one, nodes.Getattr) else getattr(one.arg, "value", None)
            for one in tree.find_all((nodes.Getattr, nodes.Getitem))
            if getattr(one.node, "name", None) == "target"
        }
        with suppress(ConfigurationError):  # raised again if the template needs the key
            if keys - set(self._names()):
                _ = self._all

    def __getitem__(self, key: str) -> Any:
        names = self._names()
        return names[key] if key in names else self._all[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._all)

    def __len__(self) -> int:
        return len(self._all)

    @cached_property
    def _all(self) -> Names:
        return self._load()


class _TimeLimitExceeded(Exception):  # noqa: N818  an outcome, not an error
    """Raised when a template exceeds its CPU time limit."""


@contextmanager
def _limited() -> Iterator[None]:
    """Raise _TimeLimitExceeded after CPU_SECONDS of CPU time, and MemoryError after MORE_BYTES of additional memory.

    CPU time is limited in the main thread only, because Python runs signal handlers there. Memory is limited on Linux
    only.
    """
    with _limited_memory(), _limited_cpu_time():
        yield


@contextmanager
def _limited_memory() -> Iterator[None]:
    if not _STATM.exists():
        yield
        return
    import resource

    before = resource.getrlimit(resource.RLIMIT_AS)
    most = int(_STATM.read_text().split()[0]) * resource.getpagesize() + MORE_BYTES
    if before[0] != resource.RLIM_INFINITY and before[0] <= most:  # the process has a lower limit already
        yield
        return
    resource.setrlimit(resource.RLIMIT_AS, (most, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


@contextmanager
def _limited_cpu_time() -> Iterator[None]:
    if sys.platform == "win32" or threading.current_thread() is not threading.main_thread():
        yield
        return
    import signal

    def expire(*_: Any) -> None:
        raise _TimeLimitExceeded

    before = signal.signal(signal.SIGVTALRM, expire)
    signal.setitimer(signal.ITIMER_VIRTUAL, CPU_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)
