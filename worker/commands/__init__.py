"""One module per command of `textmill-worker`."""
