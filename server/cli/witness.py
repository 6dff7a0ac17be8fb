"""``louverd witness``: a witness of access logs, to be run by somebody else than the operator.

What may live here: arguments, wording, the listener. What it signs is in ``server.witness``.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from starlette.applications import Starlette

    from server.witness import Witness


def witness(
    name: Annotated[str, typer.Option(help="Your name as a witness: witness.example.org")],
    log: Annotated[list[str], typer.Option(help="The key of a log to witness; repeatable.")],
    directory: Annotated[Path, typer.Option("--dir", help="Its key and heads.")] = Path("witness"),
    address: Annotated[str, typer.Option(help="The IP address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="0 takes a free one.", min=0, max=65535)] = 7495,
    certificate: Annotated[str, typer.Option(help="TLS certificate chain (PEM).")] = "",
    key: Annotated[str, typer.Option(help="The certificate's private key (PEM).")] = "",
    show: Annotated[bool, typer.Option("--show", help="Print the key and end.")] = False,
) -> None:
    """Witness access logs, as a third party. Signs each checkpoint that only continues the one
    signed before.
    """
    import asyncio

    from crypto_modes.errors import KeyRefused
    from crypto_modes.transparency.note import Verifier
    from server.witness import Witness

    try:
        logs = [Verifier.decode(each) for each in log]
    except KeyRefused as error:
        raise typer.BadParameter(str(error)) from None
    made = Witness(directory, name, logs)
    typer.echo(made.verifier.encode())
    if not show:
        asyncio.run(_serve(made, address, port, certificate, key))


async def _serve(made: Witness, address: str, port: int, certificate: str, key: str) -> None:
    import asyncio
    import signal

    from server.certs import server_context
    from server.hosting import Host

    context = server_context(Path(certificate), Path(key)) if certificate else None
    host = Host(application(made), address, port, section="witness", context=context)
    await host.start()
    typer.echo(f"listening on {address}, port {host.port}", err=True)
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    await ended.wait()
    await host.stop()


def application(made: Witness) -> Starlette:
    """The one route of C2SP ``tlog-witness``: ``POST /add-checkpoint``."""
    import asyncio

    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import Route

    from crypto_modes.transparency.witnessing import REQUEST_LIMIT
    from server.problems import body_of, handlers

    async def add_checkpoint(request: Request) -> Response:
        body = await body_of(request, REQUEST_LIMIT)
        answer = await asyncio.to_thread(made.add_checkpoint, body)
        return Response(answer.body, answer.status, headers={"Content-Type": answer.type})

    routes = [Route("/add-checkpoint", add_checkpoint, methods=["POST"])]
    return Starlette(routes=routes, exception_handlers=handlers("witness", advise=False))
