"""The load: a process of its own, on a core of its own, that checks every answer.

`python -m tests.bench.load h2 --port N ...` prints one JSON line (`Outcome`). What goes over the wire is prebuilt, and
what comes back is compared, not parsed again: the load must cost less than the server that it measures.
"""
