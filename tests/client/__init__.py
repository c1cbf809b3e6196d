"""Tests of the client, and of the modules in the package root."""
