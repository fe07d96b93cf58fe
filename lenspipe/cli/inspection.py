"""The subcommand ``lenspipe inspect``."""

import argparse
import contextlib
import functools
import getpass
import re
import socket
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from lenspipe.cli.commands import Command, add_run, paths_of, settings_of, user_path
from lenspipe.config.paths import RunPaths
from lenspipe.config.runs import settings_file
from lenspipe.config.settings import Settings, load_settings, read_config
from lenspipe.utils.errors import LenspipeError
from lenspipe.utils.progress import configure_logging, log

if TYPE_CHECKING:
    from starlette.applications import Starlette

    from lenspipe.inspection.lists import Lists
    from lenspipe.inspection.store import Store

__all__ = ["COMMAND", "add_run_or_list", "find_run"]

PORT = 8642


def add_run_or_list(parser: ArgumentParser) -> None:
    """Add a run, a list of positions or a file of cutouts, for `find_run`."""
    add_run(parser)
    parser.add_argument(
        "--config", type=user_path, nargs="+", metavar="FILE", default=argparse.SUPPRESS,
        help="For a list of positions, given as RUN: configuration with survey, cutouts and "
        "retrieval. A file of cutouts can be given as RUN, too. Either gets a folder of its name "
        "below results/. For a run: keys that differ from its own, such as inspection.surveys.",
    )  # fmt: skip
    parser.add_argument(
        "--table", type=user_path, metavar="FILE", default=argparse.SUPPRESS,
        help="For a file of cutouts: table with a row per cutout, in their order: name, ra, dec.",
    )  # fmt: skip


def _add_arguments(parser: ArgumentParser) -> None:
    add_run_or_list(parser)
    parser.add_argument(
        "--grader", action="append", metavar="NAME", default=argparse.SUPPRESS,
        help="Name of a grader; may be repeated. Graders of earlier sessions remain; the first is "
        "you.",
    )  # fmt: skip
    parser.add_argument(
        "--export", action="store_true", default=argparse.SUPPRESS,
        help="Write inspection/grades.csv, grades.fits, votes.csv and agreement.json, and exit.",
    )  # fmt: skip
    server = parser.add_argument_group("server")
    server.add_argument("--port", type=int, default=PORT, metavar="N", help="0: any free port.")
    server.add_argument(
        "--host", default="127.0.0.1", metavar="ADDRESS",
        help="Address to listen on; addresses other than this machine's own need --tokens.",
    )  # fmt: skip
    server.add_argument(
        "--tokens", action="store_true", default=argparse.SUPPRESS,
        help="Every grader needs a link with a token. Prints a new link for each --grader, and for "
        "graders without one; older links of these graders become invalid.",
    )  # fmt: skip
    weighing = parser.add_argument_group("votes weighted by skill")
    weighing.add_argument(
        "--order", choices=("list", "informative"), default="list",
        help="informative: the next image is the one whose vote tells most, and candidates that "
        "are retired are not shown.",
    )  # fmt: skip
    weighing.add_argument(
        "--retire", type=float, nargs=2, default=(0.01, 0.95), metavar=("BELOW", "ABOVE"),
        help="Probabilities of a lens beyond which a candidate is retired.",
    )  # fmt: skip
    weighing.add_argument(
        "--retire-after", type=int, default=2, metavar="N",
        help="Number of graders who graded it by then at least.",
    )  # fmt: skip
    parser.add_argument(
        "--training", action="store_true", default=argparse.SUPPRESS,
        help="Show lenses and non-lenses of the run's labelled sample, and after each grade which "
        "it was. These votes are kept apart; another --seed shows others.",
    )  # fmt: skip
    content = parser.add_argument_group("list of new graders (a list that is begun stays the same)")
    content.add_argument(
        "--stage", type=int, choices=(1, 2), default=1,
        help="2: candidates with a mean of at least --limit in stage 1 are graded again.",
    )  # fmt: skip
    content.add_argument(
        "--limit", type=float, default=2.0, metavar="MEAN", help="A is 4, B 3, C 2, D 1."
    )
    content.add_argument(
        "--repeats", type=float, default=0.05, metavar="FRACTION",
        help="Fraction of the candidates shown twice, to measure consistency.",
    )  # fmt: skip
    content.add_argument(
        "--injected", type=int, metavar="N", default=argparse.SUPPRESS,
        help="Add N simulated lenses of the run's labelled sample.",
    )  # fmt: skip
    content.add_argument(
        "--known", type=user_path, metavar="FILE", default=argparse.SUPPRESS,
        help="Add the known lenses of a file of cutouts.",
    )  # fmt: skip
    content.add_argument(
        "--seed", type=int, default=0, metavar="N", help="Seed of the order of each list."
    )


def _check(options: Namespace) -> None:
    """Make sure that values are possible and options fit together."""
    given = vars(options)
    if not 0 <= options.repeats <= 1:
        raise LenspipeError(f"--repeats: found {options.repeats:g}, expected 0 to 1")
    below, above = options.retire
    if not 0 <= below < above <= 1:
        raise LenspipeError(
            f"--retire: found {below:g} {above:g}, expected two probabilities, the lower one first"
        )
    if not _is_local(options.host) and "tokens" not in given:
        raise LenspipeError(
            f"--host: found {options.host}, expected also --tokens, since anyone who reaches this "
            "address could vote under any name"
        )
    others = [f"--{name}" for name in ("export", "known", "injected") if name in given]
    others += ["--stage 2"] * (options.stage != 1)
    others += ["--order informative"] * (options.order != "list")
    if "training" in given and others:
        raise LenspipeError(
            f"--training: found also {others[0]}, which is for candidates; leave one of them out"
        )


def _run(options: Namespace) -> None:
    _check(options)
    given = vars(options)
    paths, settings = find_run(options)
    from lenspipe.inspection.app import make_app
    from lenspipe.inspection.around import Around
    from lenspipe.inspection.controls import (
        control_files,
        copy_known_controls,
        draw_injected_controls,
    )
    from lenspipe.inspection.grades import export_grades
    from lenspipe.inspection.lists import Lists, Mix
    from lenspipe.inspection.posterior import Retirement
    from lenspipe.inspection.queue import Queue
    from lenspipe.inspection.store import Store
    from lenspipe.inspection.training import TrainingList, draw_training_set
    from lenspipe.products.files import require

    configure_logging()
    retirement = Retirement(options.retire[0], options.retire[1], options.retire_after)
    if "export" in given:
        require(paths.inspection(), "votes_database")
        with contextlib.closing(Store(paths.inspection(), create=False)) as store:
            counts = export_grades(paths, store, retirement)
        numbers = ", ".join(
            f"{counts.get(g, 0)} {g or 'without a grade'}" for g in ("A", "B", "C", "D", "")
        )
        print(f"{paths.inspection('grades.csv')}: {numbers}")
        return
    training, queue = "training" in given, None
    if training:
        images = draw_training_set(paths, options.seed)
    else:
        require(paths.candidates, "candidates")
    if "known" in given:
        copy_known_controls(paths, options.known)
    if "injected" in given:
        draw_injected_controls(paths, options.injected, options.seed)
    database = f"training-{options.seed}.sqlite" if training else "grades.sqlite"
    with contextlib.closing(Store(paths.inspection(database))) as store:
        graders = given.get("grader") or ([] if store.graders() else [_user()])
        for name in graders:
            store.add_grader(name)
        if training:
            lists: Lists = TrainingList(paths, store, images)
        else:
            controls = control_files(paths)
            mix = Mix(options.stage, options.limit, options.repeats, controls, options.seed)
            lists = Lists(paths, store, mix)
            queue = Queue(store, lists, retirement) if options.order == "informative" else None
        app = make_app(
            paths,
            store,
            lists,
            tokens="tokens" in given,
            hosts=_hosts(options.host),
            queue=queue,
            around=Around.of(settings) if settings and not training else None,
            examples=functools.partial(_examples, paths),
        )
        _serve(options, app, store, lists, graders)


def _examples(paths: RunPaths) -> Path | None:
    """Example pictures for the help; nothing that they lack keeps anybody from grading."""
    from lenspipe.inspection.training import draw_examples

    try:
        return draw_examples(paths)
    except LenspipeError as error:
        log.warning("no example pictures of the grades: %s", error)
        return None


def _serve(
    options: Namespace,
    app: "Starlette",
    store: "Store",
    lists: "Lists",
    graders: list[str],
) -> None:
    import uvicorn

    from lenspipe.products.candidates import model_note

    tokens = "tokens" in vars(options)
    listener = _listen(options)
    host = socket.getfqdn() if options.host in ("0.0.0.0", "::") else options.host
    address = f"http://{f'[{host}]' if ':' in host else host}:{listener.getsockname()[1]}/"
    run, n = lists.paths.root.name, len(lists.candidates_of_stage())
    what = f"{n} candidates of {run}, stage {options.stage}"
    if "training" in vars(options):
        what = f"Training with the labelled sample of {run}"
    print(f"{what}: {address}")
    if note := model_note(lists.candidates):
        print(f"Scores of the {note}.")
    if tokens:
        for name in store.graders():
            if name in graders or not store.has_token(name):
                print(f"  {name}: {address}g/{name}/?token={store.new_token(name)}")
            else:
                print(f"  {name}: link as before; --tokens --grader {name} makes a new one")
    print(f"Votes are kept in {store.path}; Ctrl-C ends.", flush=True)
    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        server_header=False,
        ws="none",
        lifespan="off",
        timeout_graceful_shutdown=5,
    )
    try:
        uvicorn.Server(config).run(sockets=[listener])
    except KeyboardInterrupt:
        print("Ended; all votes are kept.")


def _hosts(host: str) -> frozenset[str] | None:
    """Host names of the portal; a public machine may have many, and has tokens."""
    from lenspipe.inspection.guard import LOCAL_HOSTS

    return LOCAL_HOSTS | {host} if _is_local(host) else None


def find_run(options: Namespace) -> tuple[RunPaths, Settings | None]:
    """Return files and settings of a run; that of a list or of a file of cutouts is made first.

    A file of cutouts has no settings, and a run may have lost them.

    Raises
    ------
    LenspipeError
        There is no such file or folder, or it is a list of positions without ``--config``.
    """
    source = options.run[0]
    if not source.exists():
        raise LenspipeError(
            f"{source}: no such file or folder, expected a run's folder or configuration, a list "
            "of positions or a file of cutouts"
        )
    if len(options.run) > 1 or not source.is_file() or source.suffix in (".yaml", ".yml"):
        if "config" in vars(options) or not source.is_dir():
            changes = read_config(options.config) if "config" in vars(options) else {}
            settings = settings_of(options, changes)
            return settings.paths, settings
        paths = paths_of(options)
        if settings_file(source) is None:
            return paths, None
        try:
            return paths, settings_of(options)
        except LenspipeError as error:
            log.warning("no wider field around the candidates: %s", error)
            return paths, None
    from lenspipe.cutouts.stacks import is_stack
    from lenspipe.inspection.given import make_run_of_cutouts, make_run_of_list

    configure_logging()
    name = re.sub(r"[^A-Za-z0-9_-]+", "-", source.name.split(".")[0]).strip("-_") or "list"
    if is_stack(source):
        paths = RunPaths(name)
        make_run_of_cutouts(source, paths, vars(options).get("table"))
        return paths, None
    if "config" not in vars(options):
        raise LenspipeError(
            f"{source}: a list of positions needs --config FILE with survey.tree and "
            "retrieval.contact, such as config/dr9.yaml"
        )
    config = read_config(options.config)
    # What a search of a footprint has besides is not for a list.
    others = ("footprint", "inference", "selection", "simulation")
    config = {key: value for key, value in config.items() if key not in others}
    settings = load_settings(config | {"run": name, "targets": str(source)})
    make_run_of_list(settings)
    return settings.paths, settings


def _listen(options: Namespace) -> socket.socket:
    """Return a socket at the requested address."""
    family = socket.AF_INET6 if ":" in options.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((options.host, options.port))
        listener.listen(128)
    except (OSError, OverflowError) as error:
        listener.close()
        raise LenspipeError(
            f"--host {options.host} --port {options.port}: can't listen there ({error}); choose "
            "another, such as --port 0"
        ) from None
    return listener


def _is_local(host: str) -> bool:
    return host in ("localhost", "::1") or host.startswith("127.")


def _user() -> str:
    """Return the user's login name, or ``grader`` if it can't be a grader's name."""
    from lenspipe.inspection.store import GRADER_NAME

    name = getpass.getuser()
    return name if GRADER_NAME.fullmatch(name) else "grader"


COMMAND = Command(
    name="inspect",
    run=_run,
    add_arguments=_add_arguments,
    help="Grade a run's candidates, a list of positions or a file of cutouts in the browser.",
    details="Several people grade independently. Votes are kept permanently in "
    "inspection/grades.sqlite of the run. Stop with Ctrl-C, or in any other way: no vote is "
    "lost, and all graders continue where they were.",
    shows_defaults=True,
)
