"""Adding subcommands to the command line, and the arguments that several of them have."""

import argparse
import contextlib
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin

from pydantic import ValidationError

from lenspipe.config.base import Section
from lenspipe.config.paths import SHIPPED, RunPaths
from lenspipe.config.runs import read_run
from lenspipe.config.settings import Settings
from lenspipe.utils.errors import LenspipeError
from lenspipe.utils.files import expanded

__all__ = [
    "Command",
    "add_keys",
    "add_model",
    "add_output",
    "add_run",
    "add_workers",
    "check_new",
    "demo_modules",
    "make_folder",
    "make_section",
    "options_given",
    "paths_of",
    "settings_of",
    "user_path",
]

S = TypeVar("S", bound=Section)

#: Modules of the optional dependencies that a simulated sky needs.
_DEMO_MODULES = ("lenstronomy",)


@dataclass(frozen=True)
class Command:
    """A subcommand.

    Attributes
    ----------
    name
    run
        Does the work, given the options.
    add_arguments
        Adds the arguments to a parser.
    help
        A sentence.
    details
        Further sentences for the help of the subcommand itself.
    shows_defaults
        Whether the help of each argument ends with its default.
    """

    name: str
    run: Callable[[Namespace], None]
    add_arguments: Callable[[ArgumentParser], None]
    help: str
    details: str = ""
    shows_defaults: bool = False

    def add_to(self, subparsers: Any) -> None:
        """Add the subcommand to the object that `ArgumentParser.add_subparsers` returns."""
        formatter: Any = argparse.HelpFormatter
        if self.shows_defaults:
            formatter = argparse.ArgumentDefaultsHelpFormatter
        parser = subparsers.add_parser(
            self.name,
            help=self.help,
            description=f"{self.help} {self.details}".rstrip(),
            formatter_class=formatter,
        )
        parser.set_defaults(command=self.run)
        self.add_arguments(parser)


def add_run(parser: ArgumentParser, number: str = "+", default: str = "") -> None:
    """Add the run that a command is about, for `settings_of` and `paths_of`.

    Parameters
    ----------
    number
        ``*`` if it may be left out.
    default
        What it is then.
    """
    parser.add_argument(
        "run", type=user_path, nargs=number, metavar="RUN",
        help="Folder of the run, results/<run>, or its configuration: keys of later files override "
        f"those of earlier ones{f'; {default} if not given' if default else ''}.",
    )  # fmt: skip


def settings_of(
    options: Namespace, changes: Mapping[str, Mapping[str, Any]] | None = None
) -> Settings:
    """Return the settings of the run that `add_run` has asked for, with some keys changed."""
    return read_run(options.run, changes)


def paths_of(options: Namespace) -> RunPaths:
    """Return the files of the run; a folder without its configuration will do.

    Raises
    ------
    LenspipeError
        There is no such folder or configuration.
    """
    if len(options.run) == 1 and options.run[0].is_dir():
        return RunPaths.at(options.run[0])
    return settings_of(options).paths


def add_output(parser: ArgumentParser, text: str, metavar: str = "DIR", **options: Any) -> None:
    """Add ``--output`` and ``--overwrite``, for `check_new`."""
    parser.add_argument("--output", type=user_path, metavar=metavar, help=text, **options)
    parser.add_argument("--overwrite", action="store_true", help="Replace files that exist.")


def check_new(paths: Iterable[Path], options: Namespace) -> None:
    """Make sure, before any work, that a command replaces no file unasked.

    Raises
    ------
    LenspipeError
        One of the files exists, and ``--overwrite`` was not given.
    """
    if not options.overwrite and (existing := [path for path in paths if path.exists()]):
        raise LenspipeError(
            f"{existing[0]}: exists; give --overwrite to replace it, or --output to write elsewhere"
        )


def add_model(parser: ArgumentParser, *names: str, **options: Any) -> None:
    """Add an argument for a model, for `lenspipe.config.paths.model_file`."""
    parser.add_argument(
        *names,
        type=_user_text,
        metavar="MODEL",
        help=f"File model.keras, or its folder; or `{SHIPPED}`, the one that comes with lenspipe.",
        **options,
    )


def add_workers(parser: ArgumentParser) -> None:
    """Add ``--workers``."""
    parser.add_argument(
        "--workers", type=_positive_int, metavar="N", default=argparse.SUPPRESS,
        help="Number of processes; all cores if not given.",
    )  # fmt: skip


def _positive_int(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"found {value}, expected at least 1")
    return value


@contextlib.contextmanager
def demo_modules(purpose: str) -> Iterator[None]:
    """Explain that a module of the optional dependencies of the demo is missing.

    Raises
    ------
    LenspipeError
        A module that the block imports is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name not in _DEMO_MODULES:
            raise
        raise LenspipeError(
            f"{error.name}: not installed; {purpose} needs it: pip install 'lenspipe[demo]'"
        ) from None


def user_path(text: str) -> Path:
    """Return the path that an option gives, with ~ and environment variables replaced."""
    return Path(_user_text(text))


def _user_text(text: str) -> str:
    try:
        return expanded(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def add_keys(parser: Any, section: type[Section], leave_out: Collection[str] = ()) -> None:
    """Add an option for each key of a section, with its description and default."""
    for name, field in section.model_fields.items():
        if name in leave_out:
            continue
        options: dict[str, Any] = {"type": field.annotation}
        if field.annotation is bool:
            options = {"action": argparse.BooleanOptionalAction}
        elif get_origin(field.annotation) is Literal:
            choices = get_args(field.annotation)
            options = {"type": type(choices[0]), "choices": choices}
        else:
            options["metavar"] = options["type"].__name__.upper()
        text = (field.description or "").replace("%", "%%")
        parser.add_argument(_flag(name), default=field.default, help=text, **options)


def options_given(options: Namespace, names: Iterable[str]) -> dict[str, Any]:
    """Return the values of options that are not None."""
    values = vars(options)
    return {name: values[name] for name in names if values.get(name) is not None}


def make_section(section: type[S], values: Mapping[str, Any]) -> S:
    """Return a section with values from the command line.

    Raises
    ------
    LenspipeError
        A value is wrong.
    """
    try:
        return section(**values)
    except ValidationError as error:
        problem = error.errors()[0]
        if not problem["loc"]:
            raise LenspipeError(problem["msg"].removeprefix("Value error, ")) from None
        key = _flag(str(problem["loc"][0]))
        raise LenspipeError(f"{key}: found {problem['input']!r}; {problem['msg']}") from None


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def make_folder(path: Path) -> None:
    """Create the folder of option ``--output``.

    Raises
    ------
    LenspipeError
        It can't be created.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LenspipeError(
            f"{path}: can't be made ({error.strerror}); give --output a writable folder"
        ) from None
