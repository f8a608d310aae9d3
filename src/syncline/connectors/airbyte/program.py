"""A configured connector as a program: started with its files, asked one question, its own configuration kept."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

from syncline.connectors.airbyte.authorities import trusting
from syncline.connectors.airbyte.config import ProgramConfig
from syncline.connectors.airbyte.messages import failure, whole
from syncline.connectors.airbyte.process import ConnectorProcess
from syncline.core.errors import ErrorKind, SynclineError
from syncline.sdk.findings import Finding, Severity
from syncline.sdk.own_config import OwnConfig, Redactor
from syncline.sdk.packages.environment import executable_of, wish_for
from syncline.sdk.packages.registry import imported
from syncline.settings import load_settings

__all__ = ["Program"]

#: Longer than any question takes; a read may take hours.
_WAIT_SECONDS = 60.0


class Program:
    """Every start is a process of its own. ``redact`` knows every secret that a configuration ever held;
    ``always`` are files (name -> content) and ``further`` arguments that go with every start; ``own_file`` keeps what
    the connector changes of its configuration.

    A refresh token that rotates works once. So one process at a time has the configuration: each question, and a read
    or a write for as long as it lasts once the connector has been seen to change its configuration."""

    def __init__(
        self,
        config: ProgramConfig,
        folder: Path,
        *,
        always: Mapping[str, bytes] | None = None,
        further: Sequence[str] = (),
        own_file: str = "airbyte-config.json",
    ) -> None:
        self._config = config
        self._own = OwnConfig(folder, config.config, name=own_file)
        self._always, self._further = dict(always or {}), list(further)
        self.redact = Redactor(config.config)
        self.command = _command_of(config)

    def save(self, config: Mapping[str, Any]) -> None:
        """Keep a configuration that the connector has changed; durable before it returns."""
        self.redact.learn(config)
        self._own.save(config)

    def start(
        self, arguments: Sequence[str], files: Mapping[str, bytes], given: Iterator[bytes] | None = None
    ) -> ConnectorProcess:
        """``arguments`` that name a file become its path; the file ``config`` is there besides. ``given`` is written to
        its input. Raises ``conflict`` when another process has the configuration and may use its token up."""
        with ExitStack() as held:
            if self._own.changed:
                held.enter_context(self._own.alone(wait_seconds=_WAIT_SECONDS))
            content = {**files, "config": self._content()}
            release = held.pop_all().close
        return self._begin(arguments, content, given, release)

    def _begin(
        self,
        arguments: Sequence[str],
        files: Mapping[str, bytes],
        given: Iterator[bytes] | None = None,
        closed: Callable[[], None] = lambda: None,
    ) -> ConnectorProcess:
        limit = self._config.memory_limit_mb
        try:
            return ConnectorProcess(
                self.command,
                [*arguments, *self._further],
                {**files, **self._always},
                environment=trusting(self._config.ca_bundle, self._config.environment),
                memory_limit=None if limit is None else limit << 20,
                silence_seconds=self._config.max_seconds_between_messages,
                given=given,
                closed=closed,
            )
        except BaseException:
            closed()
            raise

    def _content(self) -> bytes:
        """The configuration, as the connector itself last changed it."""
        config = self._own.load()
        self.redact.learn(config)
        return json.dumps(config).encode()

    def reach(self, what: str) -> Finding:
        """The answer to ``check``; ``what`` is what it should reach."""
        try:
            answer = self.ask("check", "connectionStatus")
        except SynclineError as error:
            return Finding(severity=Severity.ERROR, kind=error.kind, message=error.message, hint=error.hint)
        if answer.get("status") == "SUCCEEDED":
            return Finding(severity=Severity.OK, message=f"the connector can reach its {what}")
        said = self.redact(str(answer.get("message") or "no reason given"))[:500]
        return Finding(
            severity=Severity.ERROR,
            kind=ErrorKind.CONFIG,
            message=f"the connector cannot reach its {what}: {said}",
            hint="check its configuration: credentials, rights and names",
        )

    def ask(self, command: str, payload: str, *, configured: bool = True) -> dict[str, Any]:
        """One question, one answer. The exit code says nothing where there is an answer."""
        if not configured:
            return self._answer(command, payload, self._begin([command], {}))
        with self._own.alone(wait_seconds=_WAIT_SECONDS):
            arguments = [command, "--config", "config"]
            return self._answer(command, payload, self._begin(arguments, {"config": self._content()}))

    def _answer(self, command: str, payload: str, process: ConnectorProcess) -> dict[str, Any]:
        answer: dict[str, Any] | None = None
        error: SynclineError | None = None
        last = ""
        with closing(process):
            for lines in process.lines():
                for line in lines:
                    message = whole(line)
                    if message is None:
                        last = line.decode(errors="replace").strip() or last
                        continue
                    if isinstance(message.get(payload), dict):
                        answer = message[payload]
                    trace = message.get("trace") or {}
                    if trace.get("type") == "ERROR":
                        error = error or failure(trace.get("error") or {}, self.redact)
                    changed = ((message.get("control") or {}).get("connectorConfig") or {}).get("config")
                    if isinstance(changed, dict):
                        self.save(changed)
            code = process.exit_code
        if answer is not None:
            return answer
        said = [line for line in process.errors() if line]
        raise error or SynclineError(
            ErrorKind.CONFIG,
            f"the connector gave no answer to {command} (exit code {code})",
            hint=self.redact(f"its last words: {(said or [last])[-1][:300]}" if said or last else "it said nothing"),
        )


def _command_of(config: ProgramConfig) -> list[str]:
    """What is to be started. Raises ``config`` when it is not there."""
    if config.command is not None:
        return list(config.command)
    if config.executable is not None:
        found = shutil.which(str(Path(config.executable).expanduser()))
        if found is None:
            raise SynclineError(
                ErrorKind.CONFIG, f"there is no executable {config.executable}", hint="give its full path"
            )
        return [str(Path(found).absolute())]
    package = "airbyte-cdk" if config.manifest_given else config.package
    assert package is not None
    home = load_settings().connectors
    wish = wish_for(
        package,
        version=config.version,
        overrides=config.overrides,
        python=config.python,
        further=imported(home),
    )
    return [str(executable_of(home, wish))]
