"""The examples of the READMEs and docstrings, word for word, and longer ones: tests run all."""
