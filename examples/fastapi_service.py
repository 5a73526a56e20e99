"""A FastAPI service that sends one-time codes, and learns from the gateway's callbacks what became of each.

It is meant for an internal network: anyone who can reach it can send. For the settings see ``codes.py``.

    uvicorn examples.fastapi_service:app --workers 2 --loop uvloop --timeout-graceful-shutdown 10

Without uvloop, several workers of uvicorn answer 40 ms late on every kept-alive connection (its issue 3149).

    POST /codes {"phone": "79087964781", "code": "1234"}    {"id": 1, "state": "accepted"}
    GET /codes/1                                            {"id": 1, "state": "accepted", "status": 2}
    GET /health                                             the health of the client
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

from fastapi import Depends, FastAPI, HTTPException, Request, Response
from pydantic import BaseModel

from examples.codes import CALLBACK_PATH, Codes
from smspilot_async import InvalidMessage
from smspilot_async.callbacks.asgi import callback_app

the_codes = Codes()


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[dict[str, Codes]]:
    """Open the client with the application, and close it after the last request has ended."""
    async with the_codes.running() as codes:
        yield {"codes": codes}


def codes_of(request: Request) -> Codes:
    """Return the shared state; the endpoints depend on it."""
    codes: Codes = request.state.codes
    return codes


app = FastAPI(lifespan=lifespan)
app.mount(CALLBACK_PATH, callback_app(the_codes.inbox))
OurCodes = Annotated[Codes, Depends(codes_of)]


class Order(BaseModel):
    """A caller's request to send a code."""

    phone: str
    code: str


@app.post("/codes")
async def send_code(order: Order, codes: OurCodes, response: Response) -> dict[str, Any]:
    """Send a code. An unknown is not an error (202): callers and proxies retry errors."""
    try:
        sent = await codes.send(order.phone, order.code)
    except InvalidMessage as error:
        response.status_code = 422
        return {"state": error.outcome, "field": error.field}
    response.status_code = {"accepted": 201, "unknown": 202}.get(sent["state"], 503)
    return sent


@app.get("/codes/{id_}")
async def show_code(id_: int, codes: OurCodes) -> dict[str, Any]:
    """Return what became of a code."""
    state = await codes.state_of(id_)
    if state is None:
        raise HTTPException(404)
    return state


@app.get("/health")
async def health(codes: OurCodes) -> dict[str, Any]:
    """Return the health of this worker's client, without any request."""
    return codes.client.health().to_dict()
