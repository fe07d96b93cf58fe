"""Print constraints that pin each dependency at the lowest version that pyproject.toml allows."""

import re
import tomllib
from pathlib import Path

project = tomllib.loads(Path("pyproject.toml").read_text())["project"]
needed = {*project["dependencies"], *project["optional-dependencies"]["unit"]}
for extra in re.findall(r"lenspipe\[(\w+)\]", " ".join(needed)):
    needed |= {*project["optional-dependencies"][extra]}
print("\n".join(sorted(text.replace(">=", "==") for text in needed if ">=" in text)))
