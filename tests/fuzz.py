"""Damaged and odd inputs at random, too many for the suite: `python tests/fuzz.py --seed 1`.

Tables of users, FITS files of the survey, configurations, and requests to the portal. Prints a line
for each stack trace, silent loss of rows, lost good brick or answer of status 500, and ends with
status 1 if there is any. The same seed makes the same inputs.
"""

import argparse
import sys
import time

from helpers.fuzz_config import fuzz_config
from helpers.fuzz_fits import fuzz_fits
from helpers.fuzz_portal import fuzz_portal
from helpers.fuzz_tables import fuzz_tables

#: Name -> function of seed and number that returns problems, and the number of inputs.
KINDS = {
    "tables": (fuzz_tables, 2000),
    "fits": (fuzz_fits, 500),
    "configurations": (fuzz_config, 300),
    "requests": (fuzz_portal, 200),
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=1)
    for kind, (_, number) in KINDS.items():
        parser.add_argument(
            f"--{kind}", type=int, default=number, help=f"number (default {number})"
        )
    options = parser.parse_args()
    failed = False
    for kind, (fuzz, _) in KINDS.items():
        begin = time.perf_counter()
        number = getattr(options, kind)
        problems = fuzz(options.seed, number)
        print(f"{number} {kind}: {len(problems)} problems, {time.perf_counter() - begin:.0f} s")
        for problem in problems:
            print(f"  {problem}")
        failed |= bool(problems)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
