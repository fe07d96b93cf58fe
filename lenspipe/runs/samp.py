"""Tables sent to other programs by SAMP, the messaging protocol of the Virtual Observatory.

Source: IVOA recommendation SAMP 1.3; message type table.load.votable.
"""

import atexit
import functools
import tempfile
from pathlib import Path

from astropy.io.votable import from_table
from astropy.table import Table
from pyvo.samp import SAMPHubError, SAMPIntegratedClient, SAMPProxyError

from lenspipe.utils.errors import LenspipeError
from lenspipe.utils.table_formats import write_votable

__all__ = ["send_table"]

_MESSAGE = "table.load.votable"


@functools.cache
def _folder() -> Path:
    """Folder of the tables sent, which receivers read at leisure; deleted when Python ends."""
    folder = tempfile.TemporaryDirectory(prefix="lenspipe-samp-")
    atexit.register(folder.cleanup)
    return Path(folder.name)


def send_table(table: Table, name: str, to: str = "") -> list[str]:
    """Send a table to the programs that are connected to a SAMP hub, such as TOPCAT and Aladin.

    Parameters
    ----------
    name
        Of the table, as the other programs show it.
    to
        Name of the program that receives it, in any case; all that take tables if not given.

    Returns
    -------
    list of str
        Names of the programs that were told of it.

    Raises
    ------
    LenspipeError
        No hub is running, or no such program is connected to it.
    """
    client = SAMPIntegratedClient(name="lenspipe")
    try:
        client.connect()
    except SAMPHubError as error:
        raise LenspipeError(
            f"SAMP: found no hub ({error}), expected one to send the table to; start TOPCAT, which "
            "brings a hub, or Aladin"
        ) from None
    try:
        names = {
            id_: client.get_metadata(id_).get("samp.name", id_)
            for id_ in client.get_subscribed_clients(_MESSAGE)
        }
        chosen = {id_: n for id_, n in names.items() if not to or n.lower() == to.lower()}
        if not chosen:
            others = ", ".join(sorted(names.values())) or "none"
            raise LenspipeError(
                f"SAMP: found {others} among the programs that take tables, expected "
                f"{to or 'one'}; start it, and connect it to the hub"
            )
        number = len(list(_folder().iterdir()))
        path = _folder() / f"table-{number}.vot"
        content = Table(table)
        content.meta.clear()
        with path.open("wb") as file:
            write_votable(from_table(content), file)
        parameters = {"url": path.as_uri(), "table-id": f"lenspipe-{number}", "name": name}
        message = {"samp.mtype": _MESSAGE, "samp.params": parameters}
        for id_ in chosen:
            client.notify(id_, message)
    except SAMPProxyError as error:
        raise LenspipeError(f"SAMP: the hub refused ({error}); start it again") from None
    finally:
        client.disconnect()
    return sorted(chosen.values())
