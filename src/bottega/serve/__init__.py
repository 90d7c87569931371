"""What the studio and the server share: a bounded, typed job queue."""

from bottega.serve.queue import OUR_FAULT, JobQueue
from bottega.serve.states import Cancelled, Done, Failed, Full, Job, Queued, Running, State

__all__ = ["OUR_FAULT", "Cancelled", "Done", "Failed", "Full", "Job", "JobQueue", "Queued", "Running", "State"]
