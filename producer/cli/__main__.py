"""`python -m producer.cli` is `textmill`."""

from producer.cli import main

main(prog_name="textmill")
