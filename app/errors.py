"""Every error that Manta raises on purpose, with its exit code and HTTP status.

MantaError                      exit 1   500
+-- BadInput                    exit 2   400   a value the user gave cannot be used
|   +-- BadDataset              exit 2   400   folder, zip or class layout
|   +-- BadImage                exit 2   400   not an image, cut off, or an unknown format
|   |   +-- ImageTooLarge       exit 2   413   more pixels than the limit, seen before decoding
|   +-- BodyTooLarge            exit 2   413   a request body over the limit
|   +-- Conflict                exit 2   409   somebody else changed it in between
+-- NotFound                    exit 3   404   a version, run, route or file that does not exist
+-- BrokenBundle                exit 4   500   a bundle with a missing or changed file
+-- GateFailed                  exit 5   500   a measured gate refused a model
+-- ClusterError                exit 6   503   Ray or Serve did not do what was asked
|   +-- PortInUse               exit 6   503   somebody else listens there
|   +-- Overloaded              exit 6   503   the queue is full; try again later
+-- JobFailed                   exit 7   500   a Ray job ended without success
+-- Diverged                    exit 8   500   a training's loss is no number any more
"""

from __future__ import annotations


class MantaError(Exception):
    """Base of all. `str(error)` is one clear line for the user."""

    exit_code = 1
    http_status = 500


class BadInput(MantaError):
    exit_code = 2
    http_status = 400


class BadDataset(BadInput):
    pass


class BadImage(BadInput):
    pass


class ImageTooLarge(BadImage):
    http_status = 413


class BodyTooLarge(BadInput):
    http_status = 413


class Conflict(BadInput):
    http_status = 409


class NotFound(MantaError):
    exit_code = 3
    http_status = 404


class BrokenBundle(MantaError):
    exit_code = 4


class GateFailed(MantaError):
    exit_code = 5


class ClusterError(MantaError):
    exit_code = 6
    http_status = 503


class PortInUse(ClusterError):
    pass


class Overloaded(ClusterError):
    pass


class JobFailed(MantaError):
    exit_code = 7

    def __init__(self, message: str, *, exit_code: int | None = None) -> None:
        """exit_code: the job's own, so that `manta train` ends as the job did."""
        super().__init__(message)
        if exit_code:
            self.exit_code = exit_code


class Diverged(MantaError):
    exit_code = 8


def error_named(name: str, message: str) -> MantaError:
    """An error that came from another process as its class's name and its text; ClusterError for an unknown name."""
    kind = globals().get(name)
    if isinstance(kind, type) and issubclass(kind, MantaError):
        return kind(message)
    return ClusterError(message)
