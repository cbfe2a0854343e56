"""Where hosts log in."""

from storlever.principal import Role
from storlever.web.asked import Core
from storlever.web.table import API, Table

table = Table(API, tag="portal")


@table.get("/portal_list", Role.READER)
async def get_portals(core: Core) -> list[str]:
    """HOST:PORT of each, as tgtd showed them last; 0.0.0.0 and [::] stand for every address."""
    return list(core.service.portals())
