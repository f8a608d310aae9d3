"""Write the types of the server's APIs: ``ui/src/api/{public,config,own}.d.ts``, from the OpenAPI documents it serves.

    .venv/bin/python ui/api_types.py [folder]     (``make ui-types``)

The files are committed, so that building the page needs Node alone. A test reads the documents anew and lets the
compiler hold the page's calls against them.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx

UI = Path(__file__).parent
DOCUMENTS = {"public": "/api/public/v1", "config": "/api/v1", "own": "/api/syncline/v1"}


def documents() -> dict[str, Any]:
    """What the application says about itself; it needs no store for that."""
    from syncline.api.app import create_app

    settings = SimpleNamespace(auth="required", allowed_hosts=frozenset())
    app = create_app(SimpleNamespace(settings=settings))  # type: ignore[arg-type]

    async def ask() -> dict[str, Any]:
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            return {n: (await client.get(f"{p}/openapi.json")).raise_for_status().json() for n, p in DOCUMENTS.items()}

    return asyncio.run(ask())


def write_types(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        for name, document in documents().items():
            source = Path(scratch) / f"{name}.json"
            source.write_text(json.dumps(document), encoding="utf-8")
            target = folder / f"{name}.d.ts"
            command = ["node", str(UI / "node_modules/openapi-typescript/bin/cli.js"), str(source)]
            command += ["--default-non-nullable=false", "-o", str(target)]
            subprocess.run(command, check=True, capture_output=True)


if __name__ == "__main__":
    write_types(Path(sys.argv[1]) if len(sys.argv) > 1 else UI / "src/api")
