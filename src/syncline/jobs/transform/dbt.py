"""dbt as a step, in an environment of its own: Syncline never imports it.

Without ``profiles`` a profile named ``syncline`` is written for the connection's destination, its password handed over
in the environment and never in a file."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from syncline.core.errors import ErrorKind, SynclineError
from syncline.jobs.transform.program import run_program
from syncline.jobs.transform.step import step_error
from syncline.sdk.connector import connector
from syncline.sdk.reference import ConnectorReference, validated

__all__ = ["run_dbt"]

_PASSWORD = "DBT_ENV_SECRET_DESTINATION_PASSWORD"  # noqa: S105 - the name of a variable; dbt keeps such out of its logs


def run_dbt(
    options: Mapping[str, Any],
    destination: ConnectorReference,
    facts: Mapping[str, str | int],
    env: Mapping[str, str],
    timeout: float,
    tell: Callable[[str], None],
) -> str:
    """``dbt build`` (or another command) of a project. The run's facts are its variables, beside those of the step."""
    project = Path(str(options["project"]))
    if not (project / "dbt_project.yml").exists():
        raise step_error(f"there is no dbt_project.yml in {project}", hint="project: names the folder of a dbt project")
    executable = str(options.get("executable") or "dbt")
    if shutil.which(executable) is None:
        raise step_error(
            f"the program {executable!r} is not there",
            hint="make an environment for it (uv venv dbt; uv pip install -p dbt dbt-core dbt-duckdb dbt-postgres) and "
            "set executable: dbt/bin/dbt, or pip install 'syncline[dbt]'",
        )
    variables = {**facts, **(options.get("variables") or {})}
    with tempfile.TemporaryDirectory(prefix="syncline-dbt-") as made:
        folder = Path(made)
        target = folder / "target"
        secrets: dict[str, str] = {}
        profiles = options.get("profiles")
        if profiles is None:
            text, secrets = _profile(destination)
            (folder / "profiles.yml").write_text(text)
        arguments = [
            executable,
            *options.get("command", ["build"]),
            "--project-dir",
            str(project),
            "--profiles-dir",
            str(profiles or folder),
            "--vars",
            json.dumps(variables),
            "--target-path",
            str(target),
            "--log-path",
            str(folder / "logs"),
        ]
        if options.get("target"):
            arguments += ["--target", str(options["target"])]
        if options.get("select"):
            arguments += ["--select", str(options["select"])]
        quiet = {"DBT_SEND_ANONYMOUS_USAGE_STATS": "false", "DBT_USE_COLORS": "false"}
        try:
            run_program(arguments, env={**env, **quiet, **secrets}, folder=project, timeout=timeout, tell=tell)
        except SynclineError as error:
            failed = [r for r in _results(target) if r["status"] not in ("success", "pass", "skipped", "warn")]
            if not failed:
                raise
            first = failed[0]
            message = " ".join(str(first.get("message") or first["status"]).split())
            many = f"{len(failed)} of {len(_results(target))} nodes failed"
            raise SynclineError(
                ErrorKind.DATA,
                f"dbt: {many}, first {first['unique_id']}: {message[:300]}",
                hint="its output is in the log of this run",
            ) from error
        found = _results(target)
        return f"{len(found)} nodes, {sum(r['status'] in ('success', 'pass') for r in found)} succeeded"


def _results(target: Path) -> list[dict[str, Any]]:
    try:
        found = json.loads((target / "run_results.json").read_text())["results"]
    except (OSError, ValueError, KeyError):
        return []
    return list(found)


def _profile(destination: ConnectorReference) -> tuple[str, dict[str, str]]:
    """A profile for the destination, and what goes into the environment instead of it."""
    config: Any = validated(connector("destination", destination.type), destination, "destination")
    secrets: dict[str, str] = {}
    if destination.type == "duckdb":
        output: dict[str, Any] = {"type": "duckdb", "path": str(Path(config.destination_path).resolve())}
    elif destination.type == "postgres":
        password = config.password
        secrets = {_PASSWORD: "" if password is None else password.get_secret_value()}
        output = {
            "type": "postgres",
            "host": config.host,
            "port": config.port,
            "user": config.username,
            "password": "{{ env_var('" + _PASSWORD + "') }}",
            "dbname": config.database,
        }
    else:
        raise step_error(
            f"a profile for destination type {destination.type!r} cannot be made",
            hint="write one and name its folder: profiles: …",
        )
    output |= {"schema": config.target_schema, "threads": 2}
    # JSON is YAML.
    return json.dumps({"syncline": {"target": "syncline", "outputs": {"syncline": output}}}), secrets
