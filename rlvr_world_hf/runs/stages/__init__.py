"""The stages of a run, one a file: its settings, and a function of the file's name under the decorator `stage`."""
