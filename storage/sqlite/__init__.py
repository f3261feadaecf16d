"""The log in one SQLite file: one connection that writes, read-only connections that ask."""
