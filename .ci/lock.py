"""Print the versions of all packages that lenspipe needs, as they are installed here.

Run it in the environment in which the tests passed:

    python .ci/lock.py > envs/tested.txt

and install with these versions by ``pip install -c envs/tested.txt lenspipe``.
"""

import platform
from importlib.metadata import PackageNotFoundError, distribution

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

EXTRAS = ("demo", "exchange", "openvino", "slurm", "surveys", "sweep")

versions: dict[str, str] = {}
ahead = [Requirement(f"lenspipe[{','.join(EXTRAS)}]")]
seen: set[str] = set()
while ahead:
    requirement = ahead.pop()
    if str(requirement) in seen:
        continue
    seen.add(str(requirement))
    try:
        installed = distribution(requirement.name)
    except PackageNotFoundError:
        raise SystemExit(
            f"{requirement.name}: not installed; pip install -e '.[{','.join(EXTRAS)}]' first"
        ) from None
    versions[canonicalize_name(requirement.name)] = installed.version
    for line in installed.requires or ():
        needed = Requirement(line)
        extras = ["", *requirement.extras]
        if not needed.marker or any(needed.marker.evaluate({"extra": extra}) for extra in extras):
            ahead.append(needed)
del versions["lenspipe"]

system = f"{platform.system()} {platform.machine()}"
print(
    f"# The versions with which the tests passed, on Python {platform.python_version()}, {system}."
)
print("# Written by `python .ci/lock.py > envs/tested.txt`; use: pip install -c envs/tested.txt .")
print("\n".join(f"{name}=={version}" for name, version in sorted(versions.items())))
