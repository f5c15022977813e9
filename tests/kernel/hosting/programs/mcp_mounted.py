"""An MCP server mounted as the MCP SDK's documentation says: the host's lifespan runs the session manager."""

from contextlib import asynccontextmanager

from mcp.server.mcpserver import MCPServer
from starlette.applications import Starlette
from starlette.routing import Mount
from tests.kernel.hosting.programs.running import run

server = MCPServer("numbers")


@server.tool()
def double(number: int) -> int:
    """Twice the number."""
    return 2 * number


@asynccontextmanager
async def lifespan(host):
    async with server.session_manager.run():
        print("manager runs")
        yield
    print("manager is over")


INITIALIZE = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {
        "protocolVersion": "2025-06-18",
        "capabilities": {},
        "clientInfo": {"name": "test", "version": "1"},
    },
}

host = Starlette(routes=[Mount("/", server.streamable_http_app(json_response=True, host="*"))], lifespan=lifespan)


def ask(client):
    """Ask the server for a session."""
    headers = {"accept": "application/json, text/event-stream", "host": "127.0.0.1:8000"}
    print("status", client.post("/mcp", json=INITIALIZE, headers=headers).status_code)


if __name__ == "__main__":
    run(host, ask)
