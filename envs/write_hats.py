"""Write the scores of a run as a HATS catalogue, for LSDB and the archives that use it.

    python -m venv hats && hats/bin/pip install hats-import
    hats/bin/python envs/write_hats.py results/demo

hats-import needs a newer version of `packaging` than Snakemake allows, and so an environment of its
own; this script needs nothing of lenspipe. The catalogue is ``exchange/hats/scores`` of the run.
"""

import argparse
import shutil
from pathlib import Path


def main() -> None:
    """Run the import."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, help="folder of the run, results/<run>")
    parser.add_argument("--workers", type=int, default=1, help="processes")
    parser.add_argument("--overwrite", action="store_true", help="replace a catalogue that exists")
    options = parser.parse_args()
    if not (files := sorted((options.run / "scores").glob("*.parquet"))):
        parser.error(f"{options.run / 'scores'}: no scores; run snakemake first")
    output = options.run / "exchange" / "hats"
    if (output / "scores").exists():
        if not options.overwrite:
            parser.error(f"{output / 'scores'}: exists; give --overwrite to replace it")
        shutil.rmtree(output / "scores")
    # They take seconds to import.
    from dask.distributed import Client
    from hats_import.catalog.arguments import ImportArguments
    from hats_import.pipeline import pipeline_with_client

    arguments = ImportArguments(
        input_file_list=[str(path) for path in files],
        file_reader="parquet",
        ra_column="ra",
        dec_column="dec",
        sort_columns="id",
        output_artifact_name="scores",
        output_path=output,
        progress_bar=False,
    )
    with Client(
        n_workers=options.workers,
        threads_per_worker=1,
        processes=options.workers > 1,
        dashboard_address=None,
    ) as client:
        pipeline_with_client(arguments, client)
    print(output / "scores")


if __name__ == "__main__":
    main()
