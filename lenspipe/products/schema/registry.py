"""The schema of every file that a run leaves below ``results/<run>/``.

Columns and keys stand in one place: `columns` has the groups that tables share; `search`,
`learning`, `results` and `completeness` the products of each subject. ``docs/outputs.md`` is
written from it.
"""

from pathlib import Path

from lenspipe.products.schema import completeness, learning, results, search
from lenspipe.products.schema.declarations import (
    Column,
    Hdu,
    Key,
    Product,
    Section,
    expand,
    names_of,
)

__all__ = ["PRODUCTS", "Column", "Hdu", "Key", "Product", "Section", "command_for", "dtypes",
           "expand",
           "names_of", "product_of"]  # fmt: skip

#: Key -> product.
PRODUCTS: dict[str, Product] = {
    product.key: product
    for module in (search, learning, results, completeness)
    for product in module.PRODUCTS
}
#: Files that a rule writes beside its declared outputs -> the output to ask Snakemake for.
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
#: A path may fit several patterns; the first product in this order is meant.
_SPECIFIC_FIRST = sorted(
    (product for product in PRODUCTS.values() if product.path),
    key=lambda product: (product.path.count("{"), -len(product.path)),
)
# A trial's folder is a model's as well.
_SPECIFIC_FIRST.sort(key=lambda product: "_trial_" not in product.path)


def product_of(path: str) -> Product | None:
    """Find the product that a path below the run's folder belongs to."""
    return next((p for p in _SPECIFIC_FIRST if p.pattern().fullmatch(path)), None)


def command_for(product: Product, path: Path) -> str:
    """Command that makes a file of a run.

    Parameters
    ----------
    path
        Of the file, with the run's folder: ``results/demo/sample/injected.parquet``.
    """
    depth = product.path.count("/") + 1
    run = Path(*path.parts[:-depth])
    if product.stage.startswith("lenspipe"):
        program, subcommand, *options = product.stage.split()
        return " ".join((program, subcommand, str(run), *options))
    if product.key in _BESIDE:
        match = product.pattern().fullmatch(path.relative_to(run).as_posix())
        path = run / PRODUCTS[_BESIDE[product.key]].path.format(**match.groupdict())
    return f"snakemake --cores 4 {path}"


def dtypes(columns: tuple[Column, ...], **values: list[str]) -> dict[str, str]:
    """Map the names of columns to their types, for given values of placeholders."""
    return {column.name: column.dtype for column in expand(columns, values)}
