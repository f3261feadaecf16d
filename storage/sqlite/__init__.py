"""The log in one SQLite file: one thread that writes, read-only connections that ask."""
