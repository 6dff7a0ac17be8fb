"""Routes about the work as a whole, counted.

======  =========================  ====================================================
GET     /transparency              the transparency report of a time: ?first= &end=
======  =========================  ====================================================

Every number comes from the access log, and whoever has a copy of it gets the same ones with
``louverd transparency``.
"""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from starlette.responses import JSONResponse, Response

from server.moderation.api import described
from server.moderation.api.guard import Guarded, Look
from server.moderation.api.shapes import shown
from server.moderation.numbers import Counted, Row

router = APIRouter(route_class=Guarded, tags=["numbers"])
Moment = Annotated[int, Query(ge=0, lt=1 << 53, description="Milliseconds since 1970, UTC.")]
SHOWN = (Counted, Row)


@router.get("/transparency", **described.one(Counted))
async def show_transparency(step: Look, first: Moment, end: Moment) -> Response:
    """What a transparency report counts, from ``first`` up to, but not including, ``end``."""
    return JSONResponse(shown(await step.desk.numbers.transparency(step.who, first, end)))
