"""The subcommand ``lenspipe inspect``.

Nothing here that takes long to import: every other subcommand reads this module too.
"""

import argparse
import contextlib
import getpass
import socket
from pathlib import Path

from lenspipe.utils.errors import LenspipeError

__all__ = ["add_inspect"]

PORT = 8642


def add_inspect(commands):
    """Add the subcommand to the command line.

    Parameters
    ----------
    commands : argparse subparsers
    """
    about = "Grade a run's candidates in the browser; several people, each for themselves."
    parser = commands.add_parser(
        "inspect",
        help=about,
        description=f"{about} Votes go to inspection/grades.sqlite of the run and are kept for "
        "ever. Stop it with Ctrl-C, or anyhow: no vote is lost, and everybody goes on where they "
        "were.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.set_defaults(command=_inspect)
    parser.add_argument("run", type=Path, help="Folder of the run, results/<run>.")
    parser.add_argument(
        "--grader", action="append", metavar="NAME", default=argparse.SUPPRESS,
        help="Who grades; once for each. Those of earlier starts remain; the first is you.",
    )  # fmt: skip
    parser.add_argument(
        "--export", action="store_true", default=argparse.SUPPRESS,
        help="Write inspection/grades.csv, grades.fits, votes.csv and agreement.json, and end.",
    )  # fmt: skip
    served = parser.add_argument_group("where it is served")
    served.add_argument("--port", type=int, default=PORT, metavar="N", help="0: any free one.")
    served.add_argument(
        "--host", default="127.0.0.1", metavar="ADDRESS",
        help="Address to listen at; another than this machine's own needs --tokens.",
    )  # fmt: skip
    served.add_argument(
        "--tokens", action="store_true", default=argparse.SUPPRESS,
        help="Every grader needs a link with a token. Prints a new link for each --grader named, "
        "and for whoever has none; an older link of theirs ends.",
    )  # fmt: skip
    shown = parser.add_argument_group("what new graders see (a list that is begun stays)")
    shown.add_argument(
        "--stage", type=int, choices=(1, 2), default=1,
        help="2: only what stage 1 gave a mean of at least --limit, to be graded again.",
    )  # fmt: skip
    shown.add_argument(
        "--limit", type=float, default=2.0, metavar="MEAN", help="A is 4, B 3, C 2, D 1."
    )
    shown.add_argument(
        "--repeats", type=float, default=0.05, metavar="PART",
        help="Part of the candidates shown twice, to measure consistency.",
    )  # fmt: skip
    shown.add_argument(
        "--injected", type=int, metavar="N", default=argparse.SUPPRESS,
        help="Slip in N simulated lenses of the run's labelled sample.",
    )  # fmt: skip
    shown.add_argument(
        "--known", type=Path, metavar="FILE", default=argparse.SUPPRESS,
        help="Slip in the known lenses of a file of cutouts.",
    )  # fmt: skip
    shown.add_argument("--seed", type=int, default=0, metavar="N", help="Of each grader's order.")


def _inspect(options):
    given = vars(options)
    if not options.run.is_dir():
        raise LenspipeError(
            f"{options.run}: found no such folder, expected that of a run, results/<run>"
        )
    if not 0 <= options.repeats <= 1:
        raise LenspipeError(f"--repeats: found {options.repeats:g}, expected 0 to 1")
    if not _is_local(options.host) and "tokens" not in given:
        raise LenspipeError(
            f"--host: found {options.host}, expected also --tokens, since whoever reaches this "
            "address could vote in any name"
        )
    from lenspipe.config.paths import RunPaths
    from lenspipe.inspection.controls import (
        control_files,
        copy_known_controls,
        draw_injected_controls,
    )
    from lenspipe.inspection.grades import export_grades
    from lenspipe.inspection.lists import Lists, Mix
    from lenspipe.inspection.store import Store
    from lenspipe.products.files import require
    from lenspipe.utils.progress import configure_logging

    configure_logging()
    root = options.run.resolve()
    paths = RunPaths(root.name, root.parent)
    if "export" in given:
        require(paths.inspection(), "votes_database")
        with contextlib.closing(Store(paths.inspection())) as store:
            counts = export_grades(paths, store)
        said = ", ".join(
            f"{counts.get(g, 0)} {g or 'without a grade'}" for g in ("A", "B", "C", "D", "")
        )
        print(f"{paths.inspection('grades.csv')}: {said}")
        return
    if "known" in given:
        copy_known_controls(paths, options.known)
    if "injected" in given:
        draw_injected_controls(paths, options.injected, options.seed)
    with contextlib.closing(Store(paths.inspection())) as store:
        named = given.get("grader") or ([] if store.graders() else [_user()])
        for name in named:
            store.add_grader(name)
        mix = Mix(options.stage, options.limit, options.repeats, control_files(paths), options.seed)
        _serve(options, paths, store, Lists(paths, store, mix), named)


def _serve(options, paths, store, lists, named):
    import uvicorn

    from lenspipe.inspection.app import make_app
    from lenspipe.inspection.guard import LOCAL_HOSTS

    tokens = "tokens" in vars(options)
    listener = _listen(options)
    shown = socket.getfqdn() if options.host in ("0.0.0.0", "::") else options.host
    address = f"http://{f'[{shown}]' if ':' in shown else shown}:{listener.getsockname()[1]}/"
    # A name that stands for many: the token's cookie is what keeps others out.
    hosts = None if not _is_local(options.host) else LOCAL_HOSTS | {options.host}
    n = len(lists.candidates_of_stage())
    print(f"{n} candidates of {paths.root.name}, stage {options.stage}: {address}")
    if tokens:
        for name in store.graders():
            if name in named or not store.has_token(name):
                print(f"  {name}: {address}g/{name}/?token={store.new_token(name)}")
            else:
                print(f"  {name}: as before; --tokens --grader {name} makes a new link")
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


def _listen(options):
    """A socket at the asked address."""
    family = socket.AF_INET6 if ":" in options.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((options.host, options.port))
        listener.listen(128)
    except (OSError, OverflowError) as error:
        listener.close()
        raise LenspipeError(
            f"--host {options.host} --port {options.port}: can't be listened at ({error}); give "
            "another, such as --port 0"
        ) from None
    return listener


def _is_local(host):
    return host in ("localhost", "::1") or host.startswith("127.")


def _user():
    """Name of who runs the command, as far as it can be a grader's."""
    from lenspipe.inspection.store import GRADER_NAME

    name = getpass.getuser()
    return name if GRADER_NAME.fullmatch(name) else "grader"
