"""Built-in handlers, one file each, off until the configuration names them. Nothing imports this package."""
