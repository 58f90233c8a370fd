"""`@modelcontextprotocol/server-everything`: an MCP server no one here wrote, over HTTP and as a command for stdio."""

from __future__ import annotations

from pathlib import Path

from stack.process import Child, accepts

NODE_HOME = Path(__file__).resolve().parent.parent / "node"
NODE = NODE_HOME / "node_modules/node/bin/node"
EVERYTHING = NODE_HOME / "node_modules/@modelcontextprotocol/server-everything/dist/index.js"


def stdio_command() -> list[str]:
    """The command that serves MCP on its standard input and output."""
    return [str(NODE), str(EVERYTHING), "stdio"]


class EverythingOverHttp:
    """The server on streamable HTTP, with sessions (revision 2025-11-25)."""

    def __init__(self, port: int, work: Path) -> None:
        self.url = f"http://127.0.0.1:{port}/mcp"
        self._child = Child(
            "server-everything", [NODE, EVERYTHING, "streamableHttp"], work / "everything.log", {"PORT": str(port)}
        )
        self._child.wait_until(lambda: accepts(port))

    def stop(self) -> None:
        self._child.stop()
