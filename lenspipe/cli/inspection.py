"""The subcommand ``lenspipe inspect``."""

import argparse
import contextlib
import getpass
import socket
from argparse import ArgumentParser, Namespace
from typing import TYPE_CHECKING

from lenspipe.cli.commands import Command, paths_of_run, user_path
from lenspipe.utils.errors import LenspipeError
from lenspipe.utils.progress import configure_logging

if TYPE_CHECKING:
    from lenspipe.config.paths import RunPaths
    from lenspipe.inspection.lists import Lists
    from lenspipe.inspection.store import Store

__all__ = ["COMMAND"]

PORT = 8642


def _add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("run", type=user_path, help="Folder of the run, results/<run>.")
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


def _run(options: Namespace) -> None:
    given = vars(options)
    paths = paths_of_run(options.run)
    if not 0 <= options.repeats <= 1:
        raise LenspipeError(f"--repeats: found {options.repeats:g}, expected 0 to 1")
    if not _is_local(options.host) and "tokens" not in given:
        raise LenspipeError(
            f"--host: found {options.host}, expected also --tokens, since anyone who reaches this "
            "address could vote under any name"
        )
    from lenspipe.inspection.controls import (
        control_files,
        copy_known_controls,
        draw_injected_controls,
    )
    from lenspipe.inspection.grades import export_grades
    from lenspipe.inspection.lists import Lists, Mix
    from lenspipe.inspection.store import Store
    from lenspipe.products.files import require

    configure_logging()
    if "export" in given:
        require(paths.inspection(), "votes_database")
        with contextlib.closing(Store(paths.inspection(), create=False)) as store:
            counts = export_grades(paths, store)
        numbers = ", ".join(
            f"{counts.get(g, 0)} {g or 'without a grade'}" for g in ("A", "B", "C", "D", "")
        )
        print(f"{paths.inspection('grades.csv')}: {numbers}")
        return
    if "known" in given:
        copy_known_controls(paths, options.known)
    if "injected" in given:
        draw_injected_controls(paths, options.injected, options.seed)
    with contextlib.closing(Store(paths.inspection())) as store:
        graders = given.get("grader") or ([] if store.graders() else [_user()])
        for name in graders:
            store.add_grader(name)
        mix = Mix(options.stage, options.limit, options.repeats, control_files(paths), options.seed)
        _serve(options, paths, store, Lists(paths, store, mix), graders)


def _serve(
    options: Namespace, paths: "RunPaths", store: "Store", lists: "Lists", graders: list[str]
) -> None:
    import uvicorn

    from lenspipe.inspection.app import make_app
    from lenspipe.inspection.guard import LOCAL_HOSTS
    from lenspipe.products.candidates import model_note

    tokens = "tokens" in vars(options)
    listener = _listen(options)
    host = socket.getfqdn() if options.host in ("0.0.0.0", "::") else options.host
    address = f"http://{f'[{host}]' if ':' in host else host}:{listener.getsockname()[1]}/"
    # A public machine may have many names: there the token keeps strangers out.
    hosts = None if not _is_local(options.host) else LOCAL_HOSTS | {options.host}
    n = len(lists.candidates_of_stage())
    print(f"{n} candidates of {paths.root.name}, stage {options.stage}: {address}")
    if note := model_note(lists.candidates):
        print(f"Scores of the {note}.")
    if tokens:
        for name in store.graders():
            if name in graders or not store.has_token(name):
                print(f"  {name}: {address}g/{name}/?token={store.new_token(name)}")
            else:
                print(f"  {name}: link as before; --tokens --grader {name} makes a new one")
    print(f"Votes are kept in {paths.inspection()}; Ctrl-C ends.", flush=True)
    config = uvicorn.Config(
        make_app(paths, store, lists, tokens, hosts),
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
    help="Grade a run's candidates in the browser; several people grade independently.",
    details="Votes are kept permanently in inspection/grades.sqlite of the run. Stop with Ctrl-C, "
    "or in any other way: no vote is lost, and all graders continue where they were.",
    shows_defaults=True,
)
