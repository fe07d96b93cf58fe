"""The cuts that define the parent sample."""

from lenspipe.config.releases import MASKBITS
from lenspipe.products.parent import make_audit

__all__ = ["CUTS", "no_cuts", "select_parent"]


def _has_exposures(table, parent):
    nobs = table[[name for name in table.columns if name.startswith("nobs_")]]
    return (nobs >= parent.min_exposures).all(axis=1)


def _is_unmasked(table, parent):
    mask = sum(1 << MASKBITS[name] for name in parent.maskbits)
    return (table.maskbits & mask) == 0


#: The cuts in order: name -> function (table, `lenspipe.config.data.Parent`) -> rows that pass.
CUTS = {
    "brick_primary": lambda table, parent: table.brick_primary,
    "type": lambda table, parent: table.type.isin(parent.types),
    "sersic_min": lambda table, parent: (
        ~(table.type == "SER") | (table.sersic >= parent.sersic_min)
    ),
    "mag_z_max": lambda table, parent: table.mag_z <= parent.mag_z_max,
    "min_exposures": _has_exposures,
    "maskbits": _is_unmasked,
}


def select_parent(table, parent):
    """Apply the cuts of the parent sample, one after the other.

    Parameters
    ----------
    table : pandas.DataFrame
        As of `read_tractor`.
    parent : lenspipe.config.data.Parent
        Its section of the settings.

    Returns
    -------
    selected : pandas.DataFrame
        The rows that pass, without ``brick_primary``.
    audit : pandas.DataFrame
        One row per cut in order: cut (str), before, after, removed (int64).
    """
    rows = []
    for cut, passes in CUTS.items():
        before = len(table)
        table = table[passes(table, parent)]
        rows.append((cut, before, len(table)))
    audit = make_audit(rows)
    return table.drop(columns="brick_primary"), audit


def no_cuts():
    """Return the audit of no source.

    Returns
    -------
    pandas.DataFrame
        As of `select_parent`; to add others to.
    """
    return make_audit([(cut, 0, 0) for cut in CUTS])
