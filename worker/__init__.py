"""The heavy side of Textmill: consume chunks, run the models, store outcomes."""
