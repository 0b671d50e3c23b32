"""How the shipped models are made: labelled rows, training steps, measures, artifacts, cards."""
