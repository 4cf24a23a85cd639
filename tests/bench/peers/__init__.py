"""The others, each started as a process of its own: `python -m tests.bench.peers.NAME`.

They have the same certificates, require the client's, answer the same bodies on 127.0.0.1, and run in one process on
one core. Beyond that they are as they come; where one is not, its module says why.
"""
