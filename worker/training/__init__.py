"""How the models that ship are made: labelled rows, steps, measures, artifacts with their cards."""
