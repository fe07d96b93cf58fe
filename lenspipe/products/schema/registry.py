"""All products of a run, and how a file is assigned to one.

Columns and keys are described once: `columns` has the groups that tables share; `search`,
`learning`, `results` and `completeness` have the products of each subject. ``docs/outputs.md`` is
written from them (`lenspipe.products.outputs`), and `lenspipe.products.verify` compares the files
of a run with them.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

from lenspipe.products.schema import completeness, learning, results, search
from lenspipe.products.schema.declarations import Product

__all__ = ["PRODUCTS", "band_values", "command_for", "product_of"]

#: Key -> product.
PRODUCTS: dict[str, Product] = {
    product.key: product
    for module in (search, learning, results, completeness)
    for product in module.PRODUCTS
}
#: Files that a rule writes beside its declared outputs -> the output to request of Snakemake.
_BESIDE = {
    **dict.fromkeys(
        ("truth", "truth_part", "sky_known_lenses", "confusing", "sky_all_bricks", "sky_bricks",
         "sky_tractor", "sky_coadd"), "sky_manifest"),
    **dict.fromkeys(
        ("sample_version", "injected", "sample_shards", "set_aside", "set_aside_page"), "sample"),
    **dict.fromkeys(("mined", "mined_page"), "mined_index"),
    **dict.fromkeys(("validated", "model_config"), "model"),
    **dict.fromkeys(("trial_scores", "proposal"), "trial"),
    **dict.fromkeys(("evaluation_missed", "evaluation_false"), "metrics"),
    "sample_report_mosaic": "sample_report",
    "mosaic_page": "mosaic_index",
    "missing": "summary",
    "study": "sweep",
}  # fmt: skip
#: Where a path fits several patterns, the first product in this order is meant. The folder of a
#: trial of the sweep is that of a model as well.
_SPECIFIC_FIRST = sorted(
    (product for product in PRODUCTS.values() if product.path),
    key=lambda p: ("_trial_" not in p.path, p.path.count("{"), -len(p.path)),
)


def product_of(path: str) -> Product | None:
    """Find the product that a path below the run's folder belongs to."""
    return next((p for p in _SPECIFIC_FIRST if p.pattern().fullmatch(path)), None)


def command_for(product: Product, path: Path) -> str:
    """Return the command that makes a file of a run.

    Parameters
    ----------
    path
        Of the file, with the run's folder: ``results/demo/sample/injected.parquet``.
    """
    run = Path(*path.parts[: -product.path.count("/") - 1])
    if product.stage.startswith("lenspipe"):
        program, subcommand, *options = product.stage.split()
        return " ".join((program, subcommand, str(run), *options))
    if product.key in _BESIDE:
        match = product.pattern().fullmatch(path.relative_to(run).as_posix())
        wildcards = match.groupdict() if match else {}
        path = run / PRODUCTS[_BESIDE[product.key]].path.format(**wildcards)
    return f"snakemake {path} --cores 4 --configfile CONFIG"


def band_values(bands: Iterable[str]) -> dict[str, Sequence[str]]:
    """Return the values of the placeholders ``<band>`` and ``<magband>``, which has z always."""
    bands = list(bands)
    return {"band": bands, "magband": list(dict.fromkeys((*bands, "z")))}
