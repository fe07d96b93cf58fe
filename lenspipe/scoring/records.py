"""Records of a chunk, written for scoring."""

from collections.abc import Iterator

from lenspipe.config.settings import Settings
from lenspipe.cutouts.files import CutoutFiles
from lenspipe.products.cutouts import read_cutouts
from lenspipe.products.manifests import read_manifest
from lenspipe.products.record_files import write_file
from lenspipe.products.records import serialise_examples
from lenspipe.utils.progress import log, track

__all__ = ["records_of_chunk"]


def records_of_chunk(settings: Settings, chunk: str) -> int:
    """Write the records of a chunk, brick after brick in the order of their names.

    Bricks whose cutouts failed are left out, with a line in the log; flagged cutouts are included.
    Return the number of records.
    """
    bricks = read_manifest(settings.paths.manifest("cutouts", chunk))
    cutouts = CutoutFiles.of(settings)

    def examples() -> Iterator[bytes]:
        for brick, entry in track(sorted(bricks.items()), f"chunk {chunk}: records of bricks"):
            if entry["status"] == "failed":
                log.info("brick %s: left out, it has no cutouts: %s", brick, entry.get("reason"))
            elif entry["count"]:
                yield from serialise_examples(*read_cutouts(cutouts.path(brick)))

    count = write_file(settings.paths.records(chunk), examples())["count"]
    log.info("chunk %s: %d records of %d bricks", chunk, count, len(bricks))
    return count
