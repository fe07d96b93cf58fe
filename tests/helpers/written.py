"""Folders that many tests ask for: what is in them is made once in a process."""


def files_below(folder):
    """Contents of the files below a folder, by their relative paths."""
    paths = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder): path.read_bytes() for path in paths}


def write_files(folder, files):
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
