"""Keeps one job, and ends it and all it started: at its time limit, or when the audit goes.

A file that a bare interpreter runs between the audit and the job, with the standard library
alone: ``python -I -S command_keeper.py SECONDS STDOUT STDERR PROGRAM ARGUMENT...``. Its standard
input is a pipe that nobody writes to and that closes when the audit ends, be it by a signal that
no process can catch. Its standard output gets one line: how the job ended.
"""

import contextlib
import os
import select
import signal
import subprocess
import sys
import time

FIRST_PAUSE = 0.002
LONGEST_PAUSE = 0.1
OK = "ok"
TIME_LIMIT = "time limit"
STOPPED = "stopped"


def own(path: str, flags: int) -> int:
    """Open a file that its owner alone can read, whatever the mask that the job runs under."""
    return os.open(path, flags, 0o600)


def watch(job: "subprocess.Popen[bytes]", seconds: float) -> str | None:
    """Wait until the job ends by itself (``None``), its time is up, or nobody waits for it."""
    deadline, pause = time.monotonic() + seconds, FIRST_PAUSE
    while job.poll() is None:
        left = deadline - time.monotonic()
        if left <= 0:
            return TIME_LIMIT
        if select.select([sys.stdin], [], [], min(pause, left))[0]:
            return STOPPED
        pause = min(2 * pause, LONGEST_PAUSE)
    return None


def keep(seconds: float, stdout: str, stderr: str, argv: list[str]) -> str:
    """Run the job, and tell how it ended."""
    with open(stdout, "wb", opener=own) as out, open(stderr, "wb", opener=own) as err:
        try:
            job = subprocess.Popen(  # noqa: S603 - the user's own program; no shell reads the list
                argv, stdin=subprocess.DEVNULL, stdout=out, stderr=err, start_new_session=True
            )
        except OSError as error:
            return f"could not be started ({type(error).__name__})"
    ended = watch(job, seconds)
    with contextlib.suppress(OSError):  # none of its processes is left
        os.killpg(job.pid, signal.SIGKILL)
    code = job.wait()
    if ended is not None:
        return ended
    return OK if code == 0 else f"exit code {code}" if code > 0 else f"signal {-code}"


if __name__ == "__main__":
    print(keep(float(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4:]), flush=True)  # noqa: T201
