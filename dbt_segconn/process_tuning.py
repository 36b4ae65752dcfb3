"""Process-wide changes that save time or memory, each with its effect; and the measured time of steps."""

from __future__ import annotations

import gc
import os
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache, partial
from importlib import import_module
from types import ModuleType
from typing import Any, NamedTuple


@contextmanager
def without_gc() -> Iterator[None]:
    """Disable garbage collection while long-lived objects are created, such as a manifest or dbt's modules.

    Afterwards, freeze all objects: garbage collection no longer visits them.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if was_enabled:  # the caller, or an outer block, may have disabled it
            gc.enable()


@contextmanager
def with_rare_gc() -> Iterator[None]:
    """Collect garbage rarely while calls are built, which hold no cycles. Afterwards, restore the thresholds."""
    before = gc.get_threshold()
    gc.set_threshold(50_000, 20, 100)
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()


def collect_after_run() -> None:
    """Free the cycles in dbt's adapter and macros: the process of a Python caller may make many runs."""
    gc.unfreeze()  # if the run ended before the warehouse was opened, the caller's objects are still frozen
    gc.collect()


class FastExit:
    """An exit of the process that does not free its objects one by one, as in mypy.

    Register `leave` with atexit before all other functions: atexit calls the first one last. All threads have ended by
    then. Without an exit code, the process ends in Python's own way.
    """

    code: int | None = None

    def leave(self) -> None:
        """Flush the standard streams and end the process with the exit code."""
        if self.code is None:
            return
        try:
            sys.stdout.flush()
            sys.stderr.flush()
        except OSError:
            return  # Python reports it
        except ValueError:
            pass  # closed: click's pager of version 8.4.0 closes the standard output after a page
        os._exit(self.code)


class _Uncompiled:
    """A method of a class of dbt, which mashumaro compiles when it is first looked up."""

    def __init__(self, cls: type, name: str, compile_methods: Callable[[], None]) -> None:
        self._cls = cls
        self._name = name
        self._compile_methods = compile_methods

    def __get__(self, instance: object, owner: type | None = None) -> Any:
        self._compile_methods()  # replaces this attribute
        return vars(self._cls)[self._name].__get__(instance, owner)


def _compiled_at_use(compile_methods: Callable[..., None]) -> Callable[..., None]:
    """Return a function that compiles the methods of a class when one of them is looked up."""
    names: dict[str, Collection[str]] = {}  # of the methods, by format: those that the first class gets

    def later(cls: type, format_name: str = "dict", **options: Any) -> None:
        compile_now = partial(compile_methods, cls, format_name=format_name, **options)
        if format_name not in names:
            before = dict(vars(cls))
            compile_now()
            names[format_name] = [name for name, method in vars(cls).items() if before.get(name) is not method]
            return
        for name in names[format_name]:
            setattr(cls, name, _Uncompiled(cls, name, compile_now))

    return later


@cache  # once in a process: a second call would wrap the functions again
def compile_dbt_lazily() -> None:
    """Compile the (de)serialisers of dbt's classes at their first use: 13% of the CPU time of a short command.

    By default, mashumaro compiles those of all classes when dbt is imported. Its own lazy compilation, which older
    versions of dbt-common do not ask for, still compiles four functions for each of 300 classes.
    """
    from mashumaro.config import BaseConfig
    from mashumaro.mixins import dict as mixin

    BaseConfig.lazy_compilation = True
    for name in ("compile_mixin_packer", "compile_mixin_unpacker"):
        setattr(mixin, name, _compiled_at_use(getattr(mixin, name)))


class _Unloaded(ModuleType):
    """A module that is imported when one of its `functions` is called, or for any other attribute."""

    def __init__(self, name: str, functions: Iterable[str]) -> None:
        super().__init__(name)
        for function in functions:
            setattr(self, function, partial(self._call, function))

    def _call(self, function: str, *arguments: Any, **named: Any) -> Any:
        return getattr(self._load(), function)(*arguments, **named)

    def __getattr__(self, name: str) -> Any:
        if name == "__path__" and self.__name__ != "networkx":
            raise AttributeError(name)  # not a package. `from … import` asks each module
        return getattr(self._load(), name)

    def _load(self) -> ModuleType:
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]
        return import_module(self.__name__)


# What dbt's modules take from modules that a sync does not need, when they are imported
_UNNEEDED = {"dbt.parser.manifest": ["parse_manifest"], "networkx": ["DiGraph"]}


@cache
def import_dbt() -> None:
    """Import dbt without its parser and without networkx, both imported at first use: 9% of the CPU time.

    Only the modules of dbt get the stand-ins. A later import of these modules gets the modules themselves.
    """
    stand_ins = {name: _Unloaded(name, used) for name, used in _UNNEEDED.items() if name not in sys.modules}
    sys.modules.update(stand_ins)
    try:
        import dbt.cli.flags  # noqa: F401
    finally:
        for name, module in stand_ins.items():
            if sys.modules.get(name) is module:
                del sys.modules[name]


@contextmanager
def without_validation() -> Iterator[None]:
    """Skip dbt's validation of dbt_project.yml and profiles.yml: 8% of the CPU time of a short command.

    Building their JSON Schemas takes it. dbt has validated both files when it wrote the manifest. If dbt does not
    start, start it again with validation, which explains the fault.
    """
    from dbt_common.dataclass_schema import dbtClassMixin

    original = dbtClassMixin.__dict__["validate"]
    dbtClassMixin.validate = classmethod(lambda *_: None)
    try:
        yield
    finally:
        dbtClassMixin.validate = original


def silence_dbt() -> None:
    """Silence dbt's events; do not build or format debug events while nothing listens.

    dbt builds three events per statement, which takes 1 ms: a quarter of the CPU time of a small sync.
    """
    # dbt takes seconds to import
    from dbt_common.events.base_types import DebugLevel, EventLevel
    from dbt_common.events.event_manager import EventManager
    from dbt_common.events.event_manager_client import ctx_set_event_manager, get_event_manager

    class SilentManager(EventManager):  # type: ignore[misc]
        def fire_event(self, e: Any, *arguments: Any, **named: Any) -> None:
            if self.loggers or self.callbacks or e.level_tag() != EventLevel.DEBUG:
                super().fire_event(e, *arguments, **named)

    def build(self: Any, *arguments: Any, **named: Any) -> None:
        manager = get_event_manager()
        if not isinstance(manager, SilentManager) or manager.loggers or manager.callbacks:
            super(DebugLevel, self).__init__(*arguments, **named)

    DebugLevel.__init__ = build
    ctx_set_event_manager(SilentManager())


@cache  # once in a process: each run would wrap the function again
def share_empty_tables() -> None:
    """Return the same empty table for all statements without rows. dbt builds one for each, which takes 0.8 ms."""
    from dbt_common.clients import agate_helper

    agate_helper.empty_table = cache(agate_helper.empty_table)


class Spent(NamedTuple):
    """Seconds and CPU seconds of one step, summed over its threads. The sum may exceed the wall clock."""

    seconds: float = 0.0
    cpu_seconds: float = 0.0


class Timings:
    """Sums of the measured time of each step; thread-safe. They exclude the CPU of the warehouse's own threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._spent: dict[str, Spent] = {}

    @contextmanager
    def measure(self, step: str) -> Iterator[None]:
        """Add the time of the block to a step."""
        began, cpu = time.perf_counter(), time.thread_time()
        try:
            yield
        finally:
            self.add({step: Spent(time.perf_counter() - began, time.thread_time() - cpu)})

    def add(self, spent: Mapping[str, Spent]) -> None:
        """Add the time that another process or object measured."""
        with self._lock:  # the threads of a sync add their times
            for step, more in spent.items():
                before = self._spent.get(step, Spent())
                self._spent[step] = Spent(before.seconds + more.seconds, before.cpu_seconds + more.cpu_seconds)

    def spent(self) -> Mapping[str, Spent]:
        """Return the time of each step, ordered by the first end of each."""
        with self._lock:
            return dict(self._spent)
