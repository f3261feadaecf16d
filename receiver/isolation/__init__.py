"""Handlers marked `isolate=True`: each call runs in a child process, with a memory limit and a hard timeout.

    service                                        child (one call at a time, used again)
    pool.py     Isolated.call   -- start, call -->  child.py     loads the plugin, takes the requests
    process.py  one child       <-- ask, end  ----  calling.py   calls the handler
                                                    channel.py   the pipes; `remote` asks the service
        request.py, reply.py: what is asked, and how it ended; messages.py: how it is framed

The rule easiest to break: the child is not trusted. Its bytes are judged like any from outside, nothing of it
is unpickled, and it gets no descriptor and no environment variable of the service that it does not need.
"""
