"""Runs before a connector, in its process: ties its life to ours and limits its memory, then becomes the connector.

A program of its own, run by file name with ``python -I -S``: it must start in milliseconds and import nothing of ours.
Arguments: the parent's process id, the memory limit in bytes (0: none), the command.
"""

import os
import resource
import signal
import sys


def main() -> None:
    parent, limit, command = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]
    if sys.platform == "linux":
        import ctypes

        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)
        if os.getppid() != parent:  # it died before the line above
            sys.exit(1)
        if limit:
            # Private writable memory; address space would also count what is only reserved.
            resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    try:
        os.execvp(command[0], command)  # noqa: S606 - no shell: the command is a list
    except OSError as error:
        sys.stderr.write(f"{command[0]} cannot be started: {error.strerror}\n")
        sys.exit(127)


if __name__ == "__main__":
    main()
